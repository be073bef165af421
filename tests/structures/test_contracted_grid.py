"""A grid over all of space."""

import pytest
import torch

from gsocc.geometry.sampling import inside_grid, sample_volume
from gsocc.structures import OCC3D_GRID, ContractedGrid
from gsocc.structures.contracted_grid import RELEASED_INNER, contract, expand

OCCNERF = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24))
"""The grid of OccNeRF and GaussianOcc."""

RELEASED = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24), RELEASED_INNER, "ends")
"""The same as their code has it."""


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, -0.4583)),
        ((40.0, 40.0, 5.4), (0.6667, 0.6667, 0.6667)),
        ((80.0, 80.0, 10.0), (0.8889, 0.8889, 0.9140)),
        ((-100.0, 20.0, 30.0), (-0.9167, 0.3333, 0.9796)),
        ((1000.0, 0.0, 0.0), (0.9932, 0.0, -0.4583)),
    ],
)
def test_points_contract_as_in_the_published_code(
    point: tuple[float, float, float], expected: tuple[float, float, float]
) -> None:
    """Figures from running OccNeRF's code with a ratio of 0.66667: four digits."""
    index = OCCNERF.to_index(torch.tensor(point))
    contracted = 2.0 * index / torch.tensor(OCCNERF.shape) - 1.0
    torch.testing.assert_close(contracted, torch.tensor(expected), atol=1e-4, rtol=0.0)


def test_inside_of_the_box_it_is_the_lattice_of_occ3d() -> None:
    """Two thirds of 300 x 300 x 24 cells are the 200 x 200 x 16 of the labels, centre for centre."""
    inner = OCCNERF.centers_m()[50:250, 50:250, 4:20]
    torch.testing.assert_close(inner, OCC3D_GRID.centers_m(), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(torch.tensor(OCCNERF.voxel_m), torch.tensor(OCC3D_GRID.voxel_m))
    assert OCCNERF.diagonal_m == pytest.approx(113.318, abs=1e-3)


@pytest.mark.parametrize("inner", [0.3, 2.0 / 3.0, 0.9])
def test_contraction_is_undone_by_expansion(inner: float) -> None:
    """Also across the faces of the box, where both branches and their slopes meet."""
    ratio = torch.tensor([-50.0, -1.0001, -1.0, -0.9999, 0.0, 0.4, 1.0, 1.3, 8.0, 300.0], dtype=torch.float64)
    contracted = contract(ratio, inner)
    assert (contracted.diff() > 0.0).all()
    assert contracted.abs().max() < 1.0
    torch.testing.assert_close(expand(contracted, inner), ratio)
    slope = (contract(torch.tensor(1.0 + 1e-6), inner) - contract(torch.tensor(1.0), inner)).double()
    assert slope.item() == pytest.approx(inner * 1e-6, abs=1e-7)


def test_voxels_are_found_at_their_centres() -> None:
    grid = ContractedGrid((-3.0, -2.0, -1.0), (3.0, 4.0, 1.5), (7, 5, 9), inner=0.5)
    index = grid.to_index(grid.centers_m())
    i, j, k = torch.meshgrid(*(torch.arange(n) + 0.5 for n in grid.shape), indexing="ij")
    torch.testing.assert_close(index, torch.stack([i, j, k], -1), atol=1e-4, rtol=0.0)


def test_sampling_at_centres_reads_the_voxels() -> None:
    """No point is outside: a volume of ones is one far away too, up to half a voxel from infinity."""
    grid = ContractedGrid((-3.0, -2.0, -1.0), (3.0, 4.0, 1.5), (7, 5, 9))
    volume = torch.randn(1, 2, *grid.shape)
    points = grid.centers_m().reshape(1, -1, 3)
    torch.testing.assert_close(sample_volume(volume, grid, points), volume.flatten(2), atol=1e-3, rtol=0.0)
    assert inside_grid(grid, torch.tensor([[1e6, -1e6, 0.0], [0.0, 0.0, 0.0]])).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_m": (-3.0, 4.0, 1.5)}, "below max_m"),
        ({"shape": (0, 5, 9)}, "at least 1"),
        ({"inner": 1.0}, "inner"),
        ({"shape": (1, 5, 9), "lattice": "ends"}, "two voxels"),
    ],
)
def test_grids_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    arguments = {"min_m": (-3.0, -2.0, -1.0), "max_m": (3.0, 4.0, 1.5), "shape": (7, 5, 9), **change}
    with pytest.raises(ValueError, match=words):
        ContractedGrid(**arguments)


def test_centres_of_the_released_lattice_are_those_of_the_published_code() -> None:
    """Figures from running GaussianOcc's code, to the digits that were printed."""
    centers = RELEASED.centers_m()
    x = {
        0: -2013.27, 1: -1016.65, 2: -518.321, 5: -219.329, 10: -119.665, 20: -69.8324, 40: -44.9163, 49: -40.3399,
        50: -39.9329, 149: -0.2007, 150: 0.2007, 249: 39.9329, 250: 40.3399, 299: 2013.27,
    }  # fmt: skip
    for axis, line in ((0, centers[:, 7, 3, 0]), (1, centers[7, :, 3, 1])):
        got, expected = line[list(x)], torch.tensor(list(x.values()))
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=3e-5, msg=lambda text, axis=axis: f"{axis}: {text}")
    z = [
        -122.063, -5.5332, -2.4666, -1.4444, -0.9304, -0.5130, -0.0956, 0.3217, 0.7391, 1.1565, 1.5739, 1.9913,
        2.4087, 2.8261, 3.2435, 3.6609, 4.0783, 4.4956, 4.9130, 5.3304, 5.8444, 6.8666, 9.9332, 126.463,
    ]  # fmt: skip
    torch.testing.assert_close(centers[9, 9, :, 2], torch.tensor(z), atol=1e-4, rtol=1e-5)
    assert RELEASED.voxel_m == pytest.approx((0.4013, 0.4013, 0.4174), abs=5e-5)
    inside = ((centers > torch.tensor(RELEASED.min_m)) & (centers < torch.tensor(RELEASED.max_m))).all(-1)
    assert int(inside.sum()) == 640_000
    assert centers.double().norm(dim=-1).max().item() == pytest.approx(2850.0, abs=0.1)


def test_sampling_the_released_lattice_aligns_corners() -> None:
    """A volume that is linear in the index reads the contracted position times (n - 1) / 2, also close to the ends."""
    grid = ContractedGrid((-3.0, -2.0, -1.0), (3.0, 4.0, 1.5), (7, 5, 9), RELEASED_INNER, "ends")
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    volume = torch.stack(axes)[None]  # (1, 3, 7, 5, 9), each channel its own index
    points = 4.0 * torch.randn(1, 200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points[0, 0] = torch.tensor([1e9, -1e9, 1e9], dtype=torch.float64)
    low, high = points.new_tensor(grid.min_m), points.new_tensor(grid.max_m)
    c = contract((points - low) / (high - low) * 2.0 - 1.0, RELEASED_INNER)
    expected = 0.5 * (c + 1.0) * (points.new_tensor(grid.shape) - 1.0)
    torch.testing.assert_close(sample_volume(volume, grid, points)[0].T, expected[0], atol=1e-7, rtol=0.0)


def test_only_the_outermost_centres_of_the_released_lattice_are_moved() -> None:
    """Every other voxel is found at its centre; the ends are half a voxel (a twentieth in z) from infinity."""
    grid = ContractedGrid((-3.0, -2.0, -1.0), (3.0, 4.0, 1.5), (7, 5, 9), RELEASED_INNER, "ends")
    index = grid.to_index(grid.centers_m())
    expected = torch.stack(torch.meshgrid(*(torch.arange(n) + 0.5 for n in grid.shape), indexing="ij"), -1)
    for axis, (count, kept) in enumerate(zip(grid.shape, (0.5, 0.5, 0.05), strict=True)):
        expected[..., axis] = expected[..., axis].clamp(0.5 + kept, count - 0.5 - kept)
    torch.testing.assert_close(index, expected, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("grid", [OCCNERF, RELEASED])
def test_edges_are_the_slope_of_the_map_times_the_pitch(grid: ContractedGrid) -> None:
    """By automatic differentiation of `expand` in float64 on a diagonal; in the box they are the box's."""
    x, z = torch.arange(2, 298), torch.arange(2, 298) % 20 + 2
    contracted = grid.to_contracted(grid.centers_m()[x, x, z].double()).requires_grad_()
    half = 0.5 * (torch.tensor(grid.max_m) - torch.tensor(grid.min_m)).double()
    (expand(contracted, grid.inner) * half).sum().backward()
    assert contracted.grad is not None
    pitch = 2.0 / torch.tensor(grid.steps)
    smooth = (contracted.detach().abs() - grid.inner).abs() > 1e-4
    edges = grid.edges_m()[x, x, z].double()
    torch.testing.assert_close(edges[smooth], (contracted.grad * pitch)[smooth], rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(grid.edges_m()[150, 150, 12], torch.tensor(grid.voxel_m))
