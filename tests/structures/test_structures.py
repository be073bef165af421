"""The data that travel between rooms."""

from dataclasses import replace

import pytest
import torch

from gsocc.structures import OCC3D_GRID, CameraRig, SurroundSample, VoxelGaussians, VoxelGrid, collate


def _sample(token: str = "a", **changes: object) -> SurroundSample:
    sample = SurroundSample(
        token=token,
        scene="scene-0001",
        timestamp_s=1.0,
        frame_ids=(0, -1, 1),
        images=torch.zeros(3, 2, 3, 4, 6),
        network_images=torch.zeros(2, 3, 4, 6),
        intrinsics=torch.eye(3).expand(2, 3, 3),
        cam_to_ego=torch.eye(4).expand(2, 4, 4),
        cam_motion=torch.eye(4).expand(3, 2, 4, 4),
        frame_valid=torch.ones(3, 2, dtype=torch.bool),
    )
    return replace(sample, **changes)


def test_occ3d_lattice_is_the_published_one() -> None:
    """x, y in [-40, 40], z in [-1, 5.4]; first centre at -39.8, -39.8, -0.8."""
    torch.testing.assert_close(torch.tensor(OCC3D_GRID.max_m), torch.tensor([40.0, 40.0, 5.4]))
    torch.testing.assert_close(OCC3D_GRID.centers_m()[0, 0, 0], torch.tensor([-39.8, -39.8, -0.8]))


def test_resizing_a_rig_scales_its_intrinsics_exactly() -> None:
    """fx, cx scale with the width, fy, cy with the height: the image spans [0, W] x [0, H]."""
    intrinsics = torch.tensor([[100.0, 0, 80], [0, 90.0, 45], [0, 0, 1]]).expand(1, 1, 3, 3)
    rig = CameraRig(intrinsics, torch.eye(4).expand(1, 1, 4, 4), (90, 160)).resized((45, 40))
    expected = torch.tensor([[25.0, 0, 20], [0, 45.0, 22.5], [0, 0, 1]])
    torch.testing.assert_close(rig.intrinsics[0, 0], expected)


@pytest.mark.parametrize(
    ("intrinsics", "pose", "words"),
    [
        (torch.zeros(3, 3), torch.eye(4), "intrinsics of view 0"),
        (torch.full((3, 3), float("nan")), torch.eye(4), "intrinsics of view 0"),
        (torch.eye(3), 2 * torch.eye(4), "rigid"),
        (torch.eye(3), torch.diag(torch.tensor([-1.0, 1, 1, 1])), "rigid"),
    ],
)
def test_a_rig_that_cannot_be_is_refused(intrinsics: torch.Tensor, pose: torch.Tensor, words: str) -> None:
    """Singular or NaN intrinsics, scaled or mirrored poses."""
    rig = CameraRig(intrinsics.expand(1, 1, 3, 3), pose.expand(1, 1, 4, 4), (4, 4))
    with pytest.raises(ValueError, match=words):
        rig.validate()


def test_samples_stack_into_a_batch() -> None:
    """Tensors gain a leading axis, names become tuples, absent parts stay absent."""
    batch = collate([_sample("a"), _sample("b")])
    assert batch.tokens == ("a", "b")
    assert batch.images.shape == (2, 3, 2, 3, 4, 6)
    assert batch.lidar_depth_m is None
    assert batch.rig.image_size == (4, 6)


def test_samples_with_different_parts_do_not_stack() -> None:
    """A part that only some samples carry would be lost silently."""
    with pytest.raises(ValueError, match="lidar_depth_m is missing"):
        collate([_sample("a"), _sample("b", lidar_depth_m=torch.zeros(2, 4, 6))])


def test_voxel_gaussians_unfold_x_slowest() -> None:
    """Flattened order matches `centers_m`, features follow their voxel."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (2, 3, 4), (1.0, 1.0, 1.0))
    opacities = torch.rand(1, 2, 3, 4)
    gaussians = VoxelGaussians(grid, (0.3, 0.4, 0.5), opacities, opacities[:, None] * 2).to_gaussians()
    torch.testing.assert_close(gaussians.means[0, 1 * 12 + 2 * 4 + 3], torch.tensor([1.5, 2.5, 3.5]))
    torch.testing.assert_close(gaussians.features[0, :, 0], opacities.flatten() * 2)
    torch.testing.assert_close(gaussians.scales[0, 0], torch.tensor([0.3, 0.4, 0.5]))
