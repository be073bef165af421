"""Gaussian splatting for projection (GSP, arXiv:2408.11447): cameras redraw each other at one instant.

Every pixel becomes a Gaussian at its predicted depth. Of each pair of overlapping cameras one gives the shared pixels
up, so they can only be redrawn by the other one's Gaussians: these land right where the depth is metric.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.geometry.overlap import choose_sides, given_up
from gsocc.geometry.projection import project, unproject
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.losses.photometric import photometric_error
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians
from pose_stage.config import GspConfig
from pose_stage.overlaps import Overlaps

_TINY = 1e-6
_MIN_DEPTH_M = 0.1  # nearer than this, a point counts as behind the other camera


def pixel_gaussians(
    depth_m: Float[Tensor, "B V H W"],
    images: Float[Tensor, "B V 3 H W"],
    rig: CameraRig,
    config: GspConfig,
    kept: Bool[Tensor, "B V H W"] | None = None,
    scale: Float[Tensor, "B V H W"] | None = None,
) -> Gaussians:
    """Return one Gaussian per pixel of every view, in the ego frame.

    Args:
        depth_m: Depth along the optical axis.
        images: RGB, the features of the Gaussians.
        rig: The cameras at the size of the images.
        config: Scale rule and opacity.
        kept: False on pixels that give way; their Gaussians get no opacity.
        scale: Predicted share of the cap, for the rule "learned".
    """
    points_cam = unproject(depth_m, rig.intrinsics).flatten(2, 3)  # (B, V, HW, 3)
    means = transform_points(rig.cam_to_ego, points_cam).flatten(1, 2)  # (B, VHW, 3)
    if config.scale == "focal":
        focal = rig.intrinsics[..., 0, 0, None, None]
        sigma = config.focal_factor * depth_m / focal
    elif config.scale == "learned":
        if scale is None:
            raise ValueError("pixel_gaussians: gsp.scale 'learned' needs the depth network's scale map, got None")
        sigma = (config.cap_m * scale).clamp(min=_TINY)
    else:
        sigma = torch.full_like(depth_m, config.cap_m)
    quats = means.new_zeros(*means.shape[:2], 4)
    quats[..., 0] = 1.0
    opacities = torch.full_like(depth_m, config.opacity)
    if kept is not None:
        opacities = opacities * kept
    return Gaussians(
        means=means,
        quats=quats,
        scales=sigma.flatten(1)[..., None].expand(-1, -1, 3),
        opacities=opacities.flatten(1),
        features=images.transpose(1, 2).flatten(2).transpose(1, 2),
    )


class SplatCrossView:
    """The cross-view loss of GSP.

    Args:
        config: See `GspConfig`.
        ssim_weight: Share of SSIM in the error.
    """

    def __init__(self, config: GspConfig, ssim_weight: float) -> None:
        self.config, self.ssim_weight = config, ssim_weight
        self.renderer = build_renderer(config.renderer, cache=False, eps2d_px=config.eps2d_px)

    def __call__(
        self,
        depth_m: Float[Tensor, "B V H W"],
        images: Float[Tensor, "B V 3 H W"],
        rig: CameraRig,
        overlaps: Overlaps,
        *,
        scale: Float[Tensor, "B V H W"] | None = None,
        step: int = 0,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean error of the redrawn pixels; 0 where there is none.

        Args:
            depth_m: Depth along the optical axis.
            images: RGB at the same size.
            rig: The cameras at that size.
            overlaps: Their masks at that size.
            scale: Predicted share of the cap.
            step: Of the training, for the rule "alternating".
            generator: For the rule "random".
        """
        config = self.config
        kept, compared = self._regions(rig, overlaps, step, generator)
        scene = pixel_gaussians(depth_m, images, rig, config, kept, scale)
        out = self.renderer.render(scene, rig)
        drawn = out.features
        if config.divide_by_opacity:
            drawn = drawn / out.opacity.clamp(min=_TINY)[:, :, None]
        solid = out.opacity.detach() > config.min_opacity  # (B, V, H, W)
        if config.holes == "ignore":
            compared = compared & solid
            # Windows of SSIM reach into what is not compared: there the target stands in for what was not drawn.
            drawn = torch.where(solid[:, :, None], drawn, images)
        if config.exposure == "affine":
            drawn = match_exposure(drawn, images, compared)
        error = photometric_error(drawn.flatten(0, 1), images.flatten(0, 1), self.ssim_weight)
        compared = compared.flatten(0, 1)
        return error.masked_fill(~compared, 0.0).sum() / compared.sum().clamp(min=1)

    def _regions(
        self, rig: CameraRig, overlaps: Overlaps, step: int, generator: torch.Generator | None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the pixels that become Gaussians (None: all), and those that are compared."""
        if self.config.mask_out == "none":
            return None, overlaps.inner.any(2)
        sides = choose_sides(overlaps.whole, rig.cam_to_ego, self.config.mask_out, step=step, generator=generator)
        return ~given_up(overlaps.whole, sides), given_up(overlaps.inner, sides)


def match_exposure(
    drawn: Float[Tensor, "B V 3 H W"], images: Float[Tensor, "B V 3 H W"], where: Bool[Tensor, "B V H W"]
) -> Float[Tensor, "B V 3 H W"]:
    """Return `drawn` with the gain and offset per view and colour that fit `images` best in a region.

    Least squares, without gradient to gain and offset: neighbouring cameras expose differently, and depth is not what
    should explain it.
    """
    weight = where[:, :, None].to(drawn.dtype)
    with torch.no_grad():
        count = weight.sum((-1, -2), keepdim=True).clamp(min=1)
        mean_a = (drawn * weight).sum((-1, -2), keepdim=True) / count
        mean_b = (images * weight).sum((-1, -2), keepdim=True) / count
        covariance = ((drawn - mean_a) * (images - mean_b) * weight).sum((-1, -2), keepdim=True) / count
        variance = ((drawn - mean_a).square() * weight).sum((-1, -2), keepdim=True) / count
        # Wrong depth decorrelates the two: the gain must not then fade the picture to grey.
        gain = (covariance / variance.clamp(min=_TINY)).clamp(0.5, 2.0)
    return (drawn - mean_a) * gain + mean_b


class BilinearCrossView:
    """The cross-view loss of FSM and SurroundDepth: each image is sampled where its neighbour's depth says.

    Scale is tied the same way, but a wrong depth still finds some colour to sample, and nothing occludes.
    """

    def __init__(self, ssim_weight: float) -> None:
        self.ssim_weight = ssim_weight

    def __call__(
        self,
        depth_m: Float[Tensor, "B V H W"],
        images: Float[Tensor, "B V 3 H W"],
        rig: CameraRig,
        overlaps: Overlaps,
    ) -> Float[Tensor, ""]:
        """Return the mean error of the pixels that another camera sees; 0 where there is none."""
        size = depth_m.shape[-2:]
        points_ego = transform_points(rig.cam_to_ego, unproject(depth_m, rig.intrinsics).flatten(2, 3))
        pairs = overlaps.inner.any(-1).any(-1).any(0).nonzero().tolist()
        total, count = depth_m.new_zeros(()), depth_m.new_zeros(())
        for i, j in pairs:
            points = transform_points(invert_rigid(rig.cam_to_ego[:, j]), points_ego[:, i])
            pixels, z_m = project(points, rig.intrinsics[:, j], _MIN_DEPTH_M)
            inside = ((pixels >= 0) & (pixels <= pixels.new_tensor([size[1], size[0]]))).all(-1) & (z_m > _MIN_DEPTH_M)
            warped = sample_image(images[:, j], pixels.unflatten(1, size), padding="border")
            compared = inside.unflatten(1, size) & overlaps.inner[:, i, j]
            error = photometric_error(warped, images[:, i], self.ssim_weight)
            total = total + error.masked_fill(~compared, 0.0).sum()
            count = count + compared.sum()
        return total / count.clamp(min=1)


def scale_curve(
    loss: Callable[[Tensor], Tensor], true_depth_m: Float[Tensor, "B V H W"], factors: Sequence[float]
) -> dict[float, float]:
    """Return the loss of a depth map that is right up to a factor, by factor; its minimum should lie at 1.

    Look at it before training: where the curve is flat, there is no scale to be learned.
    """
    with torch.no_grad():
        return {factor: float(loss(true_depth_m * factor)) for factor in factors}
