"""Losses against cases solved by hand."""

import math

import pytest
import torch

from gsocc.losses.masks import keep_margin
from gsocc.losses.photometric import minimum_reprojection, photometric_error, ssim_distance, warp_to_target
from gsocc.losses.regularizers import binary_entropy, total_variation
from gsocc.losses.semantic import class_weights_from_counts, semantic_cross_entropy
from gsocc.losses.smoothness import disparity_bending, disparity_smoothness


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_identical_images_have_no_error() -> None:
    """SSIM of an image with itself is 1, up to rounding in the variance."""
    image = _noise(1, 3, 8, 8)
    assert photometric_error(image, image).abs().max() < 1e-5


def test_ssim_of_flat_images_depends_on_their_means_alone() -> None:
    """Without variance SSIM is (2ab + C1) / (a^2 + b^2 + C1)."""
    a, b = torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 4, 4), 0.6)
    ssim = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    torch.testing.assert_close(ssim_distance(a, b), torch.full((1, 1, 4, 4), (1 - ssim) / 2), atol=1e-4, rtol=0)


def test_sideways_motion_shifts_by_focal_over_depth() -> None:
    """A camera that moves 1 m right sees a wall at 10 m shifted by f / z = 2 px to the left."""
    source = _noise(1, 3, 12, 20)
    intrinsics = torch.tensor([[[20.0, 0, 10], [0, 20.0, 6], [0, 0, 1]]])
    motion = torch.eye(4)[None].clone()
    motion[0, 0, 3] = -1.0  # points move left in the camera that moved right
    image, valid = warp_to_target(source, torch.full((1, 12, 20), 10.0), intrinsics, motion)
    torch.testing.assert_close(image[..., 2:], source[..., :-2], atol=1e-4, rtol=0)
    assert bool(valid[..., 2:].all())
    assert not bool(valid[..., :2].any())


def test_points_that_end_up_behind_the_camera_are_invalid() -> None:
    """A wall at 5 m, driven through by 6 m."""
    motion = torch.eye(4)[None].clone()
    motion[0, 2, 3] = -6.0
    intrinsics = torch.tensor([[[20.0, 0, 10], [0, 20.0, 6], [0, 0, 1]]])
    _, valid = warp_to_target(_noise(1, 3, 12, 20), torch.full((1, 12, 20), 5.0), intrinsics, motion)
    assert not bool(valid.any())


def test_the_best_valid_neighbour_counts() -> None:
    """Two neighbours: the smaller error, unless it is invalid; a pixel without any is left out of the mean."""
    errors = torch.tensor([[[[0.1, 0.5, 9.0]]], [[[0.3, 0.2, 9.0]]]])
    valid = torch.tensor([[[[False, True, False]]], [[[True, True, False]]]])
    torch.testing.assert_close(minimum_reprojection(errors, valid), torch.tensor((0.3 + 0.2) / 2))


def test_a_static_pixel_carries_no_gradient() -> None:
    """Auto-mask: where the unwarped neighbour fits better, the warped error does not enter."""
    errors = torch.tensor([[[[0.4, 0.1]]]], requires_grad=True)
    identity = torch.tensor([[[[0.2, 0.3]]]])
    minimum_reprojection(errors, torch.ones(1, 1, 1, 2, dtype=torch.bool), identity).backward()
    assert errors.grad is not None
    assert errors.grad.flatten().tolist() == [0.0, 0.5]


def test_no_valid_pixel_gives_zero_and_a_finite_gradient() -> None:
    """A parked or blind batch must not poison the run."""
    errors = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = minimum_reprojection(errors, torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert errors.grad is not None
    assert bool(torch.isfinite(errors.grad).all())


def test_photometric_gradient_in_depth_matches_finite_differences() -> None:
    """The whole chain in float64: warp, SSIM, L1, mean. A smooth texture keeps the differences clean."""
    u = torch.arange(16, dtype=torch.float64)
    texture = (torch.sin(u / 3)[None, :] * torch.cos(u[:10] / 4)[:, None] * 0.4 + 0.5).expand(1, 3, 10, 16)
    intrinsics = torch.tensor([[[15.0, 0, 8], [0, 15.0, 5], [0, 0, 1]]], dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64)[None].clone()
    motion[0, :3, 3] = torch.tensor([0.3, 0.05, -0.4])
    depth = 8 + torch.rand(1, 10, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    depth.requires_grad_(True)

    def loss(depth_m: torch.Tensor) -> torch.Tensor:
        image, _ = warp_to_target(texture, depth_m, intrinsics, motion)
        return photometric_error(image, texture * 0.9).sum()

    assert torch.autograd.gradcheck(loss, (depth,), eps=1e-6, atol=1e-5)


def test_a_plane_seen_at_a_slant_is_smooth_in_disparity() -> None:
    """Constant depth costs nothing; a step costs less where the image has an edge."""
    flat = torch.full((1, 6, 6), 7.0)
    step = flat.clone()
    step[..., 3:] = 14.0
    grey, edge = torch.full((1, 3, 6, 6), 0.5), torch.full((1, 3, 6, 6), 0.1)
    edge[..., 3:] = 0.9
    assert disparity_smoothness(flat, grey).item() == pytest.approx(0, abs=1e-6)
    ratio = disparity_smoothness(step, edge) / disparity_smoothness(step, grey)
    assert ratio.item() == pytest.approx(math.exp(-0.8), rel=1e-3)


def test_cross_entropy_is_a_weighted_mean_over_labelled_pixels() -> None:
    """Uniform logits cost ln K; ignored pixels do not count; weights cancel for equal losses."""
    logits = torch.zeros(1, 4, 1, 3)
    labels = torch.tensor([[[0, 2, -1]]])
    weights = torch.tensor([3.0, 1.0, 0.5, 1.0])
    assert semantic_cross_entropy(logits, labels, weights).item() == pytest.approx(math.log(4))
    assert semantic_cross_entropy(logits, labels).item() == pytest.approx(math.log(4))
    nothing = semantic_cross_entropy(logits, torch.full((1, 1, 3), -1), weights)
    assert nothing.item() == 0


def test_rare_classes_weigh_more_and_absent_ones_nothing() -> None:
    """count^-1/2: four times as rare is twice as heavy; the mean over present classes is 1."""
    weights = class_weights_from_counts(torch.tensor([400.0, 100.0, 0.0]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 4 / 3, 0.0]))


def test_total_variation_of_a_single_step() -> None:
    """One unit step along x between 2 of 3 planes: mean |dx| = 1/2, the other axes 0, a third of that."""
    volume = torch.zeros(1, 1, 3, 2, 2)
    volume[:, :, 2] = 1
    assert total_variation(volume).item() == pytest.approx(0.5 / 3)


def test_entropy_is_ln2_when_undecided_and_0_when_certain() -> None:
    """Binary entropy, finite at both ends."""
    assert binary_entropy(torch.tensor([0.5])).item() == pytest.approx(math.log(2))
    certain = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = binary_entropy(certain)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=2e-5)
    assert certain.grad is not None
    assert bool(torch.isfinite(certain.grad).all())


def test_a_road_behind_a_mask_does_not_bend() -> None:
    """A camera 1.5 m above a plane sees it at depth f h / v, whose disparity is linear in the image row."""
    row = torch.arange(4.0, 16.0)
    road = (30.0 * 1.5 / row)[None, :, None].expand(1, 12, 9)
    everywhere = torch.ones(1, 12, 9, dtype=torch.bool)
    assert disparity_bending(road, everywhere) < 1e-6
    hole = road.clone()
    hole[:, 5:8, 3:6] = 100.0
    assert disparity_bending(hole, everywhere) > 0.1


def test_only_what_touches_the_mask_bends() -> None:
    """Disparities 0, 0, 1, 0, 0 over their mean of 0.2: second differences of 5, -10, 5; the mean is over those."""
    depth = 1 / torch.tensor([[[1e-9, 1e-9, 1.0, 1e-9, 1e-9]]]).clamp(min=1e-6)
    where = torch.zeros(1, 1, 5, dtype=torch.bool)
    assert disparity_bending(depth, where) == 0.0
    where[..., 0] = True
    torch.testing.assert_close(disparity_bending(depth, where), torch.tensor(5.0), atol=1e-3, rtol=0)
    where[..., 2] = True
    torch.testing.assert_close(disparity_bending(depth, where), torch.tensor(20.0 / 3), atol=1e-3, rtol=0)


def test_a_margin_leaves_out_a_square_around_what_is_hidden() -> None:
    """One hidden pixel in a corner, a margin of one: four pixels, none of them beyond the border."""
    valid = torch.ones(1, 2, 4, 5, dtype=torch.bool)
    valid[0, 1, 0, 0] = False
    kept = keep_margin(valid, 1)
    expected = torch.ones(4, 5, dtype=torch.bool)
    expected[:2, :2] = False
    assert bool(kept[0, 0].all())
    assert torch.equal(kept[0, 1], expected)
    assert keep_margin(valid, 0) is valid
