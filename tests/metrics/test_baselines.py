import pytest
import torch
from metric_helpers import TINY_GRID, random_labels, take

from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import (
    DepthMetric,
    LabelPrior,
    OccupancyMetric,
    all_free,
    all_occupied,
    best_ground_plane_cap,
    ground_level_m,
    ground_plane,
    ground_plane_depth,
)
from gsocc.structures import CameraRig, OccupancyLabels, VoxelGrid

CAR, ROAD = OCC3D_ID["car"], OCC3D_ID["driveable_surface"]


def _level_rig(height_m: float = 1.5, size: tuple[int, int] = (8, 6)) -> CameraRig:
    """Return one camera that looks along ego x, its horizon in the middle of the image."""
    intrinsics = torch.tensor([[[[4.0, 0, size[1] / 2], [0, 4.0, size[0] / 2], [0, 0, 1]]]])
    cam_to_ego = torch.eye(4)
    cam_to_ego[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # x right, y down, z forward
    cam_to_ego[2, 3] = height_m
    return CameraRig(intrinsics, cam_to_ego[None, None], size)


def test_plane_and_full_and_empty_score_as_they_must() -> None:
    truth = torch.full((1, *TINY_GRID.shape), FREE, dtype=torch.uint8)
    truth[..., 2] = ROAD
    seen = torch.ones_like(truth, dtype=torch.bool)
    labels = OccupancyLabels(truth, seen, seen)
    expected = {all_free: 0.0, all_occupied: 1 / 6, ground_plane: 1.0}  # one layer of six
    for make, iou in expected.items():
        metric = OccupancyMetric()
        semantics, occupancy = make(TINY_GRID).batch(1)
        metric.update(semantics, labels)
        assert metric.compute()["occ3d/camera:iou"] == pytest.approx(iou)
        assert torch.equal(occupancy > 0.5, semantics != FREE)


def test_plane_can_lie_at_another_height() -> None:
    guess = ground_plane(TINY_GRID, ground_z_m=-0.8)
    assert (guess.semantics[..., 0] == ROAD).all()
    assert (guess.semantics[..., 1:] == FREE).all()
    assert ground_level_m(guess, TINY_GRID) == pytest.approx(-0.8)
    with pytest.raises(ValueError, match="no voxel"):
        ground_level_m(all_free(TINY_GRID), TINY_GRID)


def test_prior_takes_the_majority_of_what_was_seen() -> None:
    """Seen as car, car, free: car. As car, free, not at all: car, at one half. Never seen: free."""
    truth = torch.tensor([[CAR, CAR, CAR], [CAR, FREE, ROAD], [FREE, ROAD, ROAD]], dtype=torch.uint8)
    seen = torch.tensor([[True, True, False], [True, True, False], [True, False, False]])
    shape = (3, 3, 1, 1)
    labels = OccupancyLabels(truth.reshape(shape), seen.reshape(shape), seen.reshape(shape))
    grid = VoxelGrid((0.0, 0.0, 0.0), (3, 1, 1), (1.0, 1.0, 1.0))
    prior = LabelPrior(grid)
    prior.update(labels)
    guess = prior.guess()
    assert guess.semantics.flatten().tolist() == [CAR, CAR, FREE]
    assert guess.occupancy.flatten().tolist() == pytest.approx([2 / 3, 1 / 2, 0.0])
    strict = LabelPrior(grid, threshold=0.6)
    strict.update(labels)
    assert strict.guess().semantics.flatten().tolist() == [CAR, FREE, FREE]


def test_prior_of_one_frame_is_that_frame() -> None:
    labels = random_labels(1, seed=0)
    prior = LabelPrior(TINY_GRID)
    prior.update(labels)
    metric = OccupancyMetric()
    metric.update(prior.guess().batch(1)[0], labels)
    assert metric.compute()["occ3d/camera/present:miou"] == 1.0


def test_priors_of_shards_add_up() -> None:
    labels = random_labels(3, seed=1)
    whole, first, second = (LabelPrior(TINY_GRID) for _ in range(3))
    whole.update(labels)
    first.update(take(labels, slice(0, 1)))
    second.update(take(labels, slice(1, 3)))
    first.merge_state(second)
    assert torch.equal(first.guess().semantics, whole.guess().semantics)


def test_plane_depth_of_a_level_camera_is_height_over_slope() -> None:
    """Row v of a camera 1.5 m up with focal length 4 px sees the ground at 1.5 * 4 / (v - c_y)."""
    depth = ground_plane_depth(_level_rig(), far_cap_m=30.0)[0, 0]  # (8, 6)
    assert (depth[:4] == 30.0).all()  # at and above the horizon: the cap
    for row in range(4, 8):
        expected = 1.5 * 4.0 / (row + 0.5 - 4.0)
        torch.testing.assert_close(depth[row], torch.full((6,), expected))


def test_plane_depth_holds_for_a_tilted_camera() -> None:
    """Every point unprojected with the depth lies at z = 0 in the ego frame."""
    from gsocc.geometry.projection import unproject
    from gsocc.geometry.se3 import transform_points

    rig = _level_rig()
    tilt = torch.eye(4)
    c, s = torch.cos(torch.tensor(0.4)), torch.sin(torch.tensor(0.4))
    tilt[:3, :3] = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])  # a roll about the optical axis
    rig = CameraRig(rig.intrinsics, rig.cam_to_ego @ tilt, rig.image_size)
    depth = ground_plane_depth(rig, 1e6)
    points = transform_points(rig.cam_to_ego, unproject(depth, rig.intrinsics).flatten(2, 3))
    on_ground = depth.flatten() < 1e5
    assert 0.3 < on_ground.float().mean() < 0.7
    assert points.reshape(-1, 3)[on_ground, 2].abs().max() < 1e-4


def test_the_best_cap_is_the_one_depth_metric_likes_most() -> None:
    rig = _level_rig(size=(16, 12))
    true = ground_plane_depth(rig, 22.0) * 1.1
    caps = (10.0, 22.0, 26.0, 60.0)
    cap, abs_rel = best_ground_plane_cap([(rig, true), (rig, true)], caps)
    scored = {}
    for c in caps:
        metric = DepthMetric(("CAM_FRONT",))
        metric.update(ground_plane_depth(rig, c), true)
        scored[c] = metric.compute()["depth/nuscenes/80m:abs_rel"]
    assert cap == min(scored, key=lambda c: scored[c])
    assert abs_rel == pytest.approx(scored[cap])


def test_a_sweep_without_truth_and_a_senseless_cap_are_refused() -> None:
    rig = _level_rig()
    with pytest.raises(ValueError, match="at least one frame"):
        best_ground_plane_cap([])
    with pytest.raises(ValueError, match="no image had"):
        best_ground_plane_cap([(rig, torch.zeros(1, 1, 8, 6))])
    with pytest.raises(ValueError, match="positive"):
        ground_plane_depth(rig, 0.0)
    with pytest.raises(ValueError, match="threshold"):
        LabelPrior(TINY_GRID, threshold=0.0)
