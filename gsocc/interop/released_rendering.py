"""Published networks drawn into cameras, by the releases' own rules."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.fields.occupancy import OccupancyField
from gsocc.fields.ray_rules import SaturatingLogits
from gsocc.interop.released_lattice import released_voxel_m
from gsocc.renderers import Renderer, build_renderer
from gsocc.renderers.constants import ALPHA_MAX
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, scale_fraction_of
from gsocc.structures.gaussians import RELEASED_TIERS, Tiers

Size = tuple[int, int]  # H, W


@dataclass(frozen=True, kw_only=True)
class ReleasedOptions:
    """What the releases fix; each may be changed alone.

    Attributes:
        ray_near_m: Of rays: added to the depth of every sample.
        effective_points: Of rays: skip samples that moved at most 0.4 / n along every contracted axis of n voxels.
        semantic_ratio: Of rays: one sample of features for ``1 / ratio`` of occupancy; 0.25 in the configurations of
            both releases that render along rays.
        half: Of rays: float16, the releases' `use_fp16`.
        sigma_m: Of Gaussians: standard deviation in metres up to the first tier.
        tiers: Of Gaussians: see `VoxelGaussians`.
        near_m: Of Gaussians: centres at this depth or nearer are not drawn.
        alpha_max: Of Gaussians: 0.99 in the releases. "splat_gsplat" has 0.999 compiled, which shows, by at most
            0.01 of what lies behind, where an opacity is above 0.99.
        footprint: Of Gaussians: "released" is squeezed vertically, "exact" is not; see `released_footprints`.
    """

    ray_near_m: float = 0.1
    effective_points: bool = True
    semantic_ratio: float = 1.0
    half: bool = False
    sigma_m: float = 0.2
    tiers: Tiers = RELEASED_TIERS
    near_m: float = 0.2
    alpha_max: float = 0.99
    footprint: str = "released"

    def __post_init__(self) -> None:
        if not 0.0 < self.semantic_ratio <= 1.0:
            raise ValueError(f"ReleasedOptions: semantic_ratio must lie in (0, 1], got {self.semantic_ratio!r}")


def released_field(voxel_logits: Float[Tensor, "B L X Y Z"], grid: ContractedGrid) -> OccupancyField:
    """Return logits of a published network as a field: all of them are features, the last one is geometry too.

    Args:
        voxel_logits: 17 class scores and, last, the logit of being free; or the logit of being solid alone, which
            has no features.
        grid: Where the voxels are.
    """
    rule = SaturatingLogits(rest_at_last=True)
    if voxel_logits.shape[1] == 1:
        return OccupancyField(grid, -voxel_logits[:, 0], voxel_logits[:, :0], rule)
    return OccupancyField(grid, voxel_logits[:, -1], voxel_logits, rule)


def volume_options(grid: ContractedGrid, options: ReleasedOptions) -> dict[str, Any]:
    """Return the options that make renderer "volume" march as the releases do."""
    return {
        "sampling": "contracted",
        "near_m": options.ray_near_m,
        "step_m": released_voxel_m(grid),
        "min_move_voxels": 0.2 if options.effective_points else 0.0,
    }


def render_released(
    voxel_logits: Float[Tensor, "B L X Y Z"],
    grid: ContractedGrid,
    intrinsics: Float[Tensor, "B V 3 3"],
    cam_to_ego: Float[Tensor, "B V 4 4"],
    image_size: Size,
    render_size: Size,
    renderer: str = "volume",
    **options: Any,
) -> RenderOutput:
    """Draw the logits of a published network into its cameras.

    "volume" is the rule 'prob' of both releases: occupancy, interpolated as a logit, adds up along reorganised samples
    until the ray is full, and what is left goes to the last sample. A splat draws one Gaussian per voxel, as
    GaussianOcc; what differs from its rasteriser is the reach of footprints (3.33 sigmas here; there whole tiles that 3
    sigmas touch), and alphas that this decides. Its half-space cull of voxels beside a camera removes nothing that is
    visible, and is left out. Behind Gaussians there is nothing: the release adds memory that nobody set to all but the
    first three features, which no one can repeat; trainings have a switch for something like it, `stale_background`.

    The releases' depth is `depth_sum_m`, clamped: to [0.1, 200] along rays, to [0.1, 80] with Gaussians. Features are
    composited logits, not normalised.

    Args:
        voxel_logits: 17 class scores and the logit of being free, or the logit of being solid alone.
        grid: Where the voxels are; the published one is of lattice "ends".
        intrinsics: K in pixels of images of `image_size`.
        cam_to_ego: Camera poses, metres.
        image_size: (H, W) of the network's images.
        render_size: (H, W) of the pictures.
        renderer: "volume", "volume_cpu", "splat_cpu", "splat_gsplat" or "splat_torch". On a CPU "volume" runs in the
            kernels of "volume_cpu", unless an option or double precision is not for these.
        **options: Fields of `ReleasedOptions`.

    Raises:
        ValueError: Where the renderer or an option is not known.
    """
    settings = ReleasedOptions(**options)
    rig = CameraRig(intrinsics, cam_to_ego, image_size).resized(render_size)
    field = released_field(voxel_logits, grid)
    if renderer.startswith("volume"):
        fits_kernels = voxel_logits.device.type == "cpu" and voxel_logits.dtype != torch.float64
        return _marcher(renderer, volume_options(grid, settings), settings, fits_kernels).render(field, rig)
    alpha_max = ALPHA_MAX if renderer == "splat_gsplat" else settings.alpha_max
    # Lists of all 2.16 million Gaussians would take gigabytes; without them only visible ones are drawn, alike.
    splat = build_renderer(
        renderer, near_m=settings.near_m, alpha_max=alpha_max, footprint=settings.footprint, cache=False
    )
    return splat.render(field.to_gaussians(scale_fraction_of(grid, settings.sigma_m), settings.tiers), rig)


def _marcher(renderer: str, march: dict[str, Any], settings: ReleasedOptions, fits_kernels: bool) -> Renderer:
    group = int(1.0 / settings.semantic_ratio)
    plain = group == 1 and not settings.half
    if renderer == "volume" and not (plain and fits_kernels):
        return build_renderer(renderer, **march, feature_group=group, half=settings.half)
    if not plain:
        raise ValueError(
            f'render_released: semantic_ratio and half belong to renderer "volume", got {renderer!r} with '
            f"semantic_ratio={settings.semantic_ratio:g} and half={settings.half}"
        )
    return build_renderer("volume_cpu", **march)
