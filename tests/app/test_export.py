"""`gsocc export` on untrained networks: what is written is what the stage draws and what its evaluation reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from gsocc.app.commands import export
from gsocc.app.exporting import FrameChoice, SplatOptions, export_gaussians
from gsocc.app.paths import CONFIGS
from gsocc.config import load_config, to_yaml
from gsocc.engine import save_checkpoint
from gsocc.errors import UserError
from gsocc.structures import SurroundBatch, collate
from gsocc.structures.prediction import load_prediction
from occ_stage.checkpoint import load_predictor
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset
from occ_stage.export import drawn_gaussians
from occ_stage.model import build_model
from occ_stage.predict import predict_checkpoint
from occ_stage.predictor import Predictor

BOX = ["grid.shape=[20, 20, 8]", "grid.voxel_m=[4.0, 4.0, 0.8]"]
CONTRACTED = [
    "grid={kind: contracted, min_m: [-40, -40, -1], max_m: [40, 40, 5.4], shape: [24, 24, 8], voxel_m: null}",
    "renderer.scale_m=0.4",
    "renderer.scale_tiers=[[60.0, 4.0]]",
]


def _checkpoint(world: Path, folder: Path, *changes: str) -> Path:
    fixed = [f"data.root={world}", "data.image_size=[48, 80]", "renderer.size=[24, 40]", "evaluation.threshold=0.05"]
    config = load_config(CONFIGS / "occ" / "synthetic_splat.yaml", OccConfig, [*fixed, *changes])
    torch.manual_seed(0)
    save_checkpoint(folder, build_model(config).state_dict(), to_yaml(config), {"step": 0})
    return folder


@pytest.fixture(scope="module")
def box(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of an untrained network on a box."""
    return _checkpoint(tiny_world, tmp_path_factory.mktemp("export") / "box", *BOX)


@pytest.fixture(scope="module")
def contracted(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of an untrained network on a grid without end."""
    return _checkpoint(tiny_world, tmp_path_factory.mktemp("export") / "contracted", *CONTRACTED)


def _run(function: object, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(function)  # type: ignore[type-var]
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _splats(path: Path) -> np.ndarray:
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    names = [line.split()[2] for line in data[:end].decode().splitlines() if line.startswith("property float ")]
    return np.frombuffer(data, [(name, "<f4") for name in names], offset=end)


def _one_batch(run: Path) -> tuple[Predictor, SurroundBatch]:
    """Return the key frame in the middle, which is exported unless others are asked for."""
    predictor = load_predictor(run)
    dataset = open_dataset(predictor.config, "val", frame_ids=(0,))
    return predictor, collate([dataset[len(dataset) // 2]])


@pytest.mark.parametrize("grid", ["box", "contracted"])
def test_gaussians_are_those_that_are_drawn(grid: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Places, sizes (with tiers, on the grid without end) and opacities of the renderer's own scene."""
    run = request.getfixturevalue(grid)
    text = _run(export.gaussians, str(run), "-o", str(tmp_path / "g.ply"), "--min-opacity", "0", "--sh-degree", "0")
    rows = _splats(tmp_path / "g.ply")
    predictor, batch = _one_batch(run)
    scene, _ = drawn_gaussians(predictor, batch)
    assert f"{len(rows)} Gaussians" in text
    assert len(rows) == scene.means.shape[1]
    for axis, name in enumerate("xyz"):
        np.testing.assert_array_equal(rows[name], scene.means[0, :, axis])
        np.testing.assert_allclose(np.exp(rows[f"scale_{axis}"]), scene.scales[0, :, axis], rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-rows["opacity"])), scene.opacities[0], atol=2e-6)
    if grid == "contracted":
        assert np.unique(rows["scale_0"]).size == 2


def test_colours_are_those_of_the_likeliest_class(box: Path, tmp_path: Path) -> None:
    from gsocc.labels import PALETTE

    [(path, count)] = export_gaussians(box, tmp_path / "g.ply", FrameChoice(), SplatOptions(min_opacity=0.0))
    rows = _splats(path)
    colors = np.stack([0.5 + 0.28209479177387814 * rows[f"f_dc_{i}"] for i in range(3)], -1)
    predictor, batch = _one_batch(box)
    field = predictor.field(batch)
    ids = np.array(predictor.ids)[field.class_logits[0].argmax(0).reshape(-1).numpy()]
    assert count == len(ids)
    np.testing.assert_allclose(255 * colors, PALETTE[ids], atol=1e-3)


def test_axes_of_other_viewers_are_a_rotation(box: Path, tmp_path: Path) -> None:
    """X right, y down, z forward: what lies 1 m ahead has z = 1; sizes turn with their axes."""
    everything = SplatOptions(min_opacity=0.0, sh_degree=0)
    export_gaussians(box, tmp_path / "ego.ply", FrameChoice(), everything)
    export_gaussians(box, tmp_path / "down.ply", FrameChoice(), SplatOptions(min_opacity=0.0, axes="y_down"))
    ego, down = _splats(tmp_path / "ego.ply"), _splats(tmp_path / "down.ply")
    np.testing.assert_allclose(down["z"], ego["x"], atol=1e-5)
    np.testing.assert_allclose(down["x"], -ego["y"], atol=1e-5)
    np.testing.assert_allclose(down["y"], -ego["z"], atol=1e-5)
    w, x, y, z = (down[f"rot_{i}"][0].item() for i in range(4))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(rotation, [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=1e-6)


def test_what_is_faint_or_far_is_left_out(box: Path, tmp_path: Path) -> None:
    [(near, count)] = export_gaussians(
        box, tmp_path / "near.ply", FrameChoice(), SplatOptions(min_opacity=0.0, max_distance_m=20.0)
    )
    rows = _splats(near)
    distance = np.sqrt(rows["x"] ** 2 + rows["y"] ** 2 + rows["z"] ** 2)
    assert 0 < count == len(rows) < 20 * 20 * 8
    assert distance.max() <= 20.0
    with pytest.raises(UserError, match="lower --min-opacity"):
        export_gaussians(box, tmp_path / "none.ply", FrameChoice(), SplatOptions(min_opacity=1.0))


def test_voxels_of_a_run_are_those_of_its_prediction_files(box: Path, tmp_path: Path) -> None:
    """Two ways to the same labels; and the same voxels again from the prediction files."""
    [path, *_] = predict_checkpoint(box, tmp_path / "predictions")
    prediction = load_prediction(path)
    _run(export.voxels, str(box), "-o", str(tmp_path / "v.npz"), "--token", prediction.token)
    _run(export.voxels, str(path), "-o", str(tmp_path / "p.npz"))
    for name in ("v.npz", "p.npz"):
        with np.load(tmp_path / name, allow_pickle=False) as arrays:
            np.testing.assert_array_equal(arrays["semantics"], prediction.semantics)
            np.testing.assert_allclose(arrays["occupancy"], prediction.occupancy, atol=0.5 / 255 + 1e-6)
            assert json.loads(str(arrays["meta"]))["threshold"] == 0.05


def test_native_voxels_of_a_contracted_grid_are_written_with_their_own_edges(contracted: Path, tmp_path: Path) -> None:
    """Every voxel as a cube: the outermost have no end, and so are no cubes; points exist for all of them."""
    arguments = ["--lattice", "native", "--threshold", "0"]
    _run(export.voxels, str(contracted), "-o", str(tmp_path / "v.npz"), *arguments)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        assert arrays["semantics"].shape == (24, 24, 8)
        assert (arrays["semantics"] != 17).all()
        outermost = arrays["x_edges_m"][1]
    text = _run(export.voxels, str(contracted), "-o", str(tmp_path / "v.ply"), *arguments)
    assert f"{22 * 22 * 6} occupied voxels" in text
    header = (tmp_path / "v.ply").read_bytes().partition(b"end_header\n")
    count = int(header[0].split(b"element vertex ")[1].split()[0])
    vertices = np.frombuffer(header[2], [("xyz", "<f4", 3), ("rgb", "u1", 3)], count)
    assert vertices["xyz"][:, 0].min() == pytest.approx(outermost, rel=1e-6)
    assert count == 4 * 2 * (22 * 22 + 2 * 22 * 6), "outer faces alone"
    text = _run(export.voxels, str(contracted), "-o", str(tmp_path / "p.ply"), "--as", "points", *arguments)
    assert f"{24 * 24 * 8} occupied voxels" in text


def test_a_folder_gets_a_file_per_key_frame(box: Path, tmp_path: Path) -> None:
    _run(export.gaussians, str(box), "-o", str(tmp_path / "all"), "--all", "--min-opacity", "0", "--sh-degree", "0")
    _run(export.voxels, str(box), "-o", str(tmp_path / "all"), "--all", "--format", "ply")
    dataset = open_dataset(load_predictor(box).config, "val", frame_ids=(0,))
    expected = {f"{dataset[i].scene}/{token}.ply" for i, token in enumerate(dataset.tokens)}
    assert {p.relative_to(tmp_path / "all").as_posix() for p in (tmp_path / "all").rglob("*.ply")} == expected


def test_a_network_without_classes_is_coloured_by_height(tiny_world: Path, tmp_path: Path) -> None:
    changes = ["model.classes=[]", "objective.semantic=0", "objective.mask_sky=false"]
    run = _checkpoint(tiny_world, tmp_path / "depth_only", *BOX, *changes)
    export_gaussians(run, tmp_path / "g.ply", FrameChoice(), SplatOptions(min_opacity=0.0))
    rows = _splats(tmp_path / "g.ply")
    low, high = rows["z"] == rows["z"].min(), rows["z"] == rows["z"].max()
    assert np.unique(rows["f_dc_0"][low]).size == 1
    assert rows["f_dc_1"][high].mean() > rows["f_dc_1"][low].mean()


def test_requests_that_cannot_be_met_say_why(box: Path, tmp_path: Path) -> None:
    one = str(tmp_path / "one.npz")
    app = typer.Typer()
    app.command()(export.voxels)

    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert isinstance(result.exception, UserError), result.output
        return str(result.exception)

    assert "name a folder" in refused(str(box), "-o", one, "--frames", "2")
    assert "exclude each other" in refused(str(box), "-o", one, "--frames", "2", "--all")
    assert "whose first one is" in refused(str(box), "-o", one, "--token", "nosuch")
    assert "ends with .npz or .ply" in refused(str(box), "-o", str(tmp_path / "x.obj"))
    assert "no such file" in refused(str(tmp_path / "nothing"), "-o", one)
    with pytest.raises(UserError, match=r"ends with \.ply, or a folder"):
        export_gaussians(box, Path(one), FrameChoice(), SplatOptions())
    path = predict_checkpoint(box, tmp_path / "predictions")[0]
    assert "--threshold" in refused(str(path), "-o", one, "--threshold", "0.5")
    assert not Path(one).exists()
