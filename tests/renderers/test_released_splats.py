"""Gaussians of contracted grids, in tiers of distance, with the footprints of the published rasteriser."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from render_helpers import surround_rig, weighted_sum

from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, VoxelGaussians, scale_fraction_of
from gsocc.structures.contracted_grid import RELEASED_INNER, Lattice
from gsocc.structures.gaussians import RELEASED_TIERS, Tiers

TIERS: Tiers = ((2.5, 1.8), (6.0, 3.5))
ALPHA_MAX, NEAR_M = 0.99, 0.2

# splat_gsplat runs on a CPU here, through gsplat's torch code (see gsplat_stand_in.py).
pytestmark = pytest.mark.usefixtures("stand_in")


def contracted_scene(lattice: Lattice = "ends", channels: int = 3) -> VoxelGaussians:
    """Return voxels all around the cameras of `surround_rig`, the outermost at some hundred metres."""
    grid = ContractedGrid((-3.0, -3.1, -1.2), (3.0, 2.9, 1.3), (9, 8, 6), RELEASED_INNER, lattice)
    generator = torch.Generator().manual_seed(7)
    opacities = torch.rand(1, *grid.shape, generator=generator).pow(3)
    opacities[opacities > 0.8] = 1.0
    features = torch.randn(1, channels, *grid.shape, generator=generator)
    return VoxelGaussians(grid, scale_fraction_of(grid, 0.4), opacities, features, TIERS)


def portrait_rig() -> CameraRig:
    """Return cameras whose fields of view differ, with principal points off the middle."""
    rig = surround_rig((14, 20))
    rig.intrinsics[:, :, 0, 0], rig.intrinsics[:, :, 1, 1] = 11.0, 14.0
    rig.intrinsics[:, 1, :2, 2] += torch.tensor([1.3, -0.8])
    return rig


def published_rasteriser(
    scene: VoxelGaussians, rig: CameraRig, view: int, *, tiles: bool = False
) -> NDArray[np.float64]:
    """Return (H, W, C + 2) features, sum(w z) and sum(w), from the description of GaussianOcc's rasteriser.

    The vertical field of view is the horizontal one, in the focal length of the footprint and in the clamp; alpha is
    at most 0.99, below 1 / 255 it is skipped, and blending stops before 1e-4 of the light would be left. With `tiles`
    a footprint ends with the tiles of 16 x 16 pixels that a square of three sigmas of its longer axis touches.
    """
    height, width = rig.image_size
    pose, k = rig.cam_to_ego[0, view].double().numpy(), rig.intrinsics[0, view].double().numpy()
    rotation = pose[:3, :3].T
    means = (scene.grid.centers_m().reshape(-1, 3).double().numpy() - pose[:3, 3]) @ rotation.T
    sigmas = np.full(len(means), 0.4)
    distances = np.linalg.norm(scene.grid.centers_m().reshape(-1, 3).double().numpy(), axis=-1)
    sigmas[distances > TIERS[0][0]] = 0.4 * TIERS[0][1]
    sigmas[distances > TIERS[1][0]] = 0.4 * TIERS[1][1]
    tan_x = width / (2.0 * k[0, 0])
    focal_x, focal_y, limit = width / (2.0 * tan_x), height / (2.0 * tan_x), 1.3 * tan_x
    opacities = scene.opacities[0].reshape(-1).double().numpy()
    features = scene.features[0].flatten(1).T.double().numpy()
    rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    light, stopped = np.ones((height, width)), np.zeros((height, width), bool)
    image = np.zeros((height, width, features.shape[1] + 2))
    for n in np.argsort(means[:, 2], kind="stable"):
        x, y, z = means[n]
        if z <= NEAR_M:
            continue
        tx, ty = np.clip(x / z, -limit, limit) * z, np.clip(y / z, -limit, limit) * z
        j = np.array([[focal_x / z, 0.0, -focal_x * tx / z**2], [0.0, focal_y / z, -focal_y * ty / z**2]])
        covariance = sigmas[n] ** 2 * j @ j.T + 0.3 * np.eye(2)
        inverse = np.linalg.inv(covariance)
        u, v = columns - (k[0, 0] * x / z + k[0, 2]), rows - (k[1, 1] * y / z + k[1, 2])
        power = -0.5 * (inverse[0, 0] * u * u + inverse[1, 1] * v * v) - inverse[0, 1] * u * v
        alpha = np.minimum(ALPHA_MAX, opacities[n] * np.exp(power))
        alpha[alpha < 1.0 / 255.0] = 0.0
        if tiles:
            middle = 0.5 * np.trace(covariance)
            longest = middle + np.sqrt(max(0.1, middle**2 - np.linalg.det(covariance)))
            radius = np.ceil(3.0 * np.sqrt(longest))
            for pixels, centre in ((columns, k[0, 0] * x / z + k[0, 2]), (rows, k[1, 1] * y / z + k[1, 2])):
                first, last = (centre - 0.5 - radius) // 16, (centre - 0.5 + radius + 15) // 16
                alpha[(pixels // 16 < first) | (pixels // 16 >= last)] = 0.0
        stopped |= light * (1.0 - alpha) < 1e-4
        weight = np.where(stopped, 0.0, alpha * light)
        image += weight[..., None] * np.concatenate([features[n], [z, 1.0]])
        light -= weight
    return image


def parts(out: RenderOutput, view: int) -> torch.Tensor:
    """Return the output of one view in the form of `published_rasteriser`."""
    images = [*out.features[0, view], out.depth_sum_m[0, view], out.opacity[0, view]]
    return torch.stack(images, -1).double()


def test_published_gaussians_come_in_three_sizes() -> None:
    """Counts from running GaussianOcc's code: up to 60 m, up to 80 m, and beyond; 0.2 m, 0.8 m and 1.6 m."""
    grid = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24), RELEASED_INNER, "ends")
    nothing = torch.zeros(1, 1, 1, 1).expand(1, *grid.shape)
    scene = VoxelGaussians(grid, scale_fraction_of(grid, 0.2), nothing, nothing[:, None], RELEASED_TIERS)
    scales = scene.scales_m()
    assert (scales == scales[:, :1]).all()
    sizes, counts = scales[:, 0].unique(return_counts=True)
    torch.testing.assert_close(sizes, torch.tensor([0.2, 0.8, 1.6]))
    assert counts.tolist() == [1_244_272, 257_784, 657_944]


@pytest.mark.parametrize("tiers", [((6.0, 2.0), (3.0, 4.0)), ((3.0, 0.0),), ((-1.0, 2.0),), ((3.0, float("nan")),)])
def test_tiers_that_mean_nothing_are_refused(tiers: Tiers) -> None:
    with pytest.raises(ValueError, match="by ascending distance"):
        replace(contracted_scene(), tiers=tiers)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("name", ["splat_torch", "splat_cpu"])
def test_released_options_draw_what_the_published_rasteriser_draws(name: str, cache: bool) -> None:
    """All of it but the cut at tiles: to single precision, and to the jumps of alphas near 1 / 255."""
    scene, rig = contracted_scene(), portrait_rig()
    renderer = build_renderer(name, alpha_max=ALPHA_MAX, near_m=NEAR_M, footprint="released", cache=cache)
    out = renderer.render(scene, rig)
    exact = build_renderer(name, alpha_max=ALPHA_MAX, near_m=NEAR_M, cache=cache).render(scene, rig)
    for view in range(rig.num_views):
        expected = torch.from_numpy(published_rasteriser(scene, rig, view))
        torch.testing.assert_close(parts(out, view), expected, atol=1e-4, rtol=1e-4)
        assert (parts(exact, view) - expected).abs().max() > 0.05


def test_all_that_remains_is_the_reach_of_footprints() -> None:
    """Three sigmas to the end of a tile in the release, 3.33 everywhere here: an alpha of at most 0.011 on few pixels.

    Measured on this scene: up to 5e-4 of the range of an output on average in a view, 1.2 % at the most.
    """
    scene, rig = contracted_scene(), portrait_rig().resized((70, 100))
    out = build_renderer("splat_torch", alpha_max=ALPHA_MAX, footprint="released").render(scene, rig)
    for view in range(rig.num_views):
        expected = torch.from_numpy(published_rasteriser(scene, rig, view, tiles=True))
        error = (parts(out, view) - expected).abs() / expected.flatten(0, 1).abs().amax(0)
        assert error.mean() < 1e-3
        assert error.max() < 0.02


def test_the_gpu_splat_draws_the_released_footprint_too() -> None:
    """Its alpha goes to 0.999, which is compiled; against plain torch with the same limit, cached and not."""
    scene, rig = contracted_scene(), portrait_rig()
    expected = build_renderer("splat_torch", footprint="released").render(scene, rig)
    for cache in (True, False):
        out = build_renderer("splat_gsplat", footprint="released", cache=cache).render(scene, rig)
        for view in range(rig.num_views):
            torch.testing.assert_close(parts(out, view), parts(expected, view), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lattice", ["cells", "ends"])
@pytest.mark.parametrize("footprint", ["exact", "released"])
@pytest.mark.parametrize("cache", [True, False])
def test_contracted_voxels_have_the_gradients_of_the_oracle(lattice: Lattice, footprint: str, cache: bool) -> None:
    """To opacities and features, which is all that training moves; the oracle is differentiated in double precision."""
    scene, rig = contracted_scene(lattice), portrait_rig()
    results = []
    for name, dtype in (("splat_cpu", torch.float32), ("splat_torch", torch.float64)):
        leaves = [leaf.to(dtype).clone().requires_grad_() for leaf in (scene.opacities, scene.features)]
        renderer = build_renderer(name, footprint=footprint, cache=cache)
        out = renderer.render(replace(scene, opacities=leaves[0], features=leaves[1]), rig)
        weighted_sum(out).backward()
        results.append([leaf.grad for leaf in leaves])
    for mine, theirs in zip(*results, strict=True):
        assert mine is not None
        assert theirs is not None
        assert theirs.abs().max() > 0.1
        scale = theirs.abs().max().item()
        torch.testing.assert_close(mine.double(), theirs, atol=1e-4 * scale, rtol=1e-3)


def test_contracted_voxels_pass_a_gradient_check_in_double_precision() -> None:
    """The splats' jumps, at an alpha of 1 / 255 and at the end of the light, are kept clear of."""
    grid = ContractedGrid((-3.0, -3.0, -1.5), (3.0, 3.0, 1.5), (3, 3, 3), RELEASED_INNER, "ends")
    rig = portrait_rig()
    rig = CameraRig(rig.intrinsics[:, :2].double(), rig.cam_to_ego[:, :2].double(), rig.image_size).resized((2, 3))
    generator = torch.Generator().manual_seed(2)
    opacities = 0.2 + 0.3 * torch.rand(1, *grid.shape, generator=generator, dtype=torch.float64)
    features = torch.randn(1, 2, *grid.shape, generator=generator, dtype=torch.float64)
    renderer = build_renderer("splat_torch", alpha_max=ALPHA_MAX, footprint="released")

    def picture(o: torch.Tensor, f: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = renderer.render(VoxelGaussians(grid, scale_fraction_of(grid, 0.8), o, f, TIERS), rig)
        return out.depth_sum_m, out.opacity, out.features

    assert torch.autograd.gradcheck(picture, (opacities.requires_grad_(), features.requires_grad_()))


def test_an_unknown_footprint_is_refused() -> None:
    with pytest.raises(ValueError, match="footprint: expected one of exact, released, got 'wide'"):
        build_renderer("splat_cpu", footprint="wide")


def test_gaussians_that_grow_with_their_voxels_are_as_large_as_these_within_limits() -> None:
    """By hand: the fraction of each voxel's own edges, at most 0.15 of its distance, at least that of the box."""
    scene = replace(contracted_scene("cells"), scale_fraction=(0.4, 0.4, 0.2), tiers="voxel")
    assert isinstance(scene.grid, ContractedGrid)
    sigmas = scene.scales_m().reshape(*scene.grid.shape, 3)
    distances = scene.grid.centers_m().norm(dim=-1)
    fraction, box = torch.tensor(scene.scale_fraction), torch.tensor(scene.grid.voxel_m)
    for index in ((4, 4, 3), (8, 4, 3), (0, 0, 0), (7, 1, 5)):
        wanted = torch.minimum(
            fraction * scene.grid.edges_m()[index], (0.15 * distances[index]).maximum(fraction * box)
        )
        torch.testing.assert_close(sigmas[index], wanted)
    torch.testing.assert_close(sigmas[4, 4, 3], fraction * box)
    assert (sigmas >= fraction * box - 1e-6).all() and sigmas[0, 0, 0, 0] > 2 * sigmas[4, 4, 3, 0]


@pytest.mark.parametrize("lattice", ["cells", "ends"])
def test_renderers_agree_on_gaussians_that_grow_with_their_voxels(lattice: Lattice) -> None:
    """Lists kept for a rig, tiles without lists, and the torch oracle draw one picture."""
    scene = replace(contracted_scene(lattice), scale_fraction=(0.4, 0.4, 0.25), tiers="voxel")
    wanted = build_renderer("splat_torch").render(scene, portrait_rig())
    for renderer in (
        build_renderer("splat_cpu"),
        build_renderer("splat_cpu", cache=False),
        build_renderer("splat_gsplat"),
    ):
        drawn = renderer.render(scene, portrait_rig())
        torch.testing.assert_close(drawn.depth_sum_m, wanted.depth_sum_m, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(drawn.opacity, wanted.opacity, atol=1e-4, rtol=1e-3)
