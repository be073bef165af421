"""Behaviours of the releases, one by one: what changes while a switch is on, and the pages that name them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gsocc.app.benchmark.differences import CASES, MOTION
from gsocc.config import load_config
from gsocc.datasets.images import resize_nearest
from gsocc.datasets.nuscenes import build_index
from gsocc.errors import DataError
from gsocc.fields.occupancy import OccupancyField
from gsocc.geometry.se3 import invert_rigid
from gsocc.labels import FREE
from gsocc.structures import OCC3D_GRID, SurroundBatch, VoxelGrid, collate
from occ_stage.auxiliary import joint_rig, seen_from, with_auxiliary_views
from occ_stage.config import ObjectiveConfig, OccConfig, RendererConfig
from occ_stage.data import open_dataset, training_dataset
from occ_stage.model import FieldRenderer, occ3d_prediction, rendered_labels
from occ_stage.objective import OccObjective
from occ_stage.parity import SWITCHES

ROOT = Path(__file__).resolve().parents[2]
GRID = VoxelGrid((-8.0, -8.0, -1.0), (8, 8, 4), (2.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def frames(tiny_world: Path) -> SurroundBatch:
    """Return one training key frame with its sweeps and labels."""
    return collate([open_dataset(_config(tiny_world), "train", parts={"semantics"})[0]])


@pytest.fixture(scope="module")
def wide_frames(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> SurroundBatch:
    """Return one with two sweeps on each side."""
    index = build_index(tiny_world, out=tmp_path_factory.mktemp("index") / "wide.npz", reach=2)
    config = _config(tiny_world, f"data.index={index}", "objective.auxiliary_views=true")
    return collate([training_dataset(config)[0]])


def _config(world: Path, *overrides: str) -> OccConfig:
    small = [f"data.root={world}", "data.image_size=[48, 80]", "renderer.size=[12, 20]", *overrides]
    return load_config(ROOT / "configs" / "occ" / "synthetic_splat.yaml", OccConfig, small)


def _objective(*switches: str, **changes: object) -> OccObjective:
    terms = {"photometric": 0.0, "smoothness": 0.0, "semantic": 0.0, "total_variation": 0.0, **changes}
    renderer = FieldRenderer(RendererConfig(name="splat_cpu", size=(12, 20)))
    return OccObjective(ObjectiveConfig(**terms), GRID, renderer, [4], switches=switches)


class _Flat(nn.Module):
    """Answers with the logits that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(1, 2, *GRID.shape, generator=torch.Generator().manual_seed(0)))

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_a_point_has_the_same_place_in_an_auxiliary_camera_by_both_ways(frames: SurroundBatch) -> None:
    """Through the camera at the key frame and its motion, or straight through the pose of the auxiliary one."""
    point = torch.tensor([10.0, 2.0, 1.0, 1.0])
    for place in (1, 2):
        moment = seen_from(frames, place)
        through = frames.cam_motion[:, place] @ invert_rigid(frames.cam_to_ego) @ point
        torch.testing.assert_close(invert_rigid(moment.cam_to_ego) @ point, through, atol=1e-3, rtol=0)


def test_an_auxiliary_view_has_neighbours_of_its_own_on_both_sides(wide_frames: SurroundBatch) -> None:
    """Of five sweeps the inner three are drawn; each one's motion to the next, then back, leads nowhere."""
    assert wide_frames.frame_ids == (0, -1, 1, -2, 2)
    moments = with_auxiliary_views(wide_frames)
    assert [moment.frame_ids for moment in moments] == [(0, -1, 1), (0, 1, -1), (0, -1, 1)]
    assert joint_rig(moments).num_views == 18
    assert moments[0].semantic_labels is wide_frames.semantic_labels
    for place, moment in enumerate(moments[1:], start=1):
        there_and_back = wide_frames.cam_motion[:, place] @ moment.cam_motion[:, 1]
        torch.testing.assert_close(there_and_back, torch.eye(4).expand_as(there_and_back), atol=1e-4, rtol=0)
        assert torch.equal(moment.images[:, 0], wide_frames.images[:, place])
        assert torch.equal(moment.images[:, 1], wide_frames.images[:, 0])
        assert torch.equal(moment.images[:, 2], wide_frames.images[:, place + 2])
    outer = moments[1].cam_motion[:, 2] @ wide_frames.cam_motion[:, 1]  # by way of -1
    torch.testing.assert_close(outer, wide_frames.cam_motion[:, 3], atol=1e-3, rtol=0)


def test_an_index_that_does_not_reach_is_refused_with_the_command_that_builds_one_that_does(tiny_world: Path) -> None:
    """Before the first step."""
    with pytest.raises(DataError, match="--reach 2"):
        training_dataset(_config(tiny_world, "objective.auxiliary_views=true"))


def test_integer_pixels_are_a_principal_point_half_a_pixel_on(frames: SurroundBatch) -> None:
    """At the size of the comparison, in the warp alone."""
    depth, images = torch.full((1, 6, 48, 80), 12.0), frames.images
    half = torch.zeros(3, 3)
    half[:2, 2] = 0.5
    moved = replace(frames, intrinsics=frames.intrinsics + half)
    on = _objective("integer_pixel_warp")._photometric(depth, images, frames)
    torch.testing.assert_close(on, _objective()._photometric(depth, images, moved))
    assert on != _objective()._photometric(depth, images, frames)


def test_accumulated_depth_reads_thin_matter_as_near(frames: SurroundBatch) -> None:
    """The light that passes is at 80 m, or at none."""
    model = _Flat()
    off, on = _objective(), _objective("accumulated_depth")
    out = off.renderer(off.renderer.field(GRID, model.logits), frames.rig)
    torch.testing.assert_close(off.depth(out) - on.depth(out), (1 - out.opacity) * 80.0, atol=1e-4, rtol=1e-4)


def test_sparsity_pushes_every_voxel_or_the_channels_of_the_top_layer(frames: SurroundBatch) -> None:
    """By where its gradient is."""
    for switches in ((), ("sparsity_of_top_slice",)):
        model = _Flat()
        _objective(*switches, sparsity=1.0)(model, frames).total.backward()
        assert model.logits.grad is not None
        pushed = model.logits.grad != 0
        expected = torch.zeros_like(pushed)
        if switches:
            expected[..., -1] = True
        else:
            expected[:, -1] = True
        assert torch.equal(pushed, expected)


def test_the_top_left_pixel_of_each_block_is_taken_on_request() -> None:
    """Of blocks of 5 x 5, as 900 x 1600 has for 180 x 320: row and column 0, or 2."""
    labels = torch.arange(100).reshape(10, 10).numpy()
    assert resize_nearest(labels, (2, 2), 0.0).tolist() == [[0, 5], [50, 55]]
    assert resize_nearest(labels, (2, 2)).tolist() == [[22, 27], [72, 77]]


def test_jitter_per_image_breaks_the_agreement_of_cameras(tiny_world: Path) -> None:
    """A common change keeps the ratio of the mean colours of cameras nearly; separate ones do not."""
    jittered = {}
    for on in ("false", "true"):
        config = _config(tiny_world, "data.color_jitter=1.0", f"switches.jitter_per_image={on}")
        sample = open_dataset(config, "train", augment=True)[0]
        changes = sample.network_images.mean((1, 2, 3)) / sample.images[0].mean((1, 2, 3))
        jittered[on] = (changes.max() / changes.min()).item()
    assert jittered["true"] > 1.1 > jittered["false"]


def test_argmax_compares_free_with_the_best_class_and_leaves_the_outside_free() -> None:
    """Two classes, and a free logit between them: occupied where the better class beats it."""
    logits = torch.zeros(1, 3, *GRID.shape)
    logits[:, 1], logits[:, 2] = 2.0, 1.0
    logits[:, 2, :4] = 3.0  # behind the vehicle everything is free
    occupancy, classes = occ3d_prediction(OccupancyField.from_logits(GRID, logits), [4, 15], "nearest", "argmax")
    x = OCC3D_GRID.centers_m()[..., 0]
    inside = (OCC3D_GRID.centers_m()[..., :2].abs() < 8).all(-1) & (OCC3D_GRID.centers_m()[..., 2] < 7)
    assert torch.equal(occupancy[0] > 0.5, inside & (x > 0))
    assert bool((classes[0][inside] == 15).all())


def test_a_network_without_classes_says_occupied_or_free(frames: SurroundBatch) -> None:
    """Class 0, others, stands for whatever is there."""
    renderer = FieldRenderer(RendererConfig(name="splat_cpu", size=(12, 20)))
    field = renderer.field(GRID, torch.full((1, 1, *GRID.shape), -10.0))
    occupancy, classes = occ3d_prediction(field, [], "trilinear")
    assert occupancy.max() > 0.99
    assert not classes.any()
    labels = rendered_labels(renderer(field, frames.rig), [], None)
    assert set(labels.unique().tolist()) <= {0, FREE}


def test_the_page_and_the_benchmark_name_every_switch() -> None:
    """docs/differences.md has one row each; `gsocc bench differences` measures each, on scores or on motion."""
    page = (ROOT / "docs" / "differences.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)[: len(SWITCHES)] == list(SWITCHES)
    assert {*CASES, *MOTION} == set(SWITCHES)


def test_commands_of_the_page_on_reproduction_name_files_that_are_there() -> None:
    """Configurations, and pages that are linked."""
    for name in ("reproduce.md", "differences.md"):
        page = (ROOT / "docs" / name).read_text()
        configs = re.findall(r"configs/[\w/]+\.yaml", page)
        assert all((ROOT / config).is_file() for config in configs)
        assert all((ROOT / "docs" / link).is_file() for link in re.findall(r"\]\(([\w.]+\.md)\)", page))
