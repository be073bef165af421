"""The table of `gsocc bench differences`, and how rows that were measured again get into the one that is there."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gsocc.app.benchmark.differences import SHOWN, Difference, MotionDifference
from gsocc.app.benchmark.tables import Sheet, figure, read_sheet
from gsocc.errors import UserError

MARKS = "bench differences"


def sheet(rows: Sequence[Difference], motion: Sequence[MotionDifference], steps: int, seeds: int) -> Sheet:
    """Return the measurements as a table; scores are means over seeds with half of their range."""
    scores = tuple(f"{head}: off / scored with / trained with" for head in SHOWN)
    heads = ("switch", "measured on", "loss on / off", "gradient cosine", *scores)
    body = tuple(
        (row.switch, row.base, figure(row.loss_ratio), figure(row.gradient_cosine), *(_cell(row, h) for h in SHOWN))
        for row in rows
    )
    return Sheet(f"switches of the releases, {steps} steps, {_seeds(seeds)}", heads, body, tuple(map(_line, motion)))


def merged(new: Sheet, page: Path, order: Sequence[str]) -> Sheet:
    """Return the table of a page with the rows and remarks of another one put in, or in place of older ones.

    Args:
        new: What was measured.
        page: With a table between the marks `MARKS`; where there is none, `new` is all there is.
        order: Of the switches.

    Raises:
        UserError: Where the page's table was measured with other steps or seeds, or has other columns.
    """
    old = read_sheet(page, MARKS)
    if old is None:
        return new
    if (old.title, old.heads) != (new.title, new.heads):
        raise UserError(
            f"--markdown: {page} holds a table of {old.title!r}, which cannot take rows of {new.title!r}; measure with "
            "the same --steps and --seeds, or all switches anew"
        )
    rows = {row[0]: row for row in (*old.rows, *new.rows)}
    remarks = {remark.partition(":")[0]: remark for remark in (*old.remarks, *new.remarks)}
    return replace(
        new,
        rows=tuple(rows[name] for name in order if name in rows),
        remarks=tuple(remarks[name] for name in order if name in remarks),
    )


def as_json(rows: Sequence[Difference], motion: Sequence[MotionDifference]) -> Mapping[str, Any]:
    """Return the measurements as plain values."""
    return {"rows": [asdict(row) for row in rows], "motion": [asdict(one) for one in motion]}


def _seeds(count: int) -> str:
    return "seed 0" if count == 1 else f"seeds 0 to {count - 1}"


def _line(motion: MotionDifference) -> str:
    what = {
        "pose_batch_statistics": "training mode moves",
        "jittered_pose_images": "jittered images move",
    }
    return (
        f"{motion.switch}: {what[motion.switch]} predicted motion by {100 * motion.translation_m:.1f} cm and "
        f"{motion.rotation_deg:.2f} degrees (medians), where the vehicle moves {100 * motion.travel_m:.0f} cm between "
        "neighbouring images"
    )


def _cell(row: Difference, head: str) -> str:
    switched = figure(None if row.switched is None else row.switched[head])
    return f"{_spread(row.off, head)} / {switched} / {_spread(row.on, head)}"


def _spread(scores: list[dict[str, float]], head: str) -> str:
    values = [score[head] for score in scores]
    half = (max(values) - min(values)) / 2
    return f"{sum(values) / len(values):.3f}" + (f" ± {half:.3f}" if len(values) > 1 else "")
