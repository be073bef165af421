"""Reading a field on the Occ3D lattice, and turning renderings into depth and labels."""

import torch

from gsocc.fields.occupancy import OccupancyField
from gsocc.labels import FREE, OCC3D_ID
from gsocc.structures import OCC3D_GRID, ContractedGrid, RenderOutput, VoxelGrid
from occ_stage.config import ObjectiveConfig, RendererConfig
from occ_stage.model import FieldRenderer, occ3d_prediction, rendered_depth, rendered_labels, threshold_labels

COARSE = VoxelGrid((-40.0, -40.0, -1.0), (100, 100, 16), (0.8, 0.8, 0.4))
IDS = [OCC3D_ID["car"], OCC3D_ID["manmade"]]


def _field(grid: VoxelGrid) -> OccupancyField:
    generator = torch.Generator().manual_seed(0)
    return OccupancyField.from_logits(grid, torch.randn(1, 3, *grid.shape, generator=generator))


def test_the_lattice_of_the_field_itself_is_read_back_exactly() -> None:
    """Voxel centres fall on voxel centres."""
    field = _field(OCC3D_GRID)
    for lattice in ("nearest", "trilinear"):
        occupancy, _ = occ3d_prediction(field, IDS, lattice)
        torch.testing.assert_close(occupancy, field.occupancy(), atol=1e-4, rtol=0)


def test_a_coarse_voxel_hands_its_value_to_the_four_it_covers() -> None:
    """0.8 x 0.8 x 0.4 m against 0.4 m: every coarse voxel covers 2 x 2 x 1 of the lattice."""
    field = _field(COARSE)
    occupancy, classes = occ3d_prediction(field, IDS, "nearest")
    expected = field.occupancy().repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(occupancy, expected)
    chosen = field.class_logits.argmax(1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(classes.long(), torch.tensor(IDS)[chosen])


def test_the_lattice_outside_the_field_is_free() -> None:
    """A field of 8 m x 8 m fills a hundredth of the lattice's area."""
    small = VoxelGrid((-4.0, -4.0, -1.0), (20, 20, 16), (0.4, 0.4, 0.4))
    field = OccupancyField.from_logits(small, torch.full((1, 3, 20, 20, 16), -20.0))
    occupancy, classes = occ3d_prediction(field, IDS, "nearest")
    assert threshold_labels(occupancy, classes, 0.5).ne(FREE).sum().item() == 20 * 20 * 16


def test_below_the_floor_all_is_free_and_above_it_nothing_changes() -> None:
    """Solid everywhere, a floor at -1 m: centres below it are free to what renderers and the lattice see."""
    grid = ContractedGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 3.0), (12, 12, 8), 0.5)
    logits = torch.full((1, 3, *grid.shape), -4.0, requires_grad=True)
    config = RendererConfig(name="splat_cpu", size=(12, 20), floor_m=-1.0)
    field = FieldRenderer(config).field(grid, logits)
    below = grid.centers_m()[..., 2] < -1.0
    assert below.any() and not below.all()
    assert field.occupancy()[0, below].max() < 1 / 255
    torch.testing.assert_close(
        field.occupancy()[0, ~below], torch.sigmoid(torch.tensor(4.0)).expand(int((~below).sum()))
    )
    field.occupancy().sum().backward()
    assert logits.grad is not None
    assert (logits.grad[0, 2, below] == 0).all() and (logits.grad[0, 2, ~below] != 0).all()


def _output(opacity: float, features: list[float]) -> RenderOutput:
    alpha = torch.full((1, 1, 1, 1), opacity)
    return RenderOutput(
        depth_m=torch.full((1, 1, 1, 1), 10.0),
        depth_sum_m=10.0 * alpha,
        opacity=alpha,
        features=torch.tensor(features).view(1, 1, -1, 1, 1) * alpha[:, :, None],
    )


def test_light_that_passes_comes_from_the_background() -> None:
    """A quarter at 10 m, the rest at 60 m."""
    depth_m = rendered_depth(_output(0.25, [0.0]), ObjectiveConfig(far_m=60.0), accumulated=False)
    assert depth_m.item() == 0.25 * 10 + 0.75 * 60


def test_an_empty_pixel_shows_sky_and_a_covered_one_its_class() -> None:
    """The sky channel is sky_logit (1 - opacity)."""
    assert rendered_labels(_output(0.0, [3.0, 1.0]), IDS, 10.0).item() == FREE
    assert rendered_labels(_output(1.0, [1.0, 3.0]), IDS, 10.0).item() == OCC3D_ID["manmade"]
