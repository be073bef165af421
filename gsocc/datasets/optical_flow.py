"""Dense optical flow between neighbouring images: classical (DIS), no weights to download, cached per key frame.

DIS is Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (arXiv:1603.03590), as OpenCV brings it.
"""

import logging
import zlib
from collections.abc import Sized
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from gsocc.errors import DataError
from gsocc.files import read_npz, write_npz
from gsocc.structures import SurroundSample

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_COMFORTABLE_PX = 144  # DIS looks for patches of 8 pixels: smaller images are enlarged before they are matched


def dense_flow(
    image: Float[Tensor, "3 H W"], other: Float[Tensor, "3 H W"], *, upsample: int | None = None
) -> Float32[Tensor, "2 H W"]:
    """Match two images of one camera.

    Args:
        image: RGB in [0, 1] that the flow starts from.
        other: RGB in [0, 1] that it leads to.
        upsample: Enlarge both by this factor before matching, which costs its square; by default as much as lifts the
            shorter side to 144 pixels: 3 for 48x80, 2 for 96x160, 1 for 224x352.

    Returns:
        (du, dv) in pixels of the images as given: what pixel p of `image` shows appears at p + flow in `other`. Without
        meaning where that point is hidden or outside.

    Raises:
        ValueError: Where the images differ in size or `upsample` is below 1.
    """
    if image.shape != other.shape:
        raise ValueError(
            f"dense_flow: expected two images of one size, got {tuple(image.shape)} and {tuple(other.shape)}"
        )
    height, width = image.shape[-2:]
    factor = -(-_COMFORTABLE_PX // min(height, width)) if upsample is None else upsample
    if factor < 1:
        raise ValueError(f"dense_flow: expected upsample of at least 1, got {upsample}")
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = matcher.calc(_grey(image, factor), _grey(other, factor), None)  # type: ignore[call-overload]
    if factor > 1:
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / factor
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32))


class WithFlow(Dataset[SurroundSample]):
    """A data set whose samples carry `flow_px`, from the key frame to each neighbour; zero where there is none.

    Flow is stored with float16, whose steps are below 0.01 px up to 16 px. A stored flow knows which images it was made
    from: other images, another size, other neighbours or another `upsample` make it again, and so does a damaged file.

    Args:
        dataset: Any data set of a known length.
        cache: Folder of one npz per key frame, shared by runs; None computes every time.
        upsample: See `dense_flow`.
    """

    def __init__(self, dataset: Dataset[SurroundSample], cache: Path | None, *, upsample: int | None = None) -> None:
        self.dataset, self.cache, self.upsample = dataset, cache, upsample

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, number: int) -> SurroundSample:
        """Read a sample and its flow.

        Raises:
            OutputError: Where the cache cannot be written to.
        """
        sample = self.dataset[number]
        if self.cache is None:
            return replace(sample, flow_px=_flow_of(sample, self.upsample))
        height, width = sample.images.shape[-2:]
        path = self.cache / f"{height}x{width}" / f"{sample.token}.npz"
        source = _source(sample, self.upsample)
        flow = _read(path, source)
        if flow is None:
            flow = _flow_of(sample, self.upsample).half()
            write_npz(path, flow_px=flow.numpy(), source=source)
        return replace(sample, flow_px=flow.float())

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def _flow_of(sample: SurroundSample, upsample: int | None) -> Float[Tensor, "T V 2 H W"]:
    times, views, _, height, width = sample.images.shape
    flow = torch.zeros(times, views, 2, height, width)
    for time in range(1, times):
        for view in range(views):
            if sample.frame_valid[time, view]:
                flow[time, view] = dense_flow(sample.images[0, view], sample.images[time, view], upsample=upsample)
    return flow


def _source(sample: SurroundSample, upsample: int | None) -> np.ndarray:
    """Return what a flow depends on: the format, the options, the times, and a checksum of the images."""
    pixels = (sample.images * 255.0).round().to(torch.uint8).numpy()
    checksum = zlib.crc32(pixels.tobytes())
    numbers = (_FORMAT, upsample or 0, checksum, *sample.frame_ids, *pixels.shape)
    return np.array(numbers, dtype=np.int64)


def _read(path: Path, source: np.ndarray) -> Float[Tensor, "T V 2 H W"] | None:
    try:
        stored = read_npz(path)
    except FileNotFoundError:
        return None
    except DataError as error:
        _LOG.warning("flow is computed again: %s", error)
        return None
    if set(stored) != {"flow_px", "source"} or not np.array_equal(stored["source"], source):
        return None
    return torch.from_numpy(stored["flow_px"])


def _grey(image: Float[Tensor, "3 H W"], factor: int) -> UInt8[np.ndarray, "h w"]:
    pixels = (image.detach().cpu() * 255.0).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if factor == 1:
        return grey.astype(np.uint8, copy=False)
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    return cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
