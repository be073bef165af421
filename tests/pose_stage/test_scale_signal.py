"""The cross-view loss knows how large the world is, and why."""

import pytest
import torch
from torch import Tensor

from gsocc.losses.reprojection import shrink_depth, shrink_images
from pose_stage.config import GspConfig
from pose_stage.gsp import BilinearCrossView, SplatCrossView, scale_curve
from pose_stage.overlaps import OverlapCache

FACTORS = (0.8, 1.0, 1.25)


def _curve(moment, term: str, level: int = 1) -> dict[float, float]:
    """Return the loss of the exact depth times a factor, by factor."""
    size = (moment.rig.image_size[0] >> level, moment.rig.image_size[1] >> level)
    rig = moment.rig.resized(size)
    depth_m, images = shrink_depth(moment.depth_m, size), shrink_images(moment.images, size)
    overlaps = OverlapCache(80.0, 1)(rig)
    if term == "bilinear":
        bilinear = BilinearCrossView(0.85)
        return scale_curve(lambda d: bilinear(d, images, rig, overlaps), depth_m, FACTORS)
    splat = SplatCrossView(GspConfig(renderer="splat_cpu", mask_out="fixed" if term == "splat" else "none"), 0.85)

    def loss(depth: Tensor) -> Tensor:
        return splat(depth, images, rig, overlaps)

    return scale_curve(loss, depth_m, FACTORS)


@pytest.mark.slow
@pytest.mark.parametrize("term", ["splat", "bilinear"])
def test_depth_that_is_off_by_a_factor_costs_more(moment, term: str) -> None:
    """Neighbouring cameras stand decimetres apart: only at its true distance does a point fall where both saw it."""
    curve = _curve(moment, term)
    assert curve[0.8] > 1.3 * curve[1.0]
    assert curve[1.25] > 1.3 * curve[1.0]


@pytest.mark.slow
def test_without_mask_out_images_redraw_themselves(moment) -> None:
    """A pixel's own Gaussian covers it at any depth: the signal falls to less than two fifths."""
    masked, unmasked = _curve(moment, "splat"), _curve(moment, "none")
    for factor in (0.8, 1.25):
        assert unmasked[factor] - unmasked[1.0] < 0.4 * (masked[factor] - masked[1.0])


@pytest.mark.slow
def test_the_gradient_of_the_loss_points_to_the_true_scale(moment) -> None:
    """Depth that is too near is pushed away, depth that is too far is pulled in."""
    size = (32, 56)
    rig = moment.rig.resized(size)
    images, overlaps = shrink_images(moment.images, size), OverlapCache(80.0, 1)(rig)
    splat = SplatCrossView(GspConfig(renderer="splat_cpu", mask_out="fixed"), 0.85)
    slopes = []
    for factor in (0.85, 1.2):
        scale = torch.tensor(factor, requires_grad=True)
        splat(shrink_depth(moment.depth_m, size) * scale, images, rig, overlaps).backward()
        assert scale.grad is not None
        slopes.append(float(scale.grad))
    assert slopes[0] < 0 < slopes[1]
