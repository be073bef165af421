"""Tables of figures, for a terminal and for the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gsocc.errors import UserError
from gsocc.files import atomic_write_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """A table: a title, heads, rows of cells of which the first is a name, and remarks below."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number for a cell, a dash where there is none; seconds and gigabytes need three digits."""
    return "-" if value is None else f"{value:.{digits}f}"


def times(value: float | None) -> str:
    """Return a ratio for a cell."""
    if value is None:
        return "-"
    return f"{value:.2f}x" if value < 9.95 else f"{value:.1f}x"


def ratio(above: float | None, below: float | None) -> float | None:
    """Return the quotient, None where either is missing or nothing was measured."""
    return None if above is None or not below else above / below


def rich_table(sheet: Sheet) -> "Table":
    """Return the sheet for a terminal."""
    from rich import box
    from rich.table import Table

    caption = "\n".join(sheet.remarks) or None
    table = Table(
        title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1, 0, 0),
        caption=caption, caption_justify="left",
    )  # fmt: skip
    for index, head in enumerate(sheet.heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(sheets: Sequence[Sheet]) -> str:
    """Return the sheets as Markdown."""
    blocks = []
    for sheet in sheets:
        lines = [f"**{sheet.title}**", ""]
        lines.append("| " + " | ".join(sheet.heads) + " |")
        lines.append("|" + "|".join(["---", *["---:"] * (len(sheet.heads) - 1)]) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
        if sheet.remarks:
            lines += ["", *(f"- {remark}" for remark in sheet.remarks)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def read_sheet(path: Path, name: str) -> Sheet | None:
    """Return the first table between the marks of a page, as `markdown` wrote it; None where there is none."""
    page = path.read_text() if path.exists() else ""
    _, _, rest = page.partition(f"<!-- begin {name} -->")
    lines = rest.partition(f"<!-- end {name} -->")[0].splitlines()
    titles = [line for line in lines if line.startswith("**")]
    body = [tuple(line.strip("| ").split(" | ")) for line in lines if line.startswith("| ")]
    if not titles or not body:
        return None
    remarks = tuple(line.removeprefix("- ") for line in lines if line.startswith("- "))
    return Sheet(titles[0].strip("*"), body[0], tuple(body[1:]), remarks)


def write_markdown(path: Path, name: str, text: str) -> None:
    """Put text between `<!-- begin NAME -->` and `<!-- end NAME -->` of a page; a page that is missing is made of it.

    Raises:
        UserError: Where the page is there and has no such marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    page = path.read_text() if path.exists() else f"{begin}\n{end}\n"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"--markdown: {path} has no lines {begin} and {end} to write between")
    atomic_write_text(path, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
