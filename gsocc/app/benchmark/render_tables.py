"""What the rows of `gsocc bench render` say: figures, ratios, growth with the images, gain from threads."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gsocc.app.benchmark.render import Row
from gsocc.app.benchmark.tables import Sheet, figure, ratio, times


@dataclass(frozen=True)
class Comparison:
    """How many times as long one row took as another, by median.

    Attributes:
        kind: "renderer": against the reference; "growth": four times the pixels against one; "threads": one thread
            against several.
        row: What was slower, or may have been.
        against: What it is divided by.
        forward: Elapsed time.
        forward_backward: Elapsed time with gradients.
        forward_cpu: Processor time.
        forward_backward_cpu: Processor time with gradients.
    """

    kind: str
    row: Row
    against: Row
    forward: float | None
    forward_backward: float | None
    forward_cpu: float | None
    forward_backward_cpu: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the ratios and what tells the two rows apart."""
        names = ("renderer", "grid", "size", "scene", "scale_fraction", "threads")
        found = asdict(self)
        ratios = {name: value for name, value in found.items() if name not in ("row", "against")}
        return {**ratios, **{side: {name: found[side][name] for name in names} for side in ("row", "against")}}


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Return every ratio that the rows allow.

    The reference is the first renderer of the run: each of its scales is compared with the other splats of that
    scale, and with the rays. Rows without figures take no part.
    """
    usable = [row for row in rows if row.forward_s is not None]
    if not usable:
        return []
    first, most = rows[0].renderer, max(row.threads for row in rows)
    found = []
    for row, other in itertools.permutations(usable, 2):
        same_case = (row.grid, row.size, row.scene) == (other.grid, other.size, other.scene)
        same_way = (row.renderer, row.scale_fraction) == (other.renderer, other.scale_fraction)
        if row.threads == other.threads == most:
            if same_case and row.renderer != first == other.renderer and _comparable_scales(row, other):
                found.append(_compared("renderer", row, other))
            elif same_way and (row.grid, row.scene) == (other.grid, other.scene) and _fourfold(row, other):
                found.append(_compared("growth", row, other))
        elif same_case and same_way and row.threads == 1 and other.threads == most:
            found.append(_compared("threads", row, other))
    return found


def sheets(rows: Sequence[Row], scale_down: int, device: str) -> list[Sheet]:
    """Return the tables of a run: figures and ratios of each case, then growth and threads."""
    comparisons = compare(rows)
    found = []
    for case in dict.fromkeys((row.grid, row.size, row.scene) for row in rows):
        mine = [row for row in rows if (row.grid, row.size, row.scene) == case]
        found.append(_figures(mine, scale_down, device))
        of_case = [one for one in comparisons if one.kind == "renderer" and one.row in mine]
        if of_case:
            found.append(_ratios(of_case, device))
    growth = [one for one in comparisons if one.kind == "growth"]
    if growth:
        found.append(
            _summary("four times the pixels: time over time", growth, lambda c: f"{c.against.size} to {c.row.size}")
        )
    threads = [one for one in comparisons if one.kind == "threads"]
    if threads:
        found.append(
            _summary("one thread over several", threads, lambda c: f"{c.row.size}, {c.against.threads} threads")
        )
    return found


def _compared(kind: str, row: Row, against: Row) -> Comparison:
    return Comparison(
        kind, row, against,
        ratio(row.forward_s, against.forward_s),
        ratio(row.forward_backward_s, against.forward_backward_s),
        ratio(row.forward_cpu_s, against.forward_cpu_s),
        ratio(row.forward_backward_cpu_s, against.forward_backward_cpu_s),
    )  # fmt: skip


def _comparable_scales(row: Row, other: Row) -> bool:
    return None in (row.scale_fraction, other.scale_fraction) or row.scale_fraction == other.scale_fraction


def _fourfold(row: Row, other: Row) -> bool:
    (height, width), (less_height, less_width) = (map(int, size.split("x")) for size in (row.size, other.size))
    return (height, width) == (2 * less_height, 2 * less_width)


def _figures(rows: Sequence[Row], scale_down: int, device: str) -> Sheet:
    first = rows[0]
    divided = f" (divided by {scale_down})" if scale_down > 1 else ""
    several = len({row.threads for row in rows}) > 1
    heads = ["renderer", *(["threads"] if several else []), "forward s", *_cpu(device, "CPU s"), "+ backward s"]
    heads += [*_cpu(device, "CPU s"), "build s", "cache GB", "peak GB"]
    body = []
    for row in rows:
        cells = [_name(row), *([str(row.threads)] if several else []), figure(row.forward_s)]
        cells += [*_cpu(device, figure(row.forward_cpu_s)), figure(row.forward_backward_s)]
        cells += [*_cpu(device, figure(row.forward_backward_cpu_s)), figure(row.build_s, 2)]
        body.append((*cells, figure(row.cache_gb, 2), figure(row.peak_memory_gb, 2)))
    return Sheet(
        f"grid {first.grid}, images {first.size}{divided}, scene {first.scene}",
        tuple(heads),
        tuple(body),
        tuple(dict.fromkeys(f"{_name(row)}: {row.error}" for row in rows if row.error)),
    )


def _ratios(found: Sequence[Comparison], device: str) -> Sheet:
    """Return how many times as long as the reference everything takes, one group of columns per scale of the latter."""
    references = list(dict.fromkeys(one.against for one in found))
    heads = ["times as long as"]
    for reference in references:
        heads += [_name(reference), *_cpu(device, "CPU"), "+ backward", *_cpu(device, "CPU")]
    body = []
    for name in dict.fromkeys(one.row.renderer for one in found):
        cells = [name]
        for reference in references:
            match = next((c for c in found if c.row.renderer == name and c.against is reference), None)
            cells += [
                times(match.forward if match else None),
                *_cpu(device, times(match.forward_cpu if match else None)),
            ]
            cells.append(times(match.forward_backward if match else None))
            cells += _cpu(device, times(match.forward_backward_cpu if match else None))
        body.append(tuple(cells))
    first = references[0]
    return Sheet(f"ratios, grid {first.grid}, images {first.size}, scene {first.scene}", tuple(heads), tuple(body))


def _summary(title: str, found: Sequence[Comparison], change: Callable[[Comparison], str]) -> Sheet:
    body = tuple(
        (_name(one.row), one.row.grid, one.row.scene, change(one), times(one.forward), times(one.forward_backward))
        for one in found
    )
    return Sheet(title, ("renderer", "grid", "scene", "images", "forward", "+ backward"), body)


def _name(row: Row) -> str:
    return row.renderer if row.scale_fraction is None else f"{row.renderer} {row.scale_fraction:g}"


def _cpu(device: str, *cells: str) -> Iterator[str]:
    """Yield columns of processor seconds, which say nothing of work on a GPU."""
    if device == "cpu":
        yield from cells
