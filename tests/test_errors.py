"""What a user sees of an error."""

import pytest

from gsocc.errors import DataError, UserError, run_reporting_errors


def raising(error: BaseException):
    def body() -> None:
        raise error

    return body


def test_success_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting_errors(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [UserError("no such thing; do that"), DataError("no such thing; do that")])
def test_a_user_error_is_one_line_without_traceback(
    error: UserError, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GSOCC_DEBUG", raising=False)
    assert run_reporting_errors(raising(error)) == 1
    assert capsys.readouterr().err == "error: no such thing; do that\n"


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting_errors(lambda: open("/nowhere/x")) == 1  # noqa: PTH123, SIM115
    assert capsys.readouterr().err == "error: /nowhere/x: No such file or directory\n"


def test_debug_shows_the_traceback_of_a_user_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_reporting_errors(raising(UserError("a")), debug=True)
    monkeypatch.setenv("GSOCC_DEBUG", "1")
    run_reporting_errors(raising(UserError("b")))
    assert capsys.readouterr().err.count("Traceback") == 2


def test_a_mistake_of_ours_shows_its_traceback_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting_errors(raising(IndexError("7"))) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "this is a bug in gsocc" in message


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(3), 3), (SystemExit(None), 0)])
def test_exit_codes(error: BaseException, code: int) -> None:
    assert run_reporting_errors(raising(error)) == code
