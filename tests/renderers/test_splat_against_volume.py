"""Splats and rays draw the same smooth field alike, the better the smaller its voxels.

Seen from afar, voxels of size h whose splats have the standard deviation s h and opacity o stop o 2 pi s^2 / h of the
light per metre, in every direction: the footprint of a splat over the area of a voxel, times voxels per metre. Along
rays it is -ln(1 - o) / h. For thin voxels the two are equal at s = 1 / sqrt(2 pi), about 0.4.
"""

import math

import pytest
import torch
from render_helpers import KINDS, forward_rig

from gsocc.fields.density import DensityField
from gsocc.renderers import build_renderer, splat_torch
from gsocc.structures import CameraRig, RenderOutput, VoxelGrid

EQUAL_SCALE = 1.0 / math.sqrt(2.0 * math.pi)
PEAK = 2.0  # density in 1/m
HALF_M = 2.4


def blob(count: int) -> DensityField:
    """Return a ball of fog, 2 / m in the middle and 0.9 m wide, with two smooth channels, in count^3 voxels."""
    edge = 2 * HALF_M / count
    grid = VoxelGrid((5.0 - HALF_M, -HALF_M, -HALF_M), (count,) * 3, (edge,) * 3)
    place = grid.centers_m() - torch.tensor([5.0, 0.2, -0.1])
    density = PEAK * torch.exp(-place.square().sum(-1) / (2 * 0.9**2))
    return DensityField(grid, density[None], torch.stack([torch.ones_like(density), torch.sin(place[..., 1])])[None])


def tilted_rig() -> CameraRig:
    """Return a camera that looks at the blob along none of the grid's axes: no row of voxels hides another."""
    rig = forward_rig((12, 16), 20.0, (0.21,))
    cos, sin = math.cos(0.13), math.sin(0.13)
    tilt = torch.eye(4)
    tilt[1:3, 1:3] = torch.tensor([[cos, -sin], [sin, cos]])
    pose = rig.cam_to_ego @ tilt
    pose[..., :2, 3] = torch.tensor([0.19, -0.88])
    return CameraRig(rig.intrinsics, pose, rig.image_size)


def truth() -> RenderOutput:
    """Return the blob by fine steps through fine voxels."""
    return build_renderer("volume", step_m=0.02, far_m=12.0).render(blob(72), tilted_rig())


def errors(out: RenderOutput, exact: RenderOutput) -> torch.Tensor:
    """Return the mean differences of opacity, depth where it is defined, and features."""
    seen = exact.opacity > 0.5
    depth = (out.depth_m - exact.depth_m)[seen]
    return torch.stack(
        [part.abs().mean() for part in (out.opacity - exact.opacity, depth, out.features - exact.features)]
    )


def test_splats_become_the_volume_as_voxels_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """First order in the voxel's optical depth: half the voxel, half the error.

    The oracle without its cut at 1/255, which is a constant of the splats and not of the voxels.
    """
    monkeypatch.setattr(splat_torch, "ALPHA_MIN", 0.0)
    renderer, rig, exact = build_renderer("splat_torch", eps2d_px=1e-4), tilted_rig(), truth()
    found = [errors(renderer.render(blob(n).to_gaussians((EQUAL_SCALE,) * 3), rig), exact) for n in (6, 12, 24)]
    assert (found[1] < 0.6 * found[0]).all()
    assert (found[2] < 0.6 * found[1]).all()
    assert found[2].max() < 0.03


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("splat")])
def test_what_a_splat_stops_grows_with_its_footprint(kind: str) -> None:
    """2 pi s^2 of the optical depth: 0.57 at s = 0.3, 1 at 0.4, 1.57 at 0.5; the cut takes 1 / (255 o) of it."""
    name, options = KINDS[kind]
    renderer, rig, exact = build_renderer(name, **{**options, "eps2d_px": 1e-4}), tilted_rig(), truth()
    middle = exact.opacity > 0.5
    optical = -torch.log1p(-exact.opacity[middle])
    for scale in (0.3, EQUAL_SCALE, 0.5):
        out = renderer.render(blob(12).to_gaussians((scale,) * 3), rig)
        share = (-torch.log1p(-out.opacity[middle])).sum() / optical.sum()
        assert share.item() == pytest.approx(2 * math.pi * scale**2, rel=0.15)
