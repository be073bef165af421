"""The command line: quick help, exit codes, messages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gsocc.app.cli import app
from gsocc.app.environment import Finding, _extras, inspect_environment
from gsocc.errors import UserError, run_reporting_errors

HEAVY = ("torch", "numpy", "cv2", "pydantic", "yaml", "numba", "open3d", "lightning", "nuscenes", "matplotlib")


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "gsocc.app", *arguments]
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    environment.pop("GSOCC_DEBUG", None)
    return subprocess.run(call, capture_output=True, text=True, timeout=120, cwd=cwd, env=environment)


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [(*path, command.name or "") for command in group.registered_commands]
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        found += commands(inner.typer_instance, (*path, inner.name or ""))
    return found


def test_help_imports_nothing_heavy() -> None:
    """Half a second is the promise; a clock on a busy machine says little, the list of modules says why."""
    code = (
        "import sys; from typer.testing import CliRunner; from gsocc.app.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_help_takes_less_than_half_a_second_of_processor_time() -> None:
    before = os.times()
    assert command("--help").returncode == 0
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.5


@pytest.mark.parametrize("path", commands(app), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("verb", [group.name for group in app.registered_groups])
def test_a_verb_alone_lists_its_nouns(verb: str) -> None:
    result = CliRunner().invoke(app, [verb])
    assert "Commands" in result.output


def test_a_user_error_is_one_message_and_exit_code_1(tmp_path: Path) -> None:
    result = command("index", "nuscenes", str(tmp_path / "nope"))
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "nope" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in command("--debug", "index", "nuscenes", str(tmp_path / "nope")).stderr


def test_a_wrong_option_is_exit_code_2() -> None:
    assert CliRunner().invoke(app, ["index", "nuscenes", "--nope"]).exit_code == 2


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("gsocc ")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (UserError("x"), 1)])
def test_exit_codes_pass_through_typer(error: BaseException, code: int) -> None:
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def _fail() -> None:
        raise error

    assert run_reporting_errors(lambda: failing(args=[])) == code


def test_the_environment_report_covers_versions_devices_and_extras() -> None:
    names = [finding.name for finding in inspect_environment()]
    assert {"python", "torch", "torch threads", "extra nuscenes", "extra world,viewer", "extra cuda"} <= set(names)


def test_a_missing_extra_is_not_required_and_says_how_to_install_it() -> None:
    [finding] = _extras([("cuda", "no_such_module_of_ours", "")])
    fix = 'pip install torch==2.13.0 -c constraints.txt -e ".[cuda]"'
    assert finding == Finding("extra cuda", "no_such_module_of_ours is not installed", False, fix, required=False)
