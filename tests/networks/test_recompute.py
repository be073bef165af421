"""Recomputation changes memory, not numbers."""

import torch

from gsocc.networks.voxel_decoder import Hourglass3d
from gsocc.structures import VoxelGrid

GRID = VoxelGrid((0.0, 0.0, 0.0), (8, 8, 4), (1.0, 1.0, 1.0))


def _trained(recompute: bool, voxels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Return output, gradients and running averages of one training pass, and the bytes kept for the backward pass."""
    torch.manual_seed(0)
    decoder = Hourglass3d(GRID, 4, 3, width=8)
    decoder.recompute = recompute
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = decoder(voxels)
    out.square().mean().backward()
    state = {name: weight.grad for name, weight in decoder.named_parameters() if weight.grad is not None}
    return out.detach(), {**state, **dict(decoder.named_buffers())}, sum(kept.values())


def test_gradients_and_running_averages_are_those_of_an_ordinary_pass() -> None:
    """The second pass must not count twice in the averages of batch normalisation; less is kept in between."""
    voxels = torch.randn(1, 4, *GRID.shape, generator=torch.Generator().manual_seed(1))
    plain, plain_state, plain_bytes = _trained(False, voxels)
    again, again_state, again_bytes = _trained(True, voxels)
    assert torch.equal(plain, again)
    assert plain_state.keys() == again_state.keys()
    for name, value in plain_state.items():
        torch.testing.assert_close(again_state[name], value, msg=name)
    assert again_bytes < 0.3 * plain_bytes
