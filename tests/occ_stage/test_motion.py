"""Where stage 2 takes motion from: the data set, a stage-1 checkpoint, a motion file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.config import load_config, to_yaml
from gsocc.datasets.transforms import ColorJitter
from gsocc.engine import load_checkpoint, save_checkpoint
from gsocc.errors import CheckpointError, ConfigError, DataError, UserError
from gsocc.networks.pose_depth_net import DepthConfig, PoseConfig, PoseDepthConfig, PoseDepthNet
from gsocc.structures import collate
from gsocc.structures.motions import EgoMotions, save_motions
from occ_stage.config import OccConfig
from occ_stage.data import training_dataset, validation_dataset
from occ_stage.motion import open_motion, with_identity, with_motion

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "occ" / "synthetic_splat.yaml"
NET = PoseDepthConfig(
    depth=DepthConfig(backbone="resnet_tiny", norm="group", rays=True, backbone_weights=Path("/elsewhere/resnet.pth")),
    pose=PoseConfig(name="flow", width=4, translation_scale=0.3, readout="network"),
)


def _config(world: Path, *more: str) -> OccConfig:
    overrides = [f"data.root={world}", "data.image_size=[48, 80]", "data.min_travel_m=0", *more]
    return load_config(CONFIG, OccConfig, overrides)


@pytest.fixture(scope="module")
def stage1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained stage-1 checkpoint for images of 32x64; its ImageNet weights are on another machine."""
    torch.manual_seed(0)
    bare = NET.model_copy(update={"depth": NET.depth.model_copy(update={"backbone_weights": None})})
    net = PoseDepthNet(bare)
    with torch.no_grad():
        for weight in net.pose_net.parameters():
            weight.add_(0.3 * torch.randn_like(weight))  # far from the small motion that training starts from
    folder = tmp_path_factory.mktemp("stage1") / "last"
    described = "name: gsp\ndata:\n  image_size: [32, 64]\n  neighbours: sweeps\nmodel:\n"
    described += "".join(f"  {line}\n" for line in to_yaml(NET).splitlines())
    save_checkpoint(folder, net.state_dict(), described, {"step": 300})
    return folder


def _file(path: Path, tokens: list[str], identity: str = "gsp@300-00000000/network", **changes: object) -> Path:
    """Write motions of 1 m back and 2 m ahead."""
    ego_motion = np.tile(np.eye(4, dtype=np.float32), (len(tokens), 2, 1, 1))
    ego_motion[:, 0, 0, 3], ego_motion[:, 1, 0, 3] = 1.0, -2.0
    values = {"frame_ids": (0, -1, 1), "neighbours": "sweeps", "identity": identity, "ego_motion": ego_motion}
    values["frame_valid"] = np.ones((len(tokens), 2), bool)
    save_motions(path, EgoMotions(tokens=tuple(tokens), **(values | changes)))
    return path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pose.source=stage1"], r"needs pose\.checkpoint: a stage-1 run"),
        (["pose.source=file"], r"needs pose\.file: a motion file"),
        (["pose.source=file", "pose.checkpoint=x"], r"needs pose\.file"),
        (["pose.checkpoint=x"], r"pose\.checkpoint is given, but pose\.source: ground_truth does not read it"),
        (["pose.source=stage1", "pose.checkpoint=x", "pose.file=y"], r"pose\.file is given"),
        (["pose.source=file", "pose.file=y", "pose.readout=network"], r"pose\.readout belongs to pose\.source: stage1"),
        (["pose.source=sensors"], r"ground_truth"),
    ],
)
def test_a_combination_that_makes_no_sense_says_what_is_missing(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(Path("anywhere"), *overrides)


def test_the_motion_of_the_data_set_is_the_default_and_leaves_the_batch_alone(tiny_world: Path) -> None:
    config = _config(tiny_world)
    assert open_motion(config) is None
    assert config.pose.label == "ground truth"
    batch = collate([validation_dataset(config)[0]])
    assert with_motion(batch, None) is batch


def test_a_camera_that_looks_ahead_sees_the_world_come_nearer_by_what_the_file_says(
    tiny_world: Path, tmp_path: Path
) -> None:
    """2 m ahead along x of the ego: every point of every camera moves by -2 m along where the ego's x points to."""
    tokens = training_dataset(_config(tiny_world)).tokens
    config = _config(tiny_world, "pose.source=file", f"pose.file={_file(tmp_path / 'm.npz', tokens)}")
    source = open_motion(config)
    dataset = training_dataset(config, source)
    before = collate([dataset[0]])
    after = with_motion(before, source)
    assert torch.equal(after.cam_motion[:, 0], torch.eye(4).expand_as(after.cam_motion[:, 0]))
    ahead = after.cam_to_ego[0, :, 0, :3]  # (V, 3), the ego's x axis in each camera's frame
    torch.testing.assert_close(after.cam_motion[0, 2, :, :3, 3], -2 * ahead)
    torch.testing.assert_close(after.cam_motion[0, 1, :, :3, 3], ahead)
    assert torch.equal(after.frame_valid, before.frame_valid)
    assert config.pose.label.startswith("stage1 of unknown weights")
    assert with_identity(config, source).pose.label == "stage1 gsp@300-00000000/network, read from a file"


def test_parked_frames_are_those_that_the_prediction_calls_parked(tiny_world: Path, tmp_path: Path) -> None:
    """The file says 1 m for all: the data set's own poses, which differ, take no part."""
    tokens = training_dataset(_config(tiny_world)).tokens
    path = _file(tmp_path / "m.npz", tokens)
    config = _config(tiny_world, "pose.source=file", f"pose.file={path}", "data.min_travel_m=0.99")
    assert training_dataset(config, open_motion(config)).tokens == tokens
    config = _config(tiny_world, "pose.source=file", f"pose.file={path}", "data.min_travel_m=1.01")
    with pytest.raises(UserError, match=r"no key frame .* moves 1\.01 m"):
        training_dataset(config, open_motion(config))


def test_a_file_of_other_frames_or_neighbours_is_refused_before_the_first_step(
    tiny_world: Path, tmp_path: Path
) -> None:
    tokens = training_dataset(_config(tiny_world)).tokens
    config = _config(tiny_world, "pose.source=file", f"pose.file={_file(tmp_path / 'few.npz', tokens[:1])}")
    with pytest.raises(DataError, match=r"few\.npz: 3 of 4 key frames have no motion .*`gsocc predict pose RUN"):
        training_dataset(config, open_motion(config))
    other = _file(tmp_path / "other.npz", tokens, neighbours="keyframes")
    with pytest.raises(ConfigError, match=r"other\.npz holds motions to keyframes .* expected sweeps"):
        open_motion(_config(tiny_world, "pose.source=file", f"pose.file={other}"))
    with pytest.raises(DataError, match="no such motion file"):
        open_motion(_config(tiny_world, "pose.source=file", "pose.file=absent.npz"))


def test_another_checkpoint_than_the_recorded_one_is_refused(tiny_world: Path, tmp_path: Path) -> None:
    """A resumed run must not go on with the motion of other weights."""
    path = _file(tmp_path / "m.npz", ["a"])
    with pytest.raises(ConfigError, match=r"pose\.identity: expected gsp@200, but .*m\.npz is gsp@300"):
        open_motion(_config(tiny_world, "pose.source=file", f"pose.file={path}", "pose.identity=gsp@200"))


def test_the_network_of_a_checkpoint_is_rebuilt_frozen_and_sees_its_own_image_size(
    tiny_world: Path, stage1: Path
) -> None:
    """Images of 32x64 for it, of 48x80 for stage 2; asked twice, it answers the same."""
    config = _config(tiny_world, "pose.source=stage1", f"pose.checkpoint={stage1}")
    source = open_motion(config)
    assert source is not None
    assert source.identity == f"{load_checkpoint(stage1).identity()}/network"
    assert source.identity.startswith("gsp@300-")
    net = source.net  # type: ignore[attr-defined]
    assert not net.training
    assert not any(weight.requires_grad for weight in net.parameters())
    dataset = training_dataset(config, source)
    batch = with_motion(collate([dataset[1]]), source)
    assert batch.images.shape[-2:] == (48, 80)
    assert torch.equal(batch.cam_motion, with_motion(batch, source).cam_motion)
    inner = source._sample(batch.tokens[0])  # type: ignore[attr-defined]
    assert inner.images.shape[-2:] == (32, 64)
    assert inner.flow_px is not None
    said = net.predict_motion(collate([inner]))[0]
    pose = batch.cam_to_ego[0]
    torch.testing.assert_close(pose @ batch.cam_motion[0, 1], said[0].expand(len(pose), 4, 4) @ pose, atol=1e-4, rtol=0)
    validation = validation_dataset(config)
    assert with_motion(collate([validation[0]]), source).cam_motion.isfinite().all()


def test_a_checkpoint_of_stage_two_is_no_stage_one_checkpoint(tiny_world: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {"w": torch.zeros(1)}, to_yaml(_config(tiny_world)), {"step": 1})
    with pytest.raises(CheckpointError, match="expected a stage-1 checkpoint"):
        open_motion(_config(tiny_world, "pose.source=stage1", f"pose.checkpoint={tmp_path / 'last'}"))
    with pytest.raises(CheckpointError, match="gsocc train pose"):
        open_motion(_config(tiny_world, "pose.source=stage1", f"pose.checkpoint={tmp_path / 'nowhere'}"))


def test_identity_changes_with_the_weights_and_not_with_the_folder(tmp_path: Path) -> None:
    """Two copies of one checkpoint are one; a weight that differs makes another."""
    for folder, value in (("a", 0.0), ("b", 0.0), ("c", 1.0)):
        save_checkpoint(tmp_path / folder, {"w": torch.full((2,), value)}, "name: gsp\n", {"step": 7})
    a, b, c = (load_checkpoint(tmp_path / folder).identity() for folder in "abc")
    assert a == b != c
    assert a.startswith("gsp@7-")


def test_batch_statistics_make_a_frozen_network_answer_by_what_it_has_seen(tiny_world: Path, tmp_path: Path) -> None:
    """Off, an answer is for ever. On, it follows from the sample's statistics, and the running averages drift.

    The weights get no gradient in either case.
    """
    torch.manual_seed(0)
    pose = PoseConfig(name="stacked", backbone="resnet_tiny", norm="batch", width=8, translation_scale=0.3)
    described = PoseDepthConfig(depth=DepthConfig(backbone="resnet_tiny", norm="group"), pose=pose)
    text = "name: bn\ndata:\n  image_size: [32, 64]\n  neighbours: sweeps\nmodel:\n"
    text += "".join(f"  {line}\n" for line in to_yaml(described).splitlines())
    folder = tmp_path / "last"
    save_checkpoint(folder, PoseDepthNet(described).state_dict(), text, {"step": 1})
    answers = {}
    for on in ("false", "true"):
        overrides = ["pose.source=stage1", f"pose.checkpoint={folder}", f"switches.pose_batch_statistics={on}"]
        config = _config(tiny_world, *overrides)
        source = open_motion(config)
        assert source is not None
        before = {name: value.clone() for name, value in source.net.named_buffers()}
        token = training_dataset(config).tokens[0]
        answers[on] = source.motion(token)[0]
        drifted = [name for name, value in source.net.named_buffers() if not torch.equal(value, before[name])]
        assert bool(drifted) is (on == "true")
        assert not any(weight.requires_grad for weight in source.net.parameters())
    assert not torch.allclose(answers["true"], answers["false"], atol=1e-6)


def test_jittered_images_move_the_answer_in_training_and_there_alone(tiny_world: Path, tmp_path: Path) -> None:
    """Every image gets colours of its own, drawn anew in every step; in validation the network sees the clean ones."""
    torch.manual_seed(0)
    pose = PoseConfig(name="stacked", backbone="resnet_tiny", norm="group", width=8, translation_scale=0.3)
    described = PoseDepthConfig(depth=DepthConfig(backbone="resnet_tiny", norm="group"), pose=pose)
    text = "name: jitter\ndata:\n  image_size: [32, 64]\n  neighbours: sweeps\nmodel:\n"
    text += "".join(f"  {line}\n" for line in to_yaml(described).splitlines())
    folder = tmp_path / "last"
    save_checkpoint(folder, PoseDepthNet(described).state_dict(), text, {"step": 1})
    said = ["pose.source=stage1", f"pose.checkpoint={folder}", "data.color_jitter=1", "switches.jitter_per_image=true"]
    off, on = (open_motion(_config(tiny_world, *said, f"switches.jittered_pose_images={b}")) for b in (False, True))
    assert off is not None
    assert on is not None
    token = training_dataset(_config(tiny_world)).tokens[1]
    clean = off.motion(token)[0]
    assert torch.equal(clean, off.motion(token, training=True)[0])
    torch.manual_seed(7)
    first, second = (on.motion(token, training=True)[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(on.motion(token)[0], clean)

    torch.manual_seed(7)
    torch.rand(())  # whether this sample is changed: at probability 1 it is
    sample = on._sample(token)  # type: ignore[attr-defined]
    images = [ColorJitter.draw(torch.default_generator)(image[None])[0] for image in sample.images.flatten(0, 1)]
    batch = collate([replace(sample, images=torch.stack(images).unflatten(0, (3, 6)))])
    torch.testing.assert_close(on.net.predict_motion(batch)[0], first)  # type: ignore[attr-defined]

    frames = collate([training_dataset(_config(tiny_world))[1]])
    torch.testing.assert_close(with_motion(frames, on).cam_motion, with_motion(frames, off).cam_motion)
    moved = with_motion(frames, on, training=True).cam_motion
    assert not torch.equal(moved, with_motion(frames, off, training=True).cam_motion)
