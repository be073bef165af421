"""What gsplat works on: Gaussians as the images of a batch see them, their lists per tile, and their composition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid
from gsocc.renderers.base import RendererError, SplatOptions
from gsocc.renderers.gsplat_api import CHANNEL_CHUNK, TILE_PX, WIDTHS, GsplatApi
from gsocc.renderers.projection import splat_covariances
from gsocc.structures import CameraRig, Gaussians


@dataclass(frozen=True)
class Splats:
    """One row per pair of an image and a Gaussian that it sees ("packed").

    Attributes:
        gaussians: Which Gaussian, counted through the batch: item * N + n.
        means2d: Centres in pixels.
        conics: Inverse 2-D covariances (a, b, c) in 1/px^2.
        depths_m: Depths of the centres.
    """

    gaussians: Int[Tensor, " M"]
    means2d: Float[Tensor, "M 2"]
    conics: Float[Tensor, "M 3"]
    depths_m: Float[Tensor, " M"]


@dataclass(frozen=True)
class ProjectedSplats:
    """Splats with what it takes to sort them into tiles.

    Attributes:
        splats: The rows.
        images: Image of each row: item * V + view, int64.
        radii_px: Half extents of the box outside which alpha is below 1 / 255, whole pixels, int32.
    """

    splats: Splats
    images: Int[Tensor, " M"]
    radii_px: Int[Tensor, "M 2"]


@dataclass(frozen=True)
class TileLists:
    """Rows of `Splats` per tile, front to back.

    Attributes:
        offsets: Where the list of each tile starts, int32; the last one ends with `rows`.
        rows: The lists one after the other, int32.
    """

    offsets: Int[Tensor, "I th tw"]
    rows: Int[Tensor, " E"]


def join(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Concatenate the first tensors of all parts, the second ones, and so on; a single part is not copied."""
    return tuple(torch.cat(column) for column in zip(*parts, strict=True)) if len(parts) > 1 else parts[0]


def tile_counts(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the number of tiles (down, across) that cover an image."""
    return -(-image_size[0] // TILE_PX), -(-image_size[1] // TILE_PX)


def project(
    gsplat: GsplatApi,
    scene: Gaussians,
    rig: CameraRig,
    options: SplatOptions,
    opacities: Float[Tensor, "B N"] | None,
) -> ProjectedSplats:
    """Project every batch item into its cameras, differentiably in means, shapes and poses.

    One call per batch item (see `gsplat_api`), and one per view where the shape depends on the view.

    Args:
        gsplat: The library.
        scene: Gaussians, float32.
        rig: Cameras.
        options: Near plane and blur.
        opacities: Leave out Gaussians below 1 / 255 and bound the others as tightly as their opacity allows; None
            bounds them for any opacity.
    """
    height, width = rig.image_size
    ego_to_cam, intrinsics = invert_rigid(rig.cam_to_ego.float()), rig.intrinsics.float()
    batch, count = scene.means.shape[:2]
    shared = scene.covariances is None or scene.covariances.shape[1] == 1
    per_view = options.footprint != "exact" or not shared
    groups = [(v, v + 1) for v in range(rig.num_views)] if per_view else [(0, rig.num_views)]
    parts: list[tuple[Tensor, ...]] = []
    for item in range(batch):
        for first, last in groups:
            _, cameras, gaussians, radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
                scene.means[item],
                **_shape(scene, rig, (item, first), options),
                viewmats=ego_to_cam[item, first:last],
                Ks=intrinsics[item, first:last],
                width=width,
                height=height,
                eps2d=options.eps2d_px,
                near_plane=options.near_m,
                packed=True,
                opacities=None if opacities is None else opacities[item],
            )
            images = cameras + (item * rig.num_views + first)
            parts.append((gaussians + item * count, means2d, conics, depths, images, radii))
    gaussians, means2d, conics, depths, images, radii = join(parts)
    return ProjectedSplats(Splats(gaussians, means2d, conics, depths), images, radii)


def _shape(scene: Gaussians, rig: CameraRig, at: tuple[int, int], options: SplatOptions) -> dict[str, Any]:
    if scene.covariances is None and options.footprint == "exact":
        return {"covars": None, "quats": scene.quats[at[0]], "scales": scene.scales[at[0]]}
    upper = splat_covariances(scene, rig, at, options.footprint).flatten(-2)[..., [0, 1, 2, 4, 5, 8]]  # (N, 6)
    return {"covars": upper, "quats": None, "scales": None}


def intersect(gsplat: GsplatApi, projected: ProjectedSplats, num_images: int, image_size: tuple[int, int]) -> TileLists:
    """Sort splats into tiles and by depth; of equal depths the lower row comes first."""
    down, across = tile_counts(image_size)
    splats = projected.splats
    _, keys, rows = gsplat.isect_tiles(
        splats.means2d,
        projected.radii_px,
        splats.depths_m,
        TILE_PX,
        across,
        down,
        packed=True,
        n_images=num_images,
        image_ids=projected.images,
        gaussian_ids=splats.gaussians,
    )
    return TileLists(gsplat.isect_offset_encode(keys, num_images, across, down), rows)


@torch.no_grad()
def count_intersections(projected: ProjectedSplats, image_size: tuple[int, int]) -> int:
    """Return how many rows `intersect` will list, in its arithmetic but without its memory."""
    down, across = tile_counts(image_size)
    limit = torch.tensor([across, down], device=projected.images.device)
    centre, radius = projected.splats.means2d / TILE_PX, projected.radii_px / TILE_PX
    low = torch.minimum((centre - radius).floor().clamp(min=0.0).long(), limit)
    high = torch.minimum((centre + radius).ceil().clamp(min=0.0).long(), limit)
    return int((high - low).prod(-1).sum().item())


def composite(
    gsplat: GsplatApi,
    splats: Splats,
    lists: TileLists,
    opacities: Float[Tensor, " T"],
    features: Float[Tensor, "T C"],
    image_size: tuple[int, int],
) -> tuple[Float[Tensor, "I C H W"], Float[Tensor, "I H W"], Float[Tensor, "I H W"]]:
    """Composite features and depth, in one pass up to 31 channels and passes of 32 beyond.

    Args:
        gsplat: The library.
        splats: Rows.
        lists: Their lists.
        opacities: Of all Gaussians of the batch, float32.
        features: Likewise.
        image_size: (H, W).

    Returns:
        features: sum(w f) per pixel.
        depth_sum_m: sum(w z) in metres.
        opacity: sum(w).

    Raises:
        ValueError: Where gsplat's 32-bit addresses would overflow.
    """
    height, width = image_size
    channels = features.shape[1]
    padding = -(channels + 1) % CHANNEL_CHUNK
    if padding:  # the last pass may be narrow
        rest = CHANNEL_CHUNK - padding
        padding = min(w for w in WIDTHS if w >= rest) - rest
    _require_addressable(splats, lists, channels + 1 + padding, image_size)
    if features.stride(0) == 1:  # voxel features lie channel by channel; gathered so, neighbours are read together
        gathered = features.T.index_select(1, splats.gaussians).T
    else:
        gathered = features.index_select(0, splats.gaussians)
    depths = splats.depths_m[:, None]
    # index_select rather than indexing: its gradient adds up with atomics instead of sorting the indices.
    zeros = depths.new_zeros(()).expand(len(depths), padding)
    rows = torch.cat([gathered, depths, zeros], -1)  # (M, C + 1 + padding)
    alphas = opacities.index_select(0, splats.gaussians)
    passes = [
        gsplat.rasterize_to_pixels(
            splats.means2d,
            splats.conics,
            chunk,
            alphas,
            width,
            height,
            TILE_PX,
            lists.offsets,
            lists.rows,
            packed=True,
        )
        for chunk in rows.split(CHANNEL_CHUNK, -1)
    ]  # (I, H, W, chunk), (I, H, W, 1)
    images = passes[0][0] if len(passes) == 1 else torch.cat([image for image, _ in passes], -1)
    return images[..., :channels].movedim(-1, 1), images[..., channels], passes[0][1][..., 0]


def _require_addressable(splats: Splats, lists: TileLists, channels: int, image_size: tuple[int, int]) -> None:
    pixels = lists.offsets.shape[0] * image_size[0] * image_size[1]
    widest = max(len(splats.gaussians), pixels) * min(channels, CHANNEL_CHUNK)
    if widest >= 2**32 or len(lists.rows) >= 2**31:
        raise RendererError(
            f"splat_gsplat: {len(splats.gaussians)} visible splats, {len(lists.rows)} entries in tiles and {pixels} "
            f"pixels of {channels} channels are more than gsplat addresses with 32 bits; render fewer batch items or "
            f"views at once"
        )
