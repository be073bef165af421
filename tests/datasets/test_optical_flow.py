"""Flow: its sign and unit, its agreement with the world's exact motion, and its cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.optical_flow import WithFlow, dense_flow
from gsocc.geometry.projection import pixel_centers, project, unproject
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import transform_points
from gsocc.structures import SurroundSample, collate


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth noise with details of about 6 pixels."""
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)


@pytest.mark.parametrize("upsample", [None, 1, 2])
def test_flow_points_to_where_a_pixel_goes(upsample: int | None) -> None:
    """The scene moves by (3, -1.5) px to the right and up: what was at p is at p + (3, -1.5)."""
    image = texture(64, 96)
    moved = sample_image(image[None], (pixel_centers(64, 96) - torch.tensor([3.0, -1.5]))[None], "border")[0]
    flow = dense_flow(image, moved, upsample=upsample)[:, 8:-8, 8:-8]
    assert flow.shape[0] == 2
    torch.testing.assert_close(flow.flatten(1).median(1).values, torch.tensor([3.0, -1.5]), atol=0.1, rtol=0)


def test_images_that_differ_in_size_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        dense_flow(texture(16, 24), texture(16, 32))
    with pytest.raises(ValueError, match="upsample of at least 1"):
        dense_flow(texture(16, 24), texture(16, 24), upsample=0)


@pytest.mark.slow
@pytest.mark.parametrize("time", [1, 2])
def test_flow_of_the_world_is_its_exact_motion(tiny_world: Path, time: int) -> None:
    """Exact LiDAR depth, exact poses: u' - u of a static point; half of the pixels agree to a third of a pixel.

    With the sign of the flow or the direction of the motion turned round, none would.
    """
    dataset = NuScenesDataset(
        root=tiny_world, split="train", image_size=(48, 80), parts=["lidar_depth"], depth_size=(48, 80)
    )
    flow = WithFlow(dataset, None)
    errors = []
    for number in range(len(dataset)):
        sample = flow[number]
        assert sample.flow_px is not None and sample.lidar_depth_m is not None
        points = transform_points(
            sample.cam_motion[time], unproject(sample.lidar_depth_m, sample.intrinsics).flatten(1, 2)
        )
        there, z_m = project(points, sample.intrinsics)
        here = pixel_centers(48, 80).flatten(0, 1)
        inside = (sample.lidar_depth_m.flatten(1) > 0) & (z_m > 0.5)
        inside &= (there > 0).all(-1) & (there < torch.tensor([80.0, 48.0])).all(-1)
        inside &= (there - here).norm(dim=-1) > 0.5  # what hardly moves says nothing
        found = sample.flow_px[time].flatten(2).transpose(1, 2)
        errors.append((found - (there - here)).norm(dim=-1)[inside])
    error = torch.cat(errors)
    assert len(error) > 1000
    assert error.median() < 0.35


class _Counting(Dataset[SurroundSample]):
    """Two samples of made-up images; the scale of the images can be changed under the cache's feet."""

    def __init__(self, brightness: float = 1.0, frame_ids: tuple[int, ...] = (0, -1, 1)) -> None:
        self.brightness, self.frame_ids, self.epoch = brightness, frame_ids, 0

    def __len__(self) -> int:
        return 2

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, number: int) -> SurroundSample:
        times, views = len(self.frame_ids), 2
        images = torch.stack([texture(16, 24, seed=10 * number + n) for n in range(times * views)]) * self.brightness
        images = images.unflatten(0, (times, views))
        eye = torch.eye(4).expand(views, 4, 4)
        valid = torch.ones(times, views, dtype=torch.bool)
        valid[-1, 1] = False
        return SurroundSample(
            token=f"t{number}",
            scene="s",
            timestamp_s=0.0,
            frame_ids=self.frame_ids,
            images=images,
            network_images=images[0],
            intrinsics=torch.eye(3).expand(views, 3, 3),
            cam_to_ego=eye,
            cam_motion=eye.expand(times, views, 4, 4),
            frame_valid=valid,
        )


def test_a_batch_carries_flow_and_none_where_a_neighbour_is_missing() -> None:
    batch = collate([WithFlow(_Counting(), None)[n] for n in range(2)])
    assert batch.flow_px is not None and batch.flow_px.shape == (2, 3, 2, 2, 16, 24)
    assert not batch.flow_px[:, 0].any()
    assert not batch.flow_px[:, 2, 1].any()
    assert batch.flow_px[:, 1].any() and batch.flow_px[:, 2, 0].any()


def test_the_cache_is_read_back_to_the_precision_of_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = WithFlow(_Counting(), None)[0].flow_px
    first = WithFlow(_Counting(), tmp_path)[0].flow_px
    monkeypatch.setattr("gsocc.datasets.optical_flow.dense_flow", None)  # must not be called again
    again = WithFlow(_Counting(), tmp_path)[0].flow_px
    assert direct is not None and first is not None and again is not None
    assert torch.equal(first, again)
    torch.testing.assert_close(again, direct, atol=1e-3, rtol=1e-3)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npz")] == ["16x24/t0.npz"]


@pytest.mark.parametrize("change", ["images", "times", "upsample", "damage"])
def test_a_flow_of_something_else_is_made_again(tmp_path: Path, change: str) -> None:
    """A token alone does not say which images: two worlds may share it."""
    WithFlow(_Counting(), tmp_path)[0]
    path = tmp_path / "16x24" / "t0.npz"
    if change == "damage":
        path.write_bytes(path.read_bytes()[:100])
    other = _Counting(0.5 if change == "images" else 1.0, (0, 1) if change == "times" else (0, -1, 1))
    upsample = 2 if change == "upsample" else None
    flow = WithFlow(other, tmp_path, upsample=upsample)[0].flow_px
    expected = WithFlow(other, None, upsample=upsample)[0].flow_px
    assert flow is not None and expected is not None
    torch.testing.assert_close(flow, expected, atol=1e-3, rtol=1e-3)
    stored = np.load(path)["flow_px"]
    assert np.array_equal(stored, flow.numpy().astype(np.float16))


def test_the_epoch_passes_through() -> None:
    dataset = _Counting()
    WithFlow(dataset, None).set_epoch(7)
    assert dataset.epoch == 7
