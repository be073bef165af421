"""The distance between measured flow and the one that depth and motion imply."""

import torch
from torch import Tensor

from gsocc.losses.flow import flow_consistency

K = torch.tensor([[20.0, 0, 16.0], [0, 20.0, 12.0], [0, 0, 1]])[None, None]
SIZE = (24, 32)


def _inputs(sideways_m: float = 0.5, depth_m: float = 5.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A wall at `depth_m`, points move `sideways_m` to the right: the flow is 20 px * 0.5 m / 5 m = 2 px everywhere."""
    depth = torch.full((1, 1, *SIZE), depth_m)
    motion = torch.eye(4).repeat(1, 2, 1, 1, 1)
    motion[:, 1, :, 0, 3] = sideways_m
    flow = torch.zeros(1, 2, 1, 2, *SIZE)
    flow[:, 1, :, 0] = 20.0 * sideways_m / depth_m
    return depth, flow, motion, torch.ones(1, 2, 1, dtype=torch.bool)


def test_a_wall_at_its_distance_explains_its_flow() -> None:
    """Zero up to the floor of the square root, 1e-3 px."""
    depth, flow, motion, valid = _inputs()
    assert flow_consistency(depth, flow, K, motion, valid).item() < 1e-3


def test_a_wall_at_half_its_distance_is_off_by_its_flow() -> None:
    """Implied 4 px, measured 2 px: 2 / (1 + 2). The same for a wall at infinity; much too near is capped at 1."""
    depth, flow, motion, valid = _inputs()
    for factor, expected in ((0.5, 2 / 3), (1e4, 2 / 3), (0.1, 1.0)):
        found = flow_consistency(depth * factor, flow, K, motion, valid)
        torch.testing.assert_close(found, torch.tensor(expected), atol=2e-3, rtol=0)


def test_flow_out_of_the_image_missing_neighbours_and_masked_pixels_do_not_count() -> None:
    """What lies outside cannot have been measured."""
    depth, flow, motion, valid = _inputs()
    wrong = flow.clone()
    wrong[..., :, -1] = 40.0  # the last column leaves the image
    assert flow_consistency(depth, wrong, K, motion, valid).item() < 1e-3
    mask = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    mask[..., :5, :] = False
    wrong = flow.clone()
    wrong[..., :5, :] = 1.0
    assert flow_consistency(depth, wrong, K, motion, valid).item() > 0.01
    assert flow_consistency(depth, wrong, K, motion, valid, pixel_mask=mask).item() < 1e-3
    valid[:, 1] = False
    assert flow_consistency(depth * 2, flow, K, motion, valid).item() == 0.0


def test_the_gradient_moves_depth_towards_the_measured_flow() -> None:
    """Too near: depth grows against the gradient; too far: it shrinks."""
    depth, flow, motion, valid = _inputs()
    for factor in (0.7, 1.6):
        guess = (depth * factor).requires_grad_()
        flow_consistency(guess, flow, K, motion, valid).backward()
        assert guess.grad is not None
        assert guess.grad.sum().item() * (factor - 1) > 0
