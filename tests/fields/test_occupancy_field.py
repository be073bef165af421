"""One set of logits means the same to both renderers."""

import torch

from gsocc.fields.base import Field
from gsocc.fields.occupancy import OccupancyField
from gsocc.structures import VoxelGrid

GRID = VoxelGrid((0.0, 0.0, 0.0), (2, 2, 2), (0.8, 0.8, 0.4))


def _field(free: float) -> OccupancyField:
    return OccupancyField.from_logits(GRID, torch.full((1, 4, 2, 2, 2), free))


def test_crossing_a_voxel_stops_the_share_its_opacity_says() -> None:
    """Alpha over the shortest edge equals o = 1 - sigmoid(free logit)."""
    for free in (-3.0, 0.0, 2.0):
        field = _field(free)
        values = field.ray_values()[0].flatten(1)  # (1, S)
        alpha = field.ray_rule.alpha(values, torch.full_like(values[0], 0.4), torch.tensor([1.0, 0.0, 0.0]))
        torch.testing.assert_close(alpha, field.occupancy().flatten(), atol=1e-6, rtol=0)
        torch.testing.assert_close(field.to_gaussians((0.3, 0.3, 0.3)).opacities, field.occupancy())


def test_extreme_logits_stay_finite() -> None:
    """-ln(1 - o) as softplus does not overflow where o rounds to 1."""
    for free in (-1e4, 1e4):
        field = _field(free)
        assert bool(torch.isfinite(field.ray_values()).all())


def test_the_field_honours_the_seam() -> None:
    """Renderers accept whatever satisfies the protocol."""
    assert isinstance(_field(0.0), Field)
