"""What the web page of a report shows, prepared for its template: tables as rows of cells, one chart as SVG points."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsocc.app.report import BASELINES, Report, Scored, System, format_number
from gsocc.app.stage1_report import ROWS as STAGE1_ROWS
from gsocc.app.stage1_report import Stage1, Stage1Row, start_of

_CLASS_PREFIX = "occ3d/camera/17:iou/"
# Okabe and Ito's colours, which stay apart for people with a colour-vision deficiency.
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_CHART_W, _CHART_H, _PAD = 400, 260, 44
_LEGEND_W = 130
_TOP_M = 2.5  # of the layers shown; nothing happens to the ground above, and report.json holds them all


@dataclass(frozen=True)
class Cell:
    """A number of a table; `share` 0..1 is drawn as a bar behind it, `best` in bold."""

    text: str
    share: float = 0.0
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Headings with their tooltips, and rows: name, tooltip, cells."""

    headings: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Cell]]]
    first_baseline: int = -1


def render_page(
    report: Report, pictures: list[tuple[str, str, str]], stage1_pictures: list[tuple[str, str, str]]
) -> str:
    """Return the page; pictures are (title, caption, data URI)."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        pictures=pictures,
        stage1_pictures=stage1_pictures,
        stage1_table=_stage1_table(report),
        stage1_columns=[(column.heading, column.words) for column in (report.stage1.columns if report.stage1 else ())],
        stage1_rows=_stage1_rows(report),
        key_table=_key_table(report),
        class_table=_class_table(report),
        swatches=_swatches(),
        layer_chart=_layer_chart(report),
        layer_table=_layer_table(report),
        depth_tables=[t for t in (_depth_table(report, ""), _depth_table(report, "/median")) if t.rows],
        every_table=_every_table(report),
        protocols=_protocols(report),
        predictors=[(row.name, _tooltip(row)) for row in report.rows],
        minutes=report.seconds_total / 60,
    )


def _tooltip(row: Scored) -> str:
    if isinstance(row, System):
        return row.words
    return BASELINES.get(row.name, "")


def _key_table(report: Report) -> Table:
    columns = [c for c in report.key_columns if any(row.metrics.get(c[1]) is not None for row in report.rows)]
    headings = [(f"{heading} {'↑' if more else '↓'}", name) for heading, name, _, more in columns]
    rows = []
    for row in report.rows:
        cells = []
        for _, name, digits, more in columns:
            values = [v for r in report.rows if (v := r.metrics.get(name)) is not None]
            value = row.metrics.get(name)
            best = value is not None and value == (max(values) if more else min(values))
            cells.append(Cell(format_number(value, digits), _bar(value) if more else 0.0, best))
        times = (row.seconds_per_step, row.render_seconds) if isinstance(row, System) else (None, None)
        cells += [Cell(format_number(t, 3)) for t in times]
        rows.append((row.name, _tooltip(row), cells))
    headings += [
        ("s/step", "wall-clock seconds of a training step"),
        ("render s", "seconds to draw all cameras of a frame once"),
    ]
    return Table(headings, rows, len(report.systems))


def _stage1_table(report: Report) -> Table:
    stage1 = report.stage1 or Stage1(rows=())
    headings = [("start, m", "flat depth that training starts from"), ("read-out", "where the motion comes from")]
    headings += [(column.heading, column.words) for column in stage1.columns] + [("s/step", "wall-clock seconds")]
    cells = [
        [Cell(start_of(row)), Cell(row.readout)]
        + [Cell(format_number(getattr(row, column.key), column.digits)) for column in stage1.columns]
        + [Cell(format_number(row.seconds_per_step, 3))]
        for row in stage1.rows
    ]
    lines = [(row.name, _stage1_words(row), line) for row, line in zip(stage1.rows, cells, strict=True)]
    return Table(headings, lines)


def _stage1_rows(report: Report) -> list[tuple[str, str]]:
    return [(row.name, _stage1_words(row)) for row in report.stage1.rows] if report.stage1 else []


def _stage1_words(row: Stage1Row) -> str:
    steps = f"; {row.steps} steps" if row.steps else ""
    return f"{STAGE1_ROWS.get(row.name, row.name)}{steps}"


def _class_table(report: Report) -> Table:
    from gsocc.labels import OCC3D_CLASSES

    present = [c for c in OCC3D_CLASSES if any(r.metrics.get(_CLASS_PREFIX + c) is not None for r in report.rows)]
    rows = []
    for name in present:
        values = [row.metrics.get(_CLASS_PREFIX + name) for row in report.rows]
        best = max((v for v in values if v is not None), default=None)
        cells = [Cell(format_number(v, 3), _bar(v), v is not None and v == best and v > 0) for v in values]
        rows.append((name, _CLASS_PREFIX + name, cells))
    return Table([(row.name, _tooltip(row)) for row in report.rows], rows)


def _swatches() -> dict[str, str]:
    from gsocc.labels import OCC3D_CLASSES, PALETTE

    return {name: "#{:02x}{:02x}{:02x}".format(*PALETTE[i]) for i, name in enumerate(OCC3D_CLASSES)}


def _layer_table(report: Report) -> Table:
    scored = [row for row in report.rows if row.ground_layers]
    heights = sorted({la.z_m for row in scored for la in row.ground_layers if la.z_m <= _TOP_M})
    rows = []
    for z_m in heights:
        found = [next((la.occupancy for la in row.ground_layers if la.z_m == z_m), None) for row in scored]
        cells = [Cell(format_number(v, 3), _bar(v)) for v in found]
        rows.append((_height(z_m), "height of the layer's centre", cells))
    return Table([(row.name, _tooltip(row)) for row in scored], rows)


def _layer_chart(report: Report) -> dict[str, Any] | None:
    """Return lines of occupancy over height, for the systems and what has seen labels; None without layers."""
    rows = [row for row in report.rows if row.ground_layers and (isinstance(row, System) or row.name == "label_prior")]
    if not rows:
        return None
    heights = sorted({la.z_m for row in rows for la in row.ground_layers if la.z_m <= _TOP_M})
    low, high = heights[0], max(heights[-1], heights[0] + 1e-6)

    def at(z_m: float, occupancy: float) -> tuple[float, float]:
        x = _PAD + (z_m - low) / (high - low) * (_CHART_W - 1.4 * _PAD)
        return round(x, 1), round(_CHART_H - _PAD - occupancy * (_CHART_H - 1.5 * _PAD), 1)

    lines = []
    for number, row in enumerate(rows):
        points = [at(la.z_m, la.occupancy) for la in row.ground_layers if la.z_m <= _TOP_M and la.occupancy is not None]
        lines.append({"name": row.name, "color": _LINES[number % len(_LINES)], "points": points})
    return {
        "width": _CHART_W + _LEGEND_W,
        "height": _CHART_H,
        "lines": lines,
        "z_ticks": [(at(z, 0.0), _height(z).removesuffix(" m")) for z in heights],
        "p_ticks": [(at(low, p), f"{p:.1f}") for p in (0.0, 0.5, 1.0)],
        "right": at(high, 0.0)[0],
        "ground": at(0.0, 1.0) + at(0.0, 0.0) if low <= 0 <= high else None,
    }


def _depth_table(report: Report, variant: str) -> Table:
    """Return one row per predictor and camera group of a depth protocol, the mean over cameras first."""
    from gsocc.metrics.depth import DEPTH_SCORES
    from gsocc.metrics.names import split_name

    names = [split_name(n) for row in report.rows for n in row.metrics if n.startswith("depth/")]
    protocols = [p for p, _ in names if p.endswith("/median") == bool(variant)]
    if not protocols:
        return Table([], [])
    protocol = protocols[0]
    cameras = list(dict.fromkeys(m.split("/")[1] for p, m in names if p == protocol and "/" in m))
    rows = []
    for row in report.rows:
        if row.metrics.get(f"{protocol}:abs_rel") is None:
            continue
        for camera in ("", *cameras):
            end = f"/{camera}" if camera else ""
            values = [row.metrics.get(f"{protocol}:{score}{end}") for score in DEPTH_SCORES]
            label = row.name if not camera else f"· {camera.removeprefix('CAM_').replace('_', ' ').lower()}"
            rows.append((label, f"{protocol}:…{end}", [Cell(format_number(v, 3), best=not camera) for v in values]))
    return Table([(score, f"{protocol}:{score}") for score in DEPTH_SCORES], rows)


def _every_table(report: Report) -> Table:
    names = list(dict.fromkeys(name for row in report.rows for name in row.metrics))
    rows = [(n, "", [Cell(format_number(row.metrics.get(n), 4)) for row in report.rows]) for n in names]
    return Table([(row.name, _tooltip(row)) for row in report.rows], rows)


def _protocols(report: Report) -> list[tuple[str, str]]:
    from gsocc.metrics.names import describe_protocol, split_name

    names = dict.fromkeys(split_name(name)[0] for row in report.rows for name in row.metrics)
    return [(name, describe_protocol(name)) for name in sorted(names)]


def _height(z_m: float) -> str:
    return f"{z_m:+.1f} m" if abs(z_m) >= 0.05 else "0.0 m"


def _bar(value: float | None) -> float:
    return 0.0 if value is None else min(max(value, 0.0), 1.0)
