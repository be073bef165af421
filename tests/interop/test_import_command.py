"""`gsocc import`: from a published folder to scores and prediction files on the synthetic world."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from published_folders import Recipe, run_network, write_folder
from typer.testing import CliRunner

from gsocc.app.cli import app
from gsocc.app.exporting import FrameChoice, SplatOptions, export_gaussians, export_voxels, voxels_of_run
from gsocc.app.importing import REPORT, Choices, Imported, import_released
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.errors import CheckpointError, ConfigError, OutputError
from gsocc.labels import FREE
from gsocc.structures import collate
from gsocc.structures.prediction import load_prediction
from occ_stage.checkpoint import load_predictor
from occ_stage.evaluate import evaluate_checkpoint
from occ_stage.motion import Stage1Motion
from occ_stage.predict import predict_checkpoint
from pose_stage.evaluate import evaluate_checkpoint as score_pose

# The published architecture on a backbone for tests; 12 x 12 voxels over all of space, 8 x 8 of them in the box.
_TINY = Recipe(voxels_zyx=(8, 12, 12), image_size=(48, 80))
_SMALL = ("model.pyramid_width=24", "training.workers=0")
_ON_A_CPU = "renderer.name=splat_cpu"
_BACKBONES = {"backbone": "resnet_tiny", "pose_backbone": "resnet_tiny"}


def _import(recipe: Recipe, folder: Path, out: Path, world: Path, *more: str, overwrite: bool = False) -> Imported:
    choices = Choices(
        voxels_zyx=recipe.voxels_zyx,
        render_size=(24, 40),
        overrides=(*_SMALL, *(() if recipe.occnerf else (_ON_A_CPU,)), f"data.root={world}", *more),
        **_BACKBONES,  # type: ignore[arg-type]
    )
    system = "occnerf" if recipe.occnerf else "gaussianocc"
    return import_released(system, folder, out, choices, overwrite=overwrite)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GaussianOcc folder with pose network."""
    return write_folder(tmp_path_factory.mktemp("published"), _TINY)


@pytest.fixture(scope="module")
def imported(published: Path, tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Return its import."""
    return _import(_TINY, published, tmp_path_factory.mktemp("runs") / "tiny", tiny_world)


def _first_frame(world: Path) -> Any:
    dataset = NuScenesDataset(root=world, split="val", image_size=(48, 80), frame_ids=(0,))
    return dataset.tokens[0], collate([dataset[0]])


def test_an_import_is_a_run_with_a_report_of_every_key(imported: Imported, published: Path) -> None:
    """Weights are safetensors, the sizes are those of the files, and the report adds up."""
    assert (imported.folder / "checkpoints" / "last" / "model.safetensors").is_file()
    assert not list(imported.folder.rglob("*.pt*"))
    config = yaml.safe_load((imported.folder / "config.yaml").read_text())
    assert config["data"]["image_size"] == [48, 80]
    assert config["model"]["backbone"] == "resnet_tiny"
    record = json.loads((imported.folder / REPORT).read_text())
    keys = sum(len(torch.load(file, weights_only=True)) for file in published.glob("*.pth"))
    assert len(record["keys"]) == keys
    assert set(record["sha256"]) == {"encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth"}


def test_the_imported_run_computes_what_was_published(imported: Imported, published: Path, tiny_world: Path) -> None:
    """The network that stage 2 builds from the written configuration, on a key frame of the world."""
    _, batch = _first_frame(tiny_world)
    predictor = load_predictor(imported.folder, device=torch.device("cpu"))
    with torch.no_grad():
        logits = predictor.model(batch.network_images, batch.intrinsics, batch.cam_to_ego)
    expected = run_network(
        published, batch.network_images[0], batch.intrinsics[0], batch.cam_to_ego[0], _TINY.voxels_zyx
    )
    assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.slow
def test_an_imported_run_is_scored_and_predicts(imported: Imported, tiny_world: Path, tmp_path: Path) -> None:
    """Through the same doors as a trained one; argmax over 18 channels needs no threshold."""
    result, _ = evaluate_checkpoint(imported.folder, out=tmp_path / "eval", with_baselines=False)
    assert result.frames == 2
    assert result.metrics["occ3d/camera:iou"] >= 0
    assert result.pose == imported.config.pose.label
    assert result.pose.startswith("stage1 tiny_stage1@0-")
    files = predict_checkpoint(imported.folder, tmp_path / "files")
    assert len(files) == 2
    assert load_prediction(files[0]).semantics.shape == (200, 200, 16)


@pytest.mark.slow
def test_the_commands_take_an_imported_run(imported: Imported, tmp_path: Path) -> None:
    """Both papers' protocol and rays, in one pass; the predictions are what those protocols were scored on."""
    protocols = "occ3d/camera_lidar/15,occ3d/ray/17"
    arguments = ["eval", "nuscenes", str(imported.folder), "--protocol", protocols, "--no-baselines"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert 0 <= metrics["occ3d/camera_lidar/15:miou"] <= 1
    assert 0 <= metrics["occ3d/ray/17:rayiou"] <= 1
    arguments = ["predict", "occ", str(imported.folder), "--out", str(tmp_path / "files")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    prediction = load_prediction(next((tmp_path / "files").rglob("*.npz")))
    assert prediction.occupancy is not None
    assert set(np.unique(prediction.occupancy)) <= {0.0, 1.0}  # argmax has decided
    assert np.array_equal(prediction.semantics != FREE, prediction.occupancy == 1)


@pytest.mark.slow
def test_the_pose_network_moves_the_cameras_of_stage_2(imported: Imported, tiny_world: Path) -> None:
    """`pose.source: stage1` opens the checkpoint that the import wrote, and knows it by its weights."""
    assert imported.stage1 is not None
    token, _ = _first_frame(tiny_world)
    motion = Stage1Motion(imported.stage1, imported.config.data)
    assert motion.identity == imported.config.pose.identity
    ego_motion, valid = motion.motion(token)
    assert ego_motion.shape == (2, 4, 4)
    assert bool(torch.isfinite(ego_motion).all())
    assert valid.shape == (2,)


@pytest.mark.slow
def test_the_pose_network_is_scored_alone(imported: Imported, tmp_path: Path) -> None:
    """`gsocc eval pose`: motion against the truth, metres included; there is no depth to score."""
    assert imported.stage1 is not None
    run = score_pose(imported.stage1, out=tmp_path, with_baselines=False)["run"]
    assert run.frames > 0
    assert run.readout == "network"
    assert {name.split(":")[0] for name in run.metrics} == {name.split(":")[0] for name in run.readouts["network"]}
    assert not any(name.startswith("depth/") for name in run.metrics)


@pytest.mark.parametrize("semantic", [True, False])
def test_occnerf_imports_without_pose(semantic: bool, tiny_world: Path, tmp_path: Path) -> None:
    """Semantic or depth recipe, as the files have it; the grid comes from the embedding."""
    recipe = Recipe(voxels_zyx=(8, 12, 12), image_size=(48, 80), occnerf=True, semantic=semantic)
    folder = write_folder(tmp_path / "published", recipe)
    result = _import(recipe, folder, tmp_path / "run", tiny_world)
    assert result.stage1 is None
    assert result.config.pose.source == "ground_truth"
    assert len(result.config.model.classes) == (17 if semantic else 0)
    _, batch = _first_frame(tiny_world)
    predictor = load_predictor(result.folder, device=torch.device("cpu"))
    with torch.no_grad():
        logits = predictor.model(batch.network_images, batch.intrinsics, batch.cam_to_ego)
        expected = run_network(
            folder, batch.network_images[0], batch.intrinsics[0], batch.cam_to_ego[0], recipe.voxels_zyx
        )
    sign = 1 if semantic else -1  # the release's only channel says solid, ours free
    assert float((logits - sign * expected).abs().max() / expected.abs().max()) < 1e-5
    frame = predictor(batch)
    assert bool(torch.isfinite(frame.depth_m).all())


def test_the_command_prints_the_counts_and_what_was_not_read(published: Path, tiny_world: Path, tmp_path: Path) -> None:
    """The user sees every file, and keys that no published file is known to hold."""
    folder = write_folder(tmp_path / "published", _TINY, prefix="module.")
    state = torch.load(folder / "depth.pth", weights_only=True)
    torch.save({**state, "extra.thing": torch.zeros(1)}, folder / "depth.pth")
    arguments = ["import", "gaussianocc", str(folder), "--out", str(tmp_path / "run"), "--voxels", "8x12x12"]
    arguments += ["--render-size", "24x40", "--pose-backbone", "resnet_tiny"]
    for change in (*_SMALL, _ON_A_CPU, f"data.root={tiny_world}"):
        arguments += ["--set", change]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "depth.pth: extra.thing" in result.output
    assert "resnet_tiny, 8x12x12 voxels, images 48x80, 17 classes" in result.output


def test_nothing_is_written_where_something_does_not_fit(published: Path, tiny_world: Path, tmp_path: Path) -> None:
    """A missing live key of the last file that is read, and a configuration of another network."""
    folder = write_folder(tmp_path / "published", _TINY)
    state = torch.load(folder / "pose.pth", weights_only=True)
    del state["net.0.bias"]
    torch.save(state, folder / "pose.pth")
    out = tmp_path / "out" / "run"
    with pytest.raises(CheckpointError, match=r"missing: pose.pth: net.0.bias"):
        _import(_TINY, folder, out, tiny_world)
    with pytest.raises(ConfigError, match="another network than the published one: grid: expected"):
        _import(_TINY, published, out, tiny_world, "grid.lattice=cells")
    with pytest.raises(ConfigError, match="tensors differ"):
        _import(_TINY, published, out, tiny_world, "model.lift_channels=32")
    assert not out.parent.exists()


def test_half_a_pose_network_is_refused(tiny_world: Path, tmp_path: Path) -> None:
    """One of its two files alone is a mistake, none is not."""
    folder = write_folder(tmp_path / "published", _TINY)
    (folder / "pose.pth").unlink()
    with pytest.raises(CheckpointError, match=r"pose.pth: no such file"):
        _import(_TINY, folder, tmp_path / "run", tiny_world)
    (folder / "pose_encoder.pth").unlink()
    assert _import(_TINY, folder, tmp_path / "run", tiny_world).stage1 is None


def test_an_earlier_import_is_replaced_when_asked_and_nothing_else_ever(
    published: Path, tiny_world: Path, tmp_path: Path
) -> None:
    """The published folder itself least of all."""
    run = tmp_path / "run"
    _import(_TINY, published, run, tiny_world)
    with pytest.raises(OutputError, match="holds an earlier import; choose another folder, or give --overwrite"):
        _import(_TINY, published, run, tiny_world)
    (run / "left.txt").touch()
    _import(_TINY, published, run, tiny_world, overwrite=True)
    assert not (run / "left.txt").exists()
    with pytest.raises(OutputError, match="exists and is no earlier import"):
        _import(_TINY, published, published, tiny_world, overwrite=True)
    assert (published / "encoder.pth").is_file()


def test_a_checkpoint_trained_on_ddad_becomes_a_run_on_ddad(published: Path, tmp_path: Path) -> None:
    """The same network; data, masks and limits of depth are those of the recipe for DDAD."""
    command = ["import", "gaussianocc", str(published), "-o", str(tmp_path / "run"), "--dataset", "ddad"]
    command += ["--voxels", "8x12x12", "--backbone", "resnet_tiny", "--pose-backbone", "resnet_tiny"]
    for change in (*_SMALL, _ON_A_CPU):
        command += ["--set", change]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "gsocc eval ddad" in result.output
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["dataset"] == "ddad" and config["data"]["self_mask"]
    assert config["objective"]["depth_range_m"] == [0.1, 200.0]
    stage1 = yaml.safe_load((tmp_path / "run" / "stage1" / "config.yaml").read_text())
    assert stage1["data"]["dataset"] == "ddad"
    refused = CliRunner().invoke(app, [*command[:-1], _ON_A_CPU, "--dataset", "kitti"])
    assert refused.exit_code != 0


def test_an_import_is_exported_as_gaussians_and_voxels(imported: Imported, tmp_path: Path) -> None:
    """Gaussians of the contracted grid with the release's sizes: 0.2 m, fourfold beyond 60 m, eightfold beyond 80 m."""
    everything = SplatOptions(min_opacity=0.0, sh_degree=0)
    [(path, count)] = export_gaussians(imported.folder, tmp_path / "g.ply", FrameChoice(), everything)
    data = path.read_bytes()
    assert count == 12 * 12 * 8
    rows = np.frombuffer(data, "<f4", offset=data.index(b"end_header\n") + 11).reshape(count, 17)
    distance, scale = np.linalg.norm(rows[:, :3], axis=1), np.exp(rows[:, 10])
    expected = np.select([distance > 80, distance > 60], [1.6, 0.8], 0.2)
    np.testing.assert_allclose(scale, expected, rtol=1e-5)
    frames = voxels_of_run(imported.folder, tmp_path / "v.npz", FrameChoice(), lattice="native")
    export_voxels(frames)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        assert arrays["semantics"].shape == (12, 12, 8)
        assert np.isinf(arrays["x_edges_m"][[0, -1]]).all()
        assert json.loads(str(arrays["meta"]))["decision"] == "argmax"
