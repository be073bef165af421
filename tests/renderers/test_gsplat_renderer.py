"""The CUDA splat: clear words without a GPU, agreement with the oracle on one (make test-cuda)."""

from dataclasses import fields

import pytest
import torch
from render_helpers import SMALL_GRID, random_gaussians, random_volume, surround_rig

from gsocc.errors import MissingExtraError
from gsocc.renderers import build_renderer
from gsocc.renderers.splat_gsplat import _pad
from gsocc.structures import Gaussians, VoxelGaussians


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_message_names_the_cpu_renderer() -> None:
    with pytest.raises(MissingExtraError, match=r"needs an NVIDIA GPU .*'splat_cpu' runs on a CPU"):
        build_renderer("splat_gsplat")


def test_another_alpha_limit_than_the_compiled_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha_max is 0.999 in gsplat 1.5.3's kernels, got 0.99"):
        build_renderer("splat_gsplat", alpha_max=0.99)


@pytest.mark.parametrize(("channels", "with_depth"), [(0, 2), (1, 2), (2, 4), (7, 8), (18, 32), (31, 32), (32, 64)])
def test_channels_are_padded_to_counts_that_gsplat_compiles(channels: int, with_depth: int) -> None:
    """1.5.3 takes powers of two up to 32 in one chunk; main takes no count between, 18 + 1 for instance."""
    padded = _pad(torch.ones(1, 4, channels))
    assert padded.shape[-1] + 1 == with_depth
    assert padded.sum() == 4 * channels


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("channels", [3, 18, 40])
def test_gsplat_agrees_with_the_oracle(channels: int) -> None:
    """Values 1e-3 of their scale, gradients 1e-2: gsplat uses fast exponentials and atomics.

    A Gaussian on the edge of the cut at 1 / 255 or of the stop may fall on either side: compared on all but 1 %.
    """
    pytest.importorskip("gsplat")
    scene, rig = random_gaussians(200, channels, batch=2), surround_rig(batch=2)
    results = []
    for name, device in (("splat_gsplat", "cuda"), ("splat_torch", "cpu")):
        leaves = Gaussians(*(getattr(scene, f.name).to(device, copy=True).requires_grad_() for f in fields(scene)))
        out = build_renderer(name).render(leaves, rig.to(device))
        images = [getattr(out, part).cpu() for part in ("depth_sum_m", "opacity", "features")]
        sum((image * torch.linspace(-1, 1, image.numel()).view_as(image)).sum() for image in images).backward()
        results.append((out, leaves))
    (one, ours), (two, theirs) = results
    for part in ("depth_m", "opacity", "features"):
        assert_mostly_close(getattr(one, part).cpu(), getattr(two, part), 1e-3)
    for f in fields(scene):
        assert_mostly_close(getattr(ours, f.name).grad.cpu(), getattr(theirs, f.name).grad, 1e-2)


def assert_mostly_close(measured: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    off = (measured - expected).abs() > relative * expected.abs().max()
    assert off.float().mean() < 0.01


@pytest.mark.cuda
@cuda
def test_gsplat_draws_voxels_under_autocast_in_float32() -> None:
    pytest.importorskip("gsplat")
    density, features = (t.cuda() for t in random_volume(18))
    scene = VoxelGaussians(SMALL_GRID, (0.4, 0.4, 0.4), -torch.expm1(-density), features.requires_grad_())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        out = build_renderer("splat_gsplat").render(scene, surround_rig().to("cuda"))
    assert out.features.dtype == torch.float32
    weighted = (out.features * out.opacity[:, :, None]).sum()
    weighted.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
