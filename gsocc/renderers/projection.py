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
from gsocc.structures import CameraRig, Gaussians

FOOTPRINTS = ("exact", "released")
"""How wide Gaussians are in the image: see `released_footprints`."""


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


def splat_covariances(
    scene: Gaussians,
    rig: CameraRig,
    at: tuple[int, int],
    footprint: str,
    ids: Int[Tensor, " M"] | slice = slice(None),
) -> Float[Tensor, "M 3 3"]:
    """Return the covariances (m^2) that a splat draws in one view.

    Args:
        scene: The Gaussians.
        rig: The cameras.
        at: Batch item and view.
        footprint: "exact", or "released" for those of `released_footprints`.
        ids: Which Gaussians; all of them by default.
    """
    covariances = view_covariances(scene, *at, ids)
    if footprint == "exact":
        return covariances
    means = scene.means[at[0], ids]
    camera = rig.intrinsics[at].to(means.dtype), rig.cam_to_ego[at].to(means.dtype), rig.image_size
    return released_footprints(means, covariances, *camera)


def released_footprints(
    means_ego: Float[Tensor, "N 3"],
    covariances_ego: Float[Tensor, "#N 3 3"],
    intrinsics: Float[Tensor, "3 3"],
    cam_to_ego: Float[Tensor, "4 4"],
    image_size: tuple[int, int],
) -> Float[Tensor, "N 3 3"]:
    """Return covariances whose exact projection has the footprints of GaussianOcc's rasteriser.

    The release takes the vertical field of view from the horizontal one, so that its vertical focal length is
    ``(H / W) fx``: footprints are lower than they should be by ``r = (H / W)(fx / fy)``, 0.5625 on nuScenes; centres
    are where they should be. It also clamps x / z and y / z to ``1.3 tan(fov_x / 2)`` on either side of the axis.
    Both are a change of the rows of the projection's Jacobian J, and so one of Sigma: ``Sigma' = A Sigma A^T`` with
    ``A = R^T M R`` (R turns ego to camera) and ``M = [[1, 0, s_x - s'_x], [0, r, s_y - r s'_y], [0, 0, 1]]``, where s
    and s' are the slopes x / z and y / z that J is evaluated at, here and in the release. Within the image both are
    the same.

    Args:
        means_ego: Centres in metres.
        covariances_ego: In m^2; one for all Gaussians is broadcast.
        intrinsics: K in pixels.
        cam_to_ego: Rigid pose of the camera.
        image_size: (H, W).
    """
    height, width = image_size
    squeeze = height / width * intrinsics[0, 0] / intrinsics[1, 1]
    limit = (1.0 + FRUSTUM_MARGIN) * 0.5 * width / intrinsics[0, 0]
    ego_to_cam = invert_rigid(cam_to_ego)
    x, y, z = transform_points(ego_to_cam, means_ego).unbind(-1)
    slopes = torch.stack([x, y], -1) / torch.where(z > 0.0, z, torch.ones_like(z))[:, None]
    low, high = _slope_limits(intrinsics, image_size)
    theirs = torch.minimum(torch.maximum(slopes, -limit), limit) * torch.stack([torch.ones_like(squeeze), squeeze])
    shift = torch.minimum(torch.maximum(slopes, low), high) - theirs  # (N, 2)
    rotation = ego_to_cam[:3, :3]
    # A = I + R^T (M - I) R, with M - I of rank two: no product of matrices per Gaussian but the last.
    down = (squeeze - 1.0) * rotation[1] + shift[:, 1:] * rotation[2]  # (N, 3)
    across = shift[:, :1] * rotation[2]  # (N, 3)
    change = rotation[0][:, None] * across[:, None, :] + rotation[1][:, None] * down[:, None, :]
    change = change + torch.eye(3, dtype=change.dtype, device=change.device)  # (N, 3, 3)
    return change @ covariances_ego @ change.transpose(-1, -2)


def _slope_limits(
    intrinsics: Float[Tensor, "3 3"], image_size: tuple[int, int]
) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Return the least and greatest x / z and y / z that J is evaluated at."""
    size = intrinsics.new_tensor([image_size[1], image_size[0]])
    focal, centre = torch.stack([intrinsics[0, 0], intrinsics[1, 1]]), intrinsics[:2, 2]
    margin = FRUSTUM_MARGIN * 0.5 * size / focal
    return -centre / focal - margin, (size - centre) / focal + margin


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

    low, high = _slope_limits(intrinsics, image_size)
    x_clamped, y_clamped = x_over_z.clamp(low[0], high[0]), y_over_z.clamp(low[1], high[1])
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
