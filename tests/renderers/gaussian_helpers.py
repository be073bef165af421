"""Gaussians that the tests of splats share."""

from dataclasses import replace

import torch

from gsocc.geometry.quaternion import quat_to_matrix
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians, RenderOutput


def on_axis(depths_m: list[float], opacities: list[float], scale_m: float = 0.5) -> Gaussians:
    """Return balls on the optical axis of `forward_rig`; the feature of each is its index plus one."""
    count = len(depths_m)
    means = torch.zeros(1, count, 3)
    means[0, :, 0] = torch.tensor(depths_m)
    quats = torch.zeros(1, count, 4)
    quats[..., 0] = 2.0  # need not be normalised
    features = torch.arange(1.0, count + 1)[None, :, None]
    return Gaussians(means, quats, torch.full((1, count, 3), scale_m), torch.tensor([opacities]), features)


def with_covariances(scene: Gaussians) -> Gaussians:
    """Return the scene with R S S^T R^T given, and quaternions and scales that would draw something else."""
    factor = quat_to_matrix(scene.quats) * scene.scales[..., None, :]
    return replace(
        scene,
        quats=torch.full_like(scene.quats, float("nan")),
        scales=torch.full_like(scene.scales, float("nan")),
        covariances=(factor @ factor.transpose(-1, -2))[:, None],
    )


def render(name: str, scene: Gaussians, rig: CameraRig, **options: float) -> RenderOutput:
    return build_renderer(name, **options).render(scene, rig)
