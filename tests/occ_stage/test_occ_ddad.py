"""Stage 2 on DDAD: what its recipes say, masks of the vehicle in the losses, a whole run on a tiny world."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gsocc.app.cli import app
from gsocc.config import ConfigError, load_config
from gsocc.datasets.ddad_index import build_index
from gsocc.datasets.index import read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.datasets.occ3d import occ3d_path, read_occ3d
from gsocc.datasets.world import write_ddad_world
from gsocc.errors import UserError
from gsocc.metrics import ScanMetric
from gsocc.metrics.protocols import STREET
from gsocc.structures import collate
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset
from occ_stage.evaluate import default_protocols, evaluate_checkpoint
from occ_stage.model import build_field_renderer, build_grid, build_model, class_ids
from occ_stage.objective import OccObjective
from occ_stage.train import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "occ"
BOX, CONTRACTED, RELEASED = "ddad_synthetic.yaml", "ddad_synthetic_contracted.yaml", "ddad_gaussianocc.yaml"
SMALL = [
    "data.image_size=[48, 80]",
    "data.min_travel_m=0",
    "renderer.size=[24, 40]",
    "training.steps=8",
    "training.warmup_steps=0",
    "training.workers=0",
    "training.val_every_steps=0",
    "training.panel_every_steps=8",
    "training.log_every_steps=1",
    "evaluation.threshold_samples=2",
]
SIZES = {
    BOX: ["grid.shape=[50, 50, 8]", "grid.voxel_m=[1.6, 1.6, 0.8]"],
    CONTRACTED: ["grid.shape=[40, 40, 8]"],
    RELEASED: [
        "grid.shape=[24, 24, 8]", "model.backbone=resnet_tiny", "model.pyramid_width=8", "model.lift_channels=8",
        "renderer.name=splat_cpu", "renderer.size=[12, 20]", "objective.photo_size=[24, 40]", "training.device=cpu",
        "training.precision=32-true", "pose={source: ground_truth, checkpoint: null}",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a DDAD world of 2 scenes of 3 samples with its index and exact truth; tests must not change it."""
    root = tmp_path_factory.mktemp("ddad") / "world"
    size = (48, 76)
    write_ddad_world(root, scenes=2, frames=3, seed=2, image_size=size, preset="moderate", exact=True, workers=1)
    build_index(root)
    return root


def _config(recipe: str, world: Path, *more: str) -> OccConfig:
    own = [f"data.root={world}", f"data.self_mask_root={world / 'truth' / 'mask'}"]
    return load_config(CONFIGS / recipe, OccConfig, [*own, *SMALL, *SIZES[recipe], *more])


def test_the_recipe_at_full_size_says_what_the_release_says_and_renders_as_far_as_it_is_tested() -> None:
    """Specification, 12.1: sizes and weights are nuScenes', masks are used; depth is tested to 200 m."""
    config = load_config(CONFIGS / RELEASED, OccConfig, [])
    assert config.data.dataset == "ddad" and config.data.self_mask
    assert (config.data.image_size, config.renderer.size) == ((384, 640), (180, 320))
    assert (config.renderer.scale_m, config.renderer.scale_tiers) == (0.2, ((60.0, 4.0), (80.0, 8.0)))
    objective = config.objective
    assert (objective.semantic, objective.entropy, objective.total_variation) == (0.02, 0.1, 0.1)
    assert objective.depth_range_m == (0.1, 200.0)
    assert config.training.steps == 12 * (12_319 // 8)
    assert len(build_grid(config).shape) == 3 and build_grid(config).shape == (300, 300, 24)


def test_the_contracted_twin_has_voxels_beyond_what_lidar_reaches() -> None:
    """The box's twin ends at 40 m; here most of the rig's view of 200 m has voxels, drawn as large as they are."""
    config = load_config(CONFIGS / CONTRACTED, OccConfig, [])
    centers = build_grid(config).centers_m()
    assert centers[..., 0].max() > 200.0 and config.renderer.scale_tiers == "voxel"
    box = load_config(CONFIGS / BOX, OccConfig, [])
    assert build_grid(box).centers_m()[..., 0].max() < 40.0
    assert config.training == box.training and config.model == box.model


def test_published_frame_lists_belong_to_ddad() -> None:
    with pytest.raises(ConfigError, match=r"all_3950 is a list of DDAD's, but data\.dataset is nuscenes"):
        load_config(CONFIGS / "synthetic_splat.yaml", OccConfig, ["evaluation.frames=all_3950"])


@pytest.mark.slow
def test_what_shows_the_vehicle_teaches_nothing(world: Path) -> None:
    """Labels and colours under the mask may be anything: photometric and semantic terms are the same to rounding."""
    config = _config(BOX, world, "objective.semantic=1.0", "objective.photo_levels=1")
    dataset = open_dataset(config, "train", parts={"semantics"})
    batch = collate([dataset[1]])
    assert batch.valid_mask is not None and batch.semantic_labels is not None
    hidden = ~batch.valid_mask
    assert 0.02 < hidden.float().mean() < 0.5
    objective = OccObjective(
        config.objective, build_grid(config), build_field_renderer(config), class_ids(config.model)
    )
    torch.manual_seed(0)
    model = build_model(config).eval()
    before = objective(model, batch).terms
    # Well inside of the mask: windows of the structural term and shrunk pixels reach across its border.
    inside = torch.nn.functional.max_pool2d((~hidden).float()[0], 15, 1, 7)[None] == 0
    images = batch.images.clone()
    images[:, 0] = torch.where(inside[:, :, None], 1.0 - images[:, 0], images[:, 0])
    labels = batch.semantic_labels.clone()
    labels[torch.nn.functional.interpolate(hidden.float(), labels.shape[-2:], mode="nearest") > 0] = 4
    changed = type(batch)(**{**vars(batch), "images": images, "semantic_labels": labels})
    after = objective(model, changed).terms
    assert inside.any()
    for name in ("photometric", "semantic"):
        torch.testing.assert_close(after[name], before[name], atol=0, rtol=1e-5)
    unmasked = objective(model, type(batch)(**{**vars(changed), "valid_mask": None})).terms
    assert (unmasked["semantic"] - before["semantic"]).abs() > 1e-3


@pytest.mark.slow
def test_scans_agree_with_the_truth_when_rays_start_amid_the_cameras(world: Path) -> None:
    """Merged scans have their origin on the road below the axle: rays from there pass through the whole street."""
    index = read_index(world / "gsocc_index_ddad.npz")
    reader = KeyFrameReader(index, world)
    scores = {}
    for name in ("cameras", "axle"):
        metric = ScanMetric()
        for row in range(len(index)):
            frame = reader.read(index.token(row), with_scan=True)
            if name == "axle":
                frame.scene_lidar_to_ego[:] = np.eye(4)
            truth = read_occ3d(occ3d_path(world / "truth" / "gts", frame.scene, frame.token))
            metric.update(truth.semantics[None], [frame])
        scores[name] = metric.compute()
    assert 1.3 < reader.read(index.token(0)).origin_m[2] < 1.8
    assert scores["cameras"]["lidar/scan:free_violation"] < 0.03
    assert scores["cameras"]["lidar/scan:hit_recall"] > 0.98
    assert scores["axle"]["lidar/scan:free_violation"] > 4 * scores["cameras"]["lidar/scan:free_violation"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [BOX, CONTRACTED, RELEASED])
def test_a_run_on_ddad_learns_and_is_scored_by_camera(recipe: str, world: Path, tmp_path: Path) -> None:
    """Images to scores at a size for tests: the loss falls, depth has six cameras and a mean, occupancy has truth."""
    config = _config(recipe, world)
    train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    totals = [line["total"] for line in lines if line["kind"] == "train"]
    assert min(totals[4:]) < totals[0]
    result = CliRunner().invoke(app, ["eval", "ddad", str(tmp_path / "run"), "--out", str(tmp_path / "scores")])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())["metrics"]
    by_camera = [metrics[f"depth/ddad/200m:abs_rel/CAMERA_0{n}"] for n in (1, 5, 6, 7, 8, 9)]
    assert metrics["depth/ddad/200m:abs_rel"] == pytest.approx(np.mean(by_camera))
    assert "CAMERA_07" in result.output and "by camera" in result.output
    assert {"lidar/scan:free_violation", "static/next:iou", "occ3d/camera:iou"} <= set(metrics)


@pytest.mark.slow
def test_without_truth_a_threshold_is_chosen_by_lidar_and_scores_need_no_labels(world: Path, tmp_path: Path) -> None:
    """As on DDAD itself: no label of the world's truth is read."""
    config = _config(BOX, world, f"data.gts_root={tmp_path / 'nowhere'}", "evaluation.threshold_criterion=scan")
    assert not set(STREET) & set(default_protocols(config))
    train(config, tmp_path / "run")
    result, baselines = evaluate_checkpoint(tmp_path / "run", out=tmp_path)
    assert result.threshold is not None and result.threshold.criterion.startswith("lidar/scan:")
    assert result.metrics["lidar/scan:hit_recall"] > 0
    assert set(baselines) == {"all_free", "all_occupied", "ground_plane", "untrained"}
    refused = CliRunner().invoke(app, ["eval", "ddad", str(tmp_path / "run"), "--frames", "unique_3802"])
    assert refused.exit_code != 0
    assert "3802 frames" in str(refused.exception)
    other = CliRunner().invoke(app, ["eval", "nuscenes", str(tmp_path / "run")])
    assert other.exit_code != 0 and "score it with gsocc eval ddad" in str(other.exception)
    with pytest.raises(UserError, match="threshold_criterion"):
        evaluate_checkpoint(tmp_path / "run", ["evaluation.threshold_criterion=miou"], out=tmp_path)
