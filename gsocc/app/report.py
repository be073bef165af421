"""Reports: one JSON with every figure, one self-contained web page to look at, one table for the terminal."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gsocc.app.stage1_report import DEPTH, Stage1, depth_protocol_of, start_of
from gsocc.errors import DataError
from gsocc.files import atomic_write_text, write_json

if TYPE_CHECKING:
    from rich.console import Console

Picture = tuple[str, str, Path]
"""Title, caption and file of a picture."""

# Heading, full name, digits, and whether more is better: what the first table and the terminal show.
KEY_COLUMNS: tuple[tuple[str, str, int, bool], ...] = (
    ("mIoU", "occ3d/camera/present:miou", 3, True),
    ("IoU", "occ3d/camera:iou", 3, True),
    ("above-ground F1", "occ3d/camera/16m:above_ground_f1", 3, True),
    ("F1 at 0.8 m", "occ3d/camera/16m/0.8m:above_ground_f1", 3, True),
    ("AbsRel", "depth/nuscenes/80m:abs_rel", 3, False),
    ("a1", "depth/nuscenes/80m:a1", 3, True),
)

BASELINES: dict[str, str] = {
    "all_free": "predicts that nothing is there",
    "all_occupied": "predicts that everything is solid, as driveable surface",
    "ground_plane": "a flat street, one layer of driveable surface; its depth has the far cap that suits it best on "
    "the scored frames",
    "untrained": "the same network before its first step",
    "label_prior": "the most frequent label of every voxel in the 3-D truth of the training scenes, which the networks "
    "never see",
}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroundLayer(_Strict):
    """Mean prediction in one height layer over columns of bare ground."""

    z_m: float
    occupancy: float | None
    occupied_share: float | None = None


class Scored(_Strict):
    """A predictor and its numbers by full name; a number that does not exist (NaN) is None."""

    name: str
    metrics: dict[str, float | None]
    ground_layers: tuple[GroundLayer, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _accept_layers_among_metrics(cls, data: Any) -> Any:
        """Read back what `as_json` writes: the layers once more among the metrics."""
        if isinstance(data, dict) and "ground_layers" in data.get("metrics", {}):
            metrics = dict(data["metrics"])
            layers = metrics.pop("ground_layers")
            data = {**data, "metrics": metrics, "ground_layers": data.get("ground_layers") or layers}
        return data

    @field_validator("metrics")
    @classmethod
    def _check_names(cls, metrics: dict[str, float | None]) -> dict[str, float | None]:
        from gsocc.metrics.names import split_name

        for name in metrics:
            split_name(name)
        return metrics

    def as_json(self) -> dict[str, Any]:
        """Return what stands in report.json: `ground_layers` beside the metrics and, as one of them, among them."""
        data = self.model_dump()
        data["metrics"]["ground_layers"] = data["ground_layers"]
        return data


class System(Scored):
    """A trained network.

    Attributes:
        renderer: Name of the renderer it was trained with.
        pose: Where its ego motion came from: "ground truth", or "stage1" and the checkpoint.
        steps: Training steps.
        seconds_per_step: Mean wall-clock time of a training step.
        render_seconds: Wall-clock time to draw all cameras of one frame once.
        note: What a reader has to know beside the numbers.
    """

    renderer: str
    pose: str
    steps: int
    seconds_per_step: float | None
    render_seconds: float | None
    note: str = ""

    @property
    def words(self) -> str:
        """How it was trained, in one line."""
        return f"{self.renderer}; pose: {self.pose}; {self.steps} steps. {self.note}".strip()


class Baseline(Scored):
    """A predictor that looks at nothing; see `BASELINES`."""


class Check(_Strict):
    """A claim that the run had to meet, and whether it did."""

    claim: str
    required: str
    got: str
    passed: bool


class Report(_Strict):
    """Everything that `report.json` holds.

    Attributes:
        device: Machine that the figures come from.
        seconds_total: Wall-clock time of the whole run.
        peak_memory_gb: Highest resident memory of the process.
        systems: Trained networks, in the order of the tables.
        baselines: What they are compared with, on the same frames.
        title: Headline of the page.
        notes: Paragraphs of plain text below it: what the numbers do and do not show.
        settings: What was run: world, frames, threshold and how it was chosen.
        checks: Claims that the run had to meet.
        stage1: Trainings of ego motion and depth, whose result stage 2 may have used.
    """

    device: str
    seconds_total: float
    peak_memory_gb: float
    systems: tuple[System, ...] = Field(min_length=1)
    baselines: tuple[Baseline, ...] = ()
    title: str = "Occupancy from surround cameras"
    notes: tuple[str, ...] = ()
    settings: dict[str, str | int | float] = {}
    checks: tuple[Check, ...] = ()
    stage1: Stage1 | None = None

    @property
    def rows(self) -> tuple[Scored, ...]:
        """Systems and baselines."""
        return (*self.systems, *self.baselines)

    @property
    def key_columns(self) -> tuple[tuple[str, str, int, bool], ...]:
        """`KEY_COLUMNS`, depth under the protocol that these metrics have."""
        depth = depth_protocol_of(name for row in self.rows for name in row.metrics)
        return tuple((heading, name.replace(DEPTH, depth), digits, more) for heading, name, digits, more in KEY_COLUMNS)


def check_report(report: Mapping[str, Any]) -> Report:
    """Turn a plain dict into a `Report`; NaN and infinities become None.

    Raises:
        DataError: Where a key is missing, unknown or of the wrong type, or a metric lacks its protocol.
    """
    try:
        return Report.model_validate(_without_nan(report))
    except ValidationError as error:
        lines = [f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise DataError("report: does not fit its schema\n" + "\n".join(lines)) from error


def write_report(
    folder: Path,
    report: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    stage1_pictures: Sequence[Picture] = (),
) -> Path:
    """Write `report.json` and `report.html` into a folder and return the path of the page.

    The page holds its style and its pictures itself: it can be sent on as one file.

    Args:
        folder: Made where it does not exist.
        report: See `Report`; keys and names are checked before anything is written.
        pictures: Shown in this order, the first one on top of the page.
        stage1_pictures: Shown below the table of stage 1.

    Raises:
        DataError: Where the report does not fit its schema, or a picture is missing.
        OutputError: Where the folder cannot be written to.
    """
    from gsocc.app.report_page import render_page

    checked = check_report(report)
    embedded, of_stage1 = (
        [(title, caption, _data_uri(path)) for title, caption, path in group] for group in (pictures, stage1_pictures)
    )
    page = render_page(checked, embedded, of_stage1)
    data = checked.model_dump()
    if checked.stage1 is None:
        del data["stage1"]
    for group in ("systems", "baselines"):
        data[group] = [row.as_json() for row in getattr(checked, group)]
    write_json(folder / "report.json", data)
    atomic_write_text(folder / "report.html", page)
    return folder / "report.html"


def print_table(console: "Console", report: Mapping[str, Any]) -> None:
    """Print systems beside baselines, with the protocol of every column below the table.

    Raises:
        DataError: Where the report does not fit its schema.
    """
    from rich.table import Table

    checked = check_report(report)
    if checked.stage1 is not None:
        _print_stage1(console, checked.stage1)
    table = Table(title=checked.title, title_justify="left")
    table.add_column("predictor")
    for heading, _, _, more_is_better in checked.key_columns:
        table.add_column(f"{heading} {'↑' if more_is_better else '↓'}", justify="right")
    table.add_column("s/step", justify="right")
    table.add_column("render s", justify="right")
    for number, row in enumerate(checked.rows):
        cells = [format_number(row.metrics.get(name), digits) for _, name, digits, _ in checked.key_columns]
        times = (row.seconds_per_step, row.render_seconds) if isinstance(row, System) else (None, None)
        style = "bold" if isinstance(row, System) else "dim"
        ends = number == len(checked.systems) - 1
        table.add_row(row.name, *cells, *(format_number(t, 3) for t in times), style=style, end_section=ends)
    console.print(table)
    for system in checked.systems:
        line = f"  {system.name:<16} {system.words}"
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    for heading, name, _, _ in checked.key_columns:
        if any(row.metrics.get(name) is not None for row in checked.rows):
            console.print(f"  {heading:<16} {name}", style="dim", markup=False, highlight=False)
    for check in checked.checks:
        mark, style = ("met", "green") if check.passed else ("NOT MET", "red")
        line = f"  {mark:<8} {check.claim}: {check.got} (required: {check.required})"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _print_stage1(console: "Console", stage1: Stage1) -> None:
    """Print the trainings of stage 1, a column each, with what every row means."""
    from rich.table import Table

    table = Table(title="Stage 1: ego motion and depth, on held-out scenes", title_justify="left")
    table.add_column("figure")
    for row in stage1.rows:
        table.add_column(row.name.replace("_", " "), justify="right")
    table.add_column("what it is", style="dim")
    starts = (start_of(row) for row in stage1.rows)
    table.add_row("start, m", *starts, "flat depth that training starts from, wrong on purpose")
    table.add_row("read-out", *(row.readout for row in stage1.rows), "motion by flow and depth, or by the network")
    for column in stage1.columns:
        cells = [format_number(getattr(row, column.key), column.digits) for row in stage1.rows]
        table.add_row(column.heading, *cells, column.words)
    console.print(table)


def format_number(value: float | int | None, digits: int) -> str:
    """Return a number with fixed digits; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _without_nan(value: Any) -> Any:
    """Return plain data without NaN; NumPy and torch scalars become Python's."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _data_uri(path: Path) -> str:
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: pictures of a report must be one of {', '.join(kinds)}")
    if not path.is_file():
        raise DataError(f"{path}: no such picture for the report")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
