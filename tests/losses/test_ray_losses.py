"""Regularisers of the published recipes against cases solved by hand and slow sums."""

import math

import pytest
import torch

from gsocc.losses.distortion import distortion_loss, sample_lengths
from gsocc.losses.photometric import warp_to_target
from gsocc.losses.regularizers import emptiness, half_entropy


def test_distortion_is_the_double_sum_of_mip_nerf_360() -> None:
    """O(n) against sum_ij w_i w_j |z_i - z_j| + 1/3 sum_i w_i^2 l_i, written as it stands; float64."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(4, 9, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum(-1, keepdim=True)
    depths = torch.rand(4, 9, generator=generator, dtype=torch.float64).cumsum(-1)
    lengths = torch.rand(4, 9, generator=generator, dtype=torch.float64)
    pairs = weights[:, :, None] * weights[:, None] * (depths[:, :, None] - depths[:, None]).abs()
    slow = (pairs.sum((-1, -2)) + (weights.square() * lengths).sum(-1) / 3).mean()
    torch.testing.assert_close(distortion_loss(weights, depths, lengths), slow)


def test_distortion_of_two_halves_is_half_their_distance() -> None:
    """Weights of 1/2 at 2 m and at 6 m: 2 * 1/4 * 4 m, and nothing for samples without length."""
    weights, depths = torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 6.0]])
    assert distortion_loss(weights, depths, torch.zeros(1, 2)).item() == pytest.approx(2.0)


def test_distortion_has_the_gradient_of_its_formula() -> None:
    """Finite differences in float64."""
    weights = torch.tensor([[0.1, 0.5, 0.2]], dtype=torch.float64, requires_grad=True)
    depths = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    lengths = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda w: distortion_loss(w, depths, lengths), [weights])


def test_the_last_sample_is_ten_kilometres_long() -> None:
    """The others reach to the next one, along a ray that is half as long again as its depth."""
    lengths = sample_lengths(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([1.5]))
    assert lengths.tolist() == [[1.5, 3.0, 1e4]]


def test_half_entropy_peaks_at_one_over_e() -> None:
    """-p ln p is 1/e there, and 0 at both ends, unlike the whole entropy, which peaks at one half."""
    at = {p: half_entropy(torch.tensor([p])).item() for p in (0.0, 0.2, 1 / math.e, 0.5, 1.0)}
    assert at[1 / math.e] == pytest.approx(1 / math.e, rel=1e-5)
    assert at[0.0] == 0.0
    assert at[1.0] == pytest.approx(0.0, abs=1e-6)
    assert max(at[0.2], at[0.5]) < at[1 / math.e]


def test_emptiness_of_an_undecided_voxel_is_ln2_and_of_a_free_one_nothing() -> None:
    """-ln sigmoid(0) and -ln sigmoid(30)."""
    assert emptiness(torch.zeros(3)).item() == pytest.approx(math.log(2))
    assert emptiness(torch.full((3,), 30.0)).item() < 1e-12


def test_a_point_behind_the_camera_is_mirrored_only_on_request() -> None:
    """A wall at 5 m, driven through by 6 m, lies 1 m behind: x / z mirrors the image about its centre, five times."""
    source = torch.linspace(0, 1, 20).expand(1, 3, 12, 20).contiguous()
    intrinsics = torch.tensor([[[20.0, 0, 10], [0, 20.0, 6], [0, 0, 1]]])
    motion = torch.eye(4)[None].clone()
    motion[0, 2, 3] = -6.0
    depth = torch.full((1, 12, 20), 5.0)
    mirrored, valid = warp_to_target(source, depth, intrinsics, motion, mirror=True)
    assert not bool(valid.any())
    # Column 9 looks at u = 9.5, half a pixel left of the axis; mirrored and five times as far out: u = 12.5, column 12.
    torch.testing.assert_close(mirrored[0, 0, 6, 9], source[0, 0, 6, 12])
    plain, _ = warp_to_target(source, depth, intrinsics, motion)
    assert plain[0, 0, 6, 9] != mirrored[0, 0, 6, 9]
