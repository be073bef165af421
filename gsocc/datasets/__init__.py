"""Readers that turn data sets on disk into surround samples."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from gsocc.structures import SurroundSample


def _nuscenes(**options: Any) -> Dataset[SurroundSample]:
    from gsocc.datasets.nuscenes import NuScenesDataset

    return NuScenesDataset(**options)


def _ddad(**options: Any) -> Dataset[SurroundSample]:
    from gsocc.datasets.ddad import DdadDataset

    return DdadDataset(**options)


def _rig(**options: Any) -> Dataset[SurroundSample]:
    from gsocc.datasets.rig import RigDataset

    return RigDataset(**options)


DATASETS: dict[str, Callable[..., Dataset[SurroundSample]]] = {"nuscenes": _nuscenes, "ddad": _ddad, "rig": _rig}
"""Data sets by name; each is called with the keyword arguments of its class."""


def build_dataset(name: str, **options: Any) -> Dataset[SurroundSample]:
    """Open a data set by name.

    Raises:
        ValueError: Where there is no data set of that name.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset: expected one of {', '.join(DATASETS)}, got {name!r}")
    return DATASETS[name](**options)
