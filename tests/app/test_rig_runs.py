"""Both stages on four unequal cameras: from a folder of images to Gaussians in a file, with poses and without."""

from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from gsocc.app.commands import eval as eval_
from gsocc.app.commands import view
from gsocc.app.commands import world as world_command
from gsocc.app.exporting import FrameChoice, SplatOptions, export_gaussians
from gsocc.app.paths import CONFIGS
from gsocc.config import load_config
from gsocc.datasets.rig import RigDataset
from gsocc.datasets.rig_index import build_index
from gsocc.datasets.world.rig_spec import RigSpec, rig_cameras
from gsocc.datasets.world.writer import write_world
from gsocc.errors import UserError
from gsocc.files import read_json
from gsocc.metrics import metric_name
from occ_stage.config import OccConfig
from occ_stage.evaluate import evaluate_checkpoint
from occ_stage.train import train as train_occ
from pose_stage.config import PoseRunConfig
from pose_stage.evaluate import evaluate_checkpoint as evaluate_pose
from pose_stage.train import train as train_pose

SPEC = RigSpec(scenes=2, frames=3, seed=1, image_size=(48, 80), val_scenes=1, exact=True)
POSE = ["data.image_size=[48, 80]", "training.steps=3", "training.warmup_steps=1"]
OCC = [
    "data.image_size=[48, 80]",
    "data.min_travel_m=0",
    "grid.shape=[20, 20, 8]",
    "grid.voxel_m=[4.0, 4.0, 0.8]",
    "renderer.size=[24, 40]",
    "training.steps=3",
    "training.warmup_steps=1",
    "training.val_every_steps=0",
    "training.panel_every_steps=0",
    "training.checkpoint_every_steps=0",
    "evaluation.threshold=0.05",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a written world with its index: a training and a validation scene of three moments."""
    root = write_world(SPEC, tmp_path_factory.mktemp("rig") / "world", workers=1)
    build_index(root)
    return root


@pytest.fixture(scope="module")
def pose_run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stage-1 run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "pose"
    train_pose(_pose(world, f"data.flow_cache={folder.parent / 'flow'}"), folder)
    return folder


def _pose(world: Path, *more: str) -> PoseRunConfig:
    return load_config(CONFIGS / "pose" / "rig_synthetic.yaml", PoseRunConfig, [f"data.root={world}", *POSE, *more])


def _occ(world: Path, *more: str) -> OccConfig:
    return load_config(CONFIGS / "occ" / "rig_synthetic.yaml", OccConfig, [f"data.root={world}", *OCC, *more])


@pytest.mark.slow
def test_the_world_is_read_back_as_it_was_made(world: Path) -> None:
    """Cameras from the rig file, poses from the CSV at each camera's own instant, truth on the lattice of Occ3D."""
    dataset = RigDataset(root=world, split="all", image_size=(48, 80), parts={"lidar_depth", "semantics", "occupancy"})
    sample = dataset[1]
    for camera, k, pose in zip(rig_cameras((48, 80)), sample.intrinsics, sample.cam_to_ego, strict=True):
        height, width = camera.image_size
        scaled = np.diag([80 / width, 48 / height, 1.0]) @ camera.intrinsics
        np.testing.assert_allclose(k, scaled, rtol=1e-5)
        np.testing.assert_allclose(pose, camera.cam_to_ego, atol=1e-6)
    assert sample.occupancy is not None and sample.lidar_depth_m is not None
    assert (sample.occupancy.semantics != 17).any()
    assert (sample.lidar_depth_m > 0).flatten(1).any(1).all()
    # Moments are 0.1 s apart, the street allows 5 to 9 m/s.
    step = sample.cam_motion[2, 0, :3, 3].norm()
    assert 0.3 < step < 1.0


@pytest.mark.slow
def test_the_lidar_agrees_with_the_rendered_ground(world: Path) -> None:
    """Returns that look down onto the road lie on z = 0, which they do only if all frames are right."""
    dataset = RigDataset(root=world, split="train", image_size=(48, 80), parts={"lidar_depth"}, frame_ids=(0,))
    sample = dataset[0]
    assert sample.lidar_depth_m is not None
    depth, k, pose = (x[0].double().numpy() for x in (sample.lidar_depth_m, sample.intrinsics, sample.cam_to_ego))
    v, u = depth[40:].nonzero()
    rays = np.stack([(u + 0.5 - k[0, 2]) / k[0, 0], (v + 40.5 - k[1, 2]) / k[1, 1], np.ones(len(u))], -1)
    points = rays * depth[40:][v, u][:, None] @ pose[:3, :3].T + pose[:3, 3]
    assert len(points) > 20
    assert abs(np.median(points[:, 2])) < 0.1


@pytest.mark.slow
def test_both_stages_train_and_are_scored(world: Path, pose_run: Path, tmp_path: Path) -> None:
    """Stage 2 takes stage 1's motion, is scored by LiDAR and by exact occupancy, and leaves its Gaussians."""
    scores = evaluate_pose(pose_run, with_baselines=False)["run"].metrics
    assert np.isfinite(scores[metric_name("depth/rig/80m", "abs_rel")])
    folder = tmp_path / "occ"
    train_occ(_occ(world, f"pose.checkpoint={pose_run}"), folder)
    app = typer.Typer()
    app.command()(eval_.rig)
    result = CliRunner().invoke(app, [str(folder), "--no-baselines"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    metrics = read_json(folder / "eval" / "metrics.json")["metrics"]
    assert "occ3d/camera:iou" in metrics and "depth/rig/80m:abs_rel" in metrics
    [(path, count)] = export_gaussians(folder, tmp_path / "g.ply", FrameChoice(), SplatOptions(min_opacity=0.0))
    assert count == 20 * 20 * 8 and path.stat().st_size > 62 * 4 * count


@pytest.mark.slow
def test_a_rig_of_images_alone_trains_and_says_what_cannot_be_scored(
    world: Path, pose_run: Path, tmp_path: Path
) -> None:
    """No LiDAR, no ego poses: stage 1 needs neither, ground truth motion is refused, scores take what there is."""
    root = tmp_path / "bare"
    root.mkdir()
    for path in world.iterdir():
        if path.is_dir() and path.name != "truth":
            (root / path.name).symlink_to(path, target_is_directory=True)
    description = yaml.safe_load((world / "rig.yaml").read_text())
    del description["lidar"], description["ego_poses"]
    (root / "rig.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    build_index(root)
    pose = tmp_path / "pose"
    train_pose(_pose(root, f"data.flow_cache={pose_run.parent / 'flow'}"), pose)
    result = evaluate_pose(pose, with_baselines=False)["run"]
    assert result.frames == 0 and not any(name.startswith("depth/") for name in result.metrics)
    with pytest.raises(UserError, match=r"has no ego poses; train stage 1 on it, then set pose\.source: stage1"):
        train_occ(_occ(root, "pose={source: ground_truth, checkpoint: null}"), tmp_path / "refused")
    folder = tmp_path / "occ"
    train_occ(_occ(root, f"pose.checkpoint={pose}"), folder)
    scored, _ = evaluate_checkpoint(folder, with_baselines=False)
    assert scored.protocols == ("semantics2d/rendered",)
    overrides = ["objective.semantic=0", "objective.mask_sky=false"]
    with pytest.raises(UserError, match="no LiDAR, no 3-D and no 2-D labels"):
        evaluate_checkpoint(folder, overrides, with_baselines=False)


@pytest.mark.slow
def test_the_overlap_of_any_data_set_is_drawn(world: Path, tmp_path: Path) -> None:
    view.overlap(world, out=tmp_path / "root.png", image_size="48x80")
    file = tmp_path / "run.yaml"
    file.write_text(f"data: {{dataset: rig, root: {world}, image_size: [48, 80]}}\n")
    view.overlap(config=file, out=tmp_path / "run.png")
    assert (tmp_path / "root.png").read_bytes() != b"" and (tmp_path / "run.png").is_file()


def test_the_command_writes_a_world_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="train scenes"):
        world_command.rig(tmp_path / "none", scenes=1, val_scenes=1)
    with pytest.raises(UserError, match="expected HxW"):
        world_command.rig(tmp_path / "none", image_size="big")
    assert not (tmp_path / "none").exists()
