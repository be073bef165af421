"""Where samples lie on a ray."""

import math

import pytest
import torch
from render_helpers import forward_rig

from gsocc.fields.density import DensityField
from gsocc.renderers import build_renderer
from gsocc.renderers.ray_samples import contracted_table, group_means, group_sums, resample
from gsocc.renderers.volume_options import VolumeOptions
from gsocc.structures import OCC3D_GRID, ContractedGrid, VoxelGrid

OCCNERF = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24))


def test_contracted_samples_are_those_of_occnerf() -> None:
    """Depths from running the published code, before the near plane is added: 424 of them, 0.4012 m apart at first."""
    depths, lengths = contracted_table(OCCNERF, VolumeOptions(sampling="contracted", step_m=0.4, near_m=0.1))
    assert len(depths) == len(lengths) == 424
    published = {1: 0.4012, 50: 20.0583, 100: 40.1165, 200: 80.2330, 282: 113.1285, 283: 113.5305, 300: 121.3458,
                 320: 133.8206, 350: 165.2268, 368: 200.3074, 400: 394.211, 410: 640.488, 420: 2215.78}  # fmt: skip
    for k, depth in published.items():
        # The published ratio is 0.66667, which shows where the depth runs away.
        assert depths[k].item() - 0.1 == pytest.approx(depth, abs=6e-5, rel=2e-5 if k < 350 else 2e-4)
    torch.testing.assert_close(depths[:-1] + lengths[:-1], depths[1:])


def test_a_regular_grid_has_contracted_samples_too() -> None:
    """Of the lattice of Occ3D, which is the box of OccNeRF's grid: the same but for the last half voxel."""
    ours, _ = contracted_table(OCC3D_GRID, VolumeOptions(sampling="contracted"))
    theirs, _ = contracted_table(OCCNERF, VolumeOptions(sampling="contracted"))
    torch.testing.assert_close(ours[:282], theirs[:282], atol=0.25, rtol=0.0)


def test_the_last_group_has_what_is_left() -> None:
    values = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [6.0, 60.0], [4.0, 40.0], [5.0, 50.0]]])
    sums, means = [9.0, 9.0], [3.0, 4.5]
    torch.testing.assert_close(group_sums(values, 3)[0], torch.tensor([[s, 10.0 * s] for s in sums]))
    torch.testing.assert_close(group_means(values, 3)[0], torch.tensor([[m, 10.0 * m] for m in means]))


def test_jitter_shifts_the_samples_of_a_ray_together() -> None:
    """By at most jitter_m, none below near_m, the same with the same seed, also in chunks; none without a generator."""
    grid = ContractedGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (6, 5, 4))
    field = DensityField(grid, torch.rand(1, *grid.shape), torch.rand(1, 1, *grid.shape))
    options = {"sampling": "contracted", "weights": True, "near_m": 0.3, "step_m": 0.5}
    still = build_renderer("volume", **options).render(field, forward_rig()).sample_depths_m
    assert still is not None

    def shifts(seed: int | None, chunk_gb: float = 1.0) -> torch.Tensor:
        renderer = build_renderer("volume", jitter_m=0.1, chunk_gb=chunk_gb, **options)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        moved = renderer.render(field, forward_rig(), generator).sample_depths_m
        assert moved is not None
        return moved - still

    assert shifts(None).abs().max() < 1e-4  # of 700 m
    one = shifts(1)
    torch.testing.assert_close(shifts(1, 1e-5), one)
    assert (shifts(2) - one).abs().max() > 0.01
    assert one.abs().max() <= 0.1 + 1e-5
    assert one[..., 0].min() > -1e-6
    torch.testing.assert_close(one[..., 1:6], one[..., 1:2].expand_as(one[..., 1:6]), atol=1e-5, rtol=0.0)
    assert one[..., 1].std() > 0.03


def test_a_step_beyond_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step_m must be at most half of the grid's diagonal"):
        contracted_table(OCCNERF, VolumeOptions(sampling="contracted", step_m=100.0))


def test_resampling_follows_the_weights() -> None:
    """Three quarters of the weight in one of four intervals: three of four new intervals lie there."""
    edges = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    depths, lengths = resample(edges, torch.tensor([[0.0, 0.75, 0.0, 0.25]]), 4)
    # Where the cumulated weight is flat, the cut may lie anywhere between 2 and 3.
    torch.testing.assert_close(lengths[0, 1:2], torch.tensor([1.0 / 3.0]))
    assert ((depths > 1.0) & (depths < 2.0)).sum() >= 2
    torch.testing.assert_close(lengths.sum(-1), torch.tensor([4.0]))


@pytest.mark.parametrize("weights", [[0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
def test_new_intervals_cover_the_ray_without_gaps(weights: list[float]) -> None:
    """Whatever the weights, an empty ray included: else part of the optical depth would be lost."""
    edges = torch.tensor([[2.0, 3.0, 5.0, 6.0, 9.0]])
    depths, lengths = resample(edges, torch.tensor([weights], requires_grad=True), 7)
    assert not depths.requires_grad
    assert (lengths >= 0.0).all()
    torch.testing.assert_close(lengths.sum(-1), torch.tensor([7.0]))
    torch.testing.assert_close(depths[:, 1:] - depths[:, :-1], 0.5 * (lengths[:, 1:] + lengths[:, :-1]))


FOG = VoxelGrid((2.0, -3.0, -3.0), (8, 12, 12), (0.5, 0.5, 0.5))


def test_importance_samples_of_fog_are_unbiased() -> None:
    """Fog from 2 to 6 m: no mass is lost or won where samples gather, however fine the coarse pass was.

    Its intervals end at the faces of the fog; one that is half fog, half air, but whose middle is air, would be lost.
    """
    field = DensityField(FOG, torch.full((1, *FOG.shape), 0.4), torch.ones(1, 1, *FOG.shape))
    options = {"interpolation": "nearest", "near_m": 1.0, "far_m": 9.0}
    for coarse in (8, 16, 64):
        renderer = build_renderer("volume", sampling="importance", coarse_samples=coarse, fine_samples=400, **options)
        out = renderer.render(field, forward_rig((1, 1)))
        assert out.opacity.item() == pytest.approx(-math.expm1(-0.4 * 4.0), abs=0.01)


def test_importance_samples_find_a_thin_wall() -> None:
    """A wall of 0.2 m somewhere in 19 m, which 32 uniform samples, 0.6 m apart, miss or make three times as thick."""
    wall = VoxelGrid((7.2, -6.0, -6.0), (1, 30, 30), (0.2, 0.4, 0.4))
    field = DensityField(wall, torch.full((1, *wall.shape), 15.0), torch.ones(1, 1, *wall.shape))
    options = {"interpolation": "nearest", "near_m": 1.0, "far_m": 20.0, "weights": True}
    fine = build_renderer("volume", sampling="importance", coarse_samples=190, fine_samples=32, **options)
    out = fine.render(field, forward_rig((1, 1)))
    assert out.sample_depths_m is not None
    assert ((out.sample_depths_m - 7.3).abs() < 0.1).float().mean() > 0.8
    assert out.opacity.item() == pytest.approx(-math.expm1(-3.0), abs=0.01)
    uniform = build_renderer("volume", step_m=19.0 / 32, **options).render(field, forward_rig((1, 1)))
    assert abs(uniform.opacity.item() + math.expm1(-3.0)) > 0.04
