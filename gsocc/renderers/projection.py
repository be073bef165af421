"""EWA projection of Gaussians onto an image: plain torch, differentiable, float32 or float64.

Follows gsplat 1.5.3 (`fully_fused_projection`, pinhole), which follows Zwicker et al., "EWA Splatting" (2002).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsocc.geometry.quaternion import quat_to_matrix
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.renderers.constants import EXTENT_SIGMAS, FRUSTUM_MARGIN
from gsocc.structures import Gaussians


@dataclass(frozen=True)
class ProjectedGaussians:
    """Gaussians as one camera sees them.

    Attributes:
        means2d: Centres in pixels; the centre of pixel i is i + 0.5.
        conics: Inverse 2-D covariances (a, b, c) in 1/px^2: sigma = 0.5 (a dx^2 + c dy^2) + b dx dy.
        depths_m: Depth of the centres along the optical axis.
        radii_px: Half extents in x and y of the box outside which alpha is below `ALPHA_MIN`; no gradient.
        visible: Beyond the near plane, with a box that meets the image.
    """

    means2d: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    depths_m: Float[Tensor, " N"]
    radii_px: Float[Tensor, "N 2"]
    visible: Bool[Tensor, " N"]


def covariances(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """Return R S S^T R^T in m^2 from rotations (w, x, y, z) and standard deviations in metres."""
    factor = quat_to_matrix(quats) * scales[:, None, :]  # (N, 3, 3)
    return factor @ factor.transpose(-1, -2)


def view_covariances(
    scene: Gaussians, item: int, view: int, ids: Int[Tensor, " M"] | slice = slice(None)
) -> Float[Tensor, "M 3 3"]:
    """Return the covariances (m^2) of one batch item for one view: those of the scene, or R S S^T R^T.

    Given ones are made symmetric, so that every renderer sends the same gradient to both halves of the matrix.

    Args:
        scene: The Gaussians.
        item: Batch item.
        view: View, for covariances that are given per view.
        ids: Which Gaussians; all of them by default.
    """
    if scene.covariances is None:
        return covariances(scene.quats[item, ids], scene.scales[item, ids])
    given = scene.covariances[item, view if scene.covariances.shape[1] > 1 else 0, ids]
    return 0.5 * (given + given.transpose(-1, -2))


def project_gaussians(
    means_ego: Float[Tensor, "N 3"],
    covariances_ego: Float[Tensor, "#N 3 3"],
    intrinsics: Float[Tensor, "3 3"],
    cam_to_ego: Float[Tensor, "4 4"],
    image_size: tuple[int, int],
    *,
    near_m: float,
    eps2d_px: float,
) -> ProjectedGaussians:
    """Project Gaussians into one pinhole camera.

    ``cov2d = J W Sigma W^T J^T + eps2d I`` with the Jacobian J of the projection at the centre, where x / z and
    y / z are clamped to the image plus `FRUSTUM_MARGIN` on each side: far outside it the linearisation is
    worthless and would smear Gaussians across the picture. Skew is taken to be zero.

    Args:
        means_ego: Centres in metres.
        covariances_ego: In m^2; one for all Gaussians is broadcast.
        intrinsics: K in pixels.
        cam_to_ego: Rigid pose of the camera.
        image_size: (H, W).
        near_m: Centres at this depth or nearer are not visible.
        eps2d_px: Variance in px^2 that is added on both axes.
    """
    height, width = image_size
    ego_to_cam = invert_rigid(cam_to_ego)
    means_cam = transform_points(ego_to_cam, means_ego)  # (N, 3)
    depths_m = means_cam[:, 2]
    beyond = depths_m > near_m
    # A stand-in depth behind the near plane keeps values and gradients finite; `visible` is False there.
    z = torch.where(beyond, depths_m, torch.ones_like(depths_m))
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    x_over_z, y_over_z = means_cam[:, 0] / z, means_cam[:, 1] / z
    means2d = torch.stack([fx * x_over_z + cx, fy * y_over_z + cy], -1)  # (N, 2)

    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * width / fx, FRUSTUM_MARGIN * 0.5 * height / fy
    x_clamped = x_over_z.clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    y_clamped = y_over_z.clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    # Rows of J W, written out: W is one matrix per camera, so J W needs no product per Gaussian.
    rotation = ego_to_cam[:3, :3]
    row_u = (fx / z)[:, None] * (rotation[0] - x_clamped[:, None] * rotation[2])  # (N, 3)
    row_v = (fy / z)[:, None] * (rotation[1] - y_clamped[:, None] * rotation[2])  # (N, 3)
    cov_row_u = (covariances_ego @ row_u[..., None])[..., 0]  # (N, 3)
    cov_row_v = (covariances_ego @ row_v[..., None])[..., 0]  # (N, 3)
    cov_uu = (row_u * cov_row_u).sum(-1) + eps2d_px
    cov_uv = (row_u * cov_row_v).sum(-1)
    cov_vv = (row_v * cov_row_v).sum(-1) + eps2d_px
    determinant = cov_uu * cov_vv - cov_uv * cov_uv
    regular = determinant > 0
    inverse = 1.0 / torch.where(regular, determinant, torch.ones_like(determinant))
    conics = torch.stack([cov_vv * inverse, -cov_uv * inverse, cov_uu * inverse], -1)  # (N, 3)

    with torch.no_grad():
        radii_px = EXTENT_SIGMAS * torch.stack([cov_uu, cov_vv], -1).sqrt()  # (N, 2)
        size = means2d.new_tensor([width, height])
        meets = ((means2d + radii_px > 0) & (means2d - radii_px < size)).all(-1)
    return ProjectedGaussians(means2d, conics, depths_m, radii_px, beyond & regular & meets)
