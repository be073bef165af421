"""Networks that label images by class: what the 2-D label files of a data set are made with."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int8, UInt8

from gsocc.labelling.config import LabelConfig
from gsocc.labelling.running import Runner


@runtime_checkable
class Labeller(Protocol):
    """Anything that labels images."""

    def label(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Int8[np.ndarray, "_ _"]]:
        """Return ids of the label files (`gsocc.labels.RAW_NAMES`) for RGB images of one size, -1 without a label."""
        ...


def _grounded_sam(config: Any, runner: Runner) -> Labeller:
    from gsocc.labelling.grounded_sam import GroundedSamLabeller

    return GroundedSamLabeller(config, runner)


def _segmentation(config: Any, runner: Runner) -> Labeller:
    from gsocc.labelling.segmentation import SegmentationLabeller

    return SegmentationLabeller(config, runner)


LABELLERS: dict[str, Callable[[Any, Runner], Labeller]] = {
    "grounded_sam": _grounded_sam,
    "segmentation": _segmentation,
}
"""Labellers by name; each is called with its part of the configuration and where to run."""


def build_labeller(config: LabelConfig, runner: Runner) -> Labeller:
    """Build the labeller that a configuration names.

    Raises:
        CheckpointError: Where its networks cannot be loaded.
        ConfigError: Where the configuration does not fit them.
    """
    return LABELLERS[config.labeller.name](config.labeller, runner)
