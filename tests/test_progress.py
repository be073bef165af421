"""Progress without a terminal: plain lines with count, rate and remaining time."""

import pytest

import gsocc.progress
from gsocc.progress import ProgressBar, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(gsocc.progress.time, "monotonic", lambda: now[0])
    return now


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    assert list(track(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_lines_hold_count_rate_and_remaining_time(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    """Twenty items at 2 s each: after 6 s three are done at 2 s per item, and 17 need 34 s more."""
    for _ in track(range(20), label="writing", unit="frame"):
        clock[0] += 2.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "writing: 3/20 (15%) 2.00 s/frame, 0:34 left"
    assert lines[-1] == "writing: 20 done in 0:40"


def test_a_resumed_bar_does_not_count_what_was_done_before(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with ProgressBar(100, "training", unit="step") as bar:
        bar.start_at(90)
        clock[0] += 10.0
        bar.advance(5, detail="loss 0.5")
    assert capsys.readouterr().err.splitlines()[0] == "training: 95/100 (95%) 2.00 s/step, 0:10 left loss 0.5"


def test_a_generator_has_no_total(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    for _ in track((i for i in range(8)), label="reading"):
        clock[0] += 1.0
    assert capsys.readouterr().err.splitlines()[0] == "reading: 5 1.0 it/s"


def test_a_silent_bar_is_silent(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with ProgressBar(2, "training", enabled=False) as bar:
        clock[0] += 60.0
        bar.advance()
    assert capsys.readouterr().err == ""


def test_of_several_processes_the_first_speaks(
    capsys: pytest.CaptureFixture[str], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    for _ in track(range(20)):
        clock[0] += 2.0
    assert capsys.readouterr().err == ""
