"""Our projection against gsplat's own torch code, which runs on a CPU: a second oracle, written by others."""

from dataclasses import replace

import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci
from render_helpers import random_gaussians, surround_rig
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid
from gsocc.renderers.projection import ProjectedGaussians, covariances, project_gaussians
from gsocc.structures import CameraRig, Gaussians

NEAR_M, EPS2D_PX = 0.2, 0.3


def scene_and_rig(seed: int) -> tuple[Gaussians, CameraRig]:
    """Return Gaussians on all sides of three cameras in float64; fx and fy differ, the axis is off the centre."""
    scene, rig = random_gaussians(400, 1, seed).map(Tensor.double), surround_rig((24, 40))
    intrinsics = rig.intrinsics.double()
    intrinsics[..., 0, 2] += 5.3
    intrinsics[..., 1, 1] *= 1.4
    intrinsics[..., 1, 2] -= 3.1
    return scene, CameraRig(intrinsics, rig.cam_to_ego.double(), rig.image_size)


def ours(means: Tensor, matrices: Tensor, rig: CameraRig, view: int) -> ProjectedGaussians:
    return project_gaussians(
        means,
        matrices,
        rig.intrinsics[0, view],
        rig.cam_to_ego[0, view],
        rig.image_size,
        near_m=NEAR_M,
        eps2d_px=EPS2D_PX,
    )


def theirs(means: Tensor, matrices: Tensor, rig: CameraRig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return radii, means2d, depths, conics, each (V, N, ...)."""
    height, width = rig.image_size
    radii, means2d, depths, conics, _ = _fully_fused_projection(
        means, matrices, invert_rigid(rig.cam_to_ego[0]), rig.intrinsics[0], width, height, EPS2D_PX, NEAR_M
    )
    return radii, means2d, depths, conics


def test_covariances_are_those_of_gsplat() -> None:
    scene, _ = scene_and_rig(0)
    expected, _ = _quat_scale_to_covar_preci(scene.quats[0], scene.scales[0], compute_preci=False)
    torch.testing.assert_close(covariances(scene.quats[0], scene.scales[0]), expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_centres_conics_depths_and_extents_are_those_of_gsplat(seed: int) -> None:
    """float64 both, to rounding. Behind the near plane ours differ on purpose: they stay finite, and nobody reads them.

    gsplat rounds extents up to whole pixels and then asks which boxes meet the image; ours are exact. So we see no
    more than gsplat does, and what it sees beyond lies within a pixel outside, where alpha is below 1 / 255.
    """
    scene, rig = scene_and_rig(seed)
    matrices = covariances(scene.quats[0], scene.scales[0])
    radii, means2d, depths, conics = theirs(scene.means[0], matrices, rig)
    assert {bool(seen) for seen in (radii > 0).all(-1).any(-1)} == {True}
    for view in range(rig.num_views):
        projected = ours(scene.means[0], matrices, rig, view)
        front = depths[view] > NEAR_M
        torch.testing.assert_close(projected.depths_m, depths[view])
        torch.testing.assert_close(projected.means2d[front], means2d[view][front])
        torch.testing.assert_close(projected.conics[front], conics[view][front])
        assert projected.means2d.isfinite().all()
        assert projected.conics.isfinite().all()
        seen, seen_by_gsplat = projected.visible, (radii[view] > 0).all(-1)
        assert not (seen & ~seen_by_gsplat).any()
        torch.testing.assert_close(projected.radii_px[seen].ceil().int(), radii[view][seen])
        extra = seen_by_gsplat & ~seen
        size = torch.tensor([rig.image_size[1], rig.image_size[0]], dtype=torch.float64)
        reach = projected.radii_px
        gap = torch.maximum(-(projected.means2d + reach), projected.means2d - reach - size).amax(-1)
        assert ((gap[extra] >= 0.0) & (gap[extra] < 1.0)).all()
        assert seen.sum() > 20
        assert extra.sum() < 0.1 * seen.sum()


def test_gradients_are_those_of_gsplat() -> None:
    """Through the centre, the clamped Jacobian and the rotation of the camera, also far outside the image."""
    scene, rig = scene_and_rig(2)
    matrices = covariances(scene.quats[0], scene.scales[0])
    generator = torch.Generator().manual_seed(4)
    results = []
    for draw in (theirs, None):
        means, given = (tensor.clone().requires_grad_() for tensor in (scene.means[0], matrices))
        poses = rig.cam_to_ego.clone().requires_grad_()
        posed = replace(rig, cam_to_ego=poses)
        if draw is None:
            views = [ours(means, given, posed, view) for view in range(rig.num_views)]
            parts = [torch.stack([getattr(v, n) for v in views]) for n in ("means2d", "depths_m", "conics")]
        else:
            _, *parts = draw(means, given, posed)
        front = parts[1].detach() > NEAR_M
        generator.manual_seed(4)
        sum(
            (part[front] * torch.randn(part[front].shape, generator=generator, dtype=torch.float64)).sum()
            for part in parts
        ).backward()
        # gsplat reads one half of a symmetric matrix where we read both: what counts is their sum.
        assert given.grad is not None
        results.append((means.grad, given.grad + given.grad.transpose(-1, -2), poses.grad))
    for measured, expected in zip(*results, strict=True):
        torch.testing.assert_close(measured, expected, atol=1e-9, rtol=1e-7)
