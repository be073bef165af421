"""A grid over all of space."""

import pytest
import torch

from gsocc.geometry.sampling import inside_grid, sample_volume
from gsocc.structures import OCC3D_GRID, ContractedGrid
from gsocc.structures.contracted_grid import contract, expand

OCCNERF = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24))
"""The grid of OccNeRF and GaussianOcc."""


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
    [({"max_m": (-3.0, 4.0, 1.5)}, "below max_m"), ({"shape": (0, 5, 9)}, "at least 1"), ({"inner": 1.0}, "inner")],
)
def test_grids_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    arguments = {"min_m": (-3.0, -2.0, -1.0), "max_m": (3.0, 4.0, 1.5), "shape": (7, 5, 9), **change}
    with pytest.raises(ValueError, match=words):
        ContractedGrid(**arguments)
