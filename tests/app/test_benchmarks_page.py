"""docs/benchmarks.md: its commands exist, and what they write has its place."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from gsocc.app.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
COMMANDS = [
    *re.findall(r"^gsocc (bench .+)$", PAGE.replace("\\\n", " "), re.MULTILINE),
    *re.findall(r"`gsocc (bench \w+ --[^`]+)`", PAGE),
]


def test_the_page_has_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"render", "train", "occ", "stage1", "eval", "reader"}


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_of_the_page_exist(command: str) -> None:
    words = shlex.split(command)
    bench = typer.main.get_command(app).commands["bench"].commands[words[1]]
    known = {name for parameter in bench.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("text", [*COMMANDS, (ROOT / "Makefile").read_text()])
def test_tables_have_their_place(text: str) -> None:
    """Commands that write into the page name marks that are there, by default those of the command and device."""
    places = re.findall(r'--place "([^"]+)"', text)
    found = re.match(r"(bench \w+) --device (\w+) .*--markdown", text)
    for place in places or ([f"{found[1]} {found[2]}"] if found else []):
        assert f"<!-- begin {place} -->" in PAGE
        assert f"<!-- end {place} -->" in PAGE
