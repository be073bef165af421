"""The lists of validation frames that DDAD's published scores were taken over, made from the data set itself.

The list of GaussianOcc's release has a line for each of the 3,950 validation samples, but a line is a time stamp, and
its index keeps one scene per stamp. Pairs of validation scenes overlap in time, so that 148 frames are evaluated twice
and their twins in the other scene never. Counting every stamp once leaves 3,802 frames.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int64

from gsocc.datasets.index import SurroundIndex
from gsocc.errors import DataError

FrameList = Literal["all_3950", "unique_3802"]
_COUNTS: dict[FrameList, int] = {"all_3950": 3950, "unique_3802": 3802}
# Of scenes that share stamps, which one the published index keeps: by no order of their names, hence a table.
_KEPT = {"000165": "000185", "000168": "000152", "000172": "000151", "000180": "000170"}


def published_rows(index: SurroundIndex, name: FrameList) -> Int64[np.ndarray, " rows"]:
    """Return the index rows of a published list: "all_3950" with its repetitions, or "unique_3802".

    Raises:
        DataError: Where the index is not that of all of DDAD, whose validation split has 3,950 samples.
    """
    rows = rows_by_stamp(index)
    if name == "unique_3802":
        rows = np.array(list(dict.fromkeys(rows.tolist())), np.int64)
    if len(rows) != _COUNTS[name]:
        raise DataError(
            f"the list {name} is one of DDAD's {_COUNTS[name]} frames, but by its rule this index gives {len(rows)} of "
            f"{len(index.split_rows('val'))} validation samples; score all frames there are with --frames split, or "
            "evaluation.frames: split"
        )
    return rows


def rows_by_stamp(index: SurroundIndex) -> Int64[np.ndarray, " rows"]:
    """Return, for each validation sample, the row of the sample that the published index has for its time stamp.

    Raises:
        DataError: Where scenes share a stamp of which the published index is not known to keep one.
    """
    rows = index.split_rows("val").tolist()
    by_stamp: dict[str, list[int]] = {}
    for row in rows:
        by_stamp.setdefault(_stamp(index, row), []).append(row)
    return np.array([_kept(index, by_stamp[_stamp(index, row)], row) for row in rows], np.int64)


def _stamp(index: SurroundIndex, row: int) -> str:
    return index.token(row).removeprefix(f"{index.scene(row)}_")


def _kept(index: SurroundIndex, candidates: list[int], row: int) -> int:
    scenes = {index.scene(candidate): candidate for candidate in candidates}
    winner = _KEPT.get(index.scene(row), index.scene(row))
    others = set(scenes) - {winner}
    if winner in scenes and any(_KEPT.get(scene) != winner for scene in others):
        raise DataError(
            f"scenes {', '.join(sorted(scenes))} share the stamp {_stamp(index, row)}; the published lists know of no "
            "such pair, so that they cannot be made from this index"
        )
    return scenes.get(winner, row)
