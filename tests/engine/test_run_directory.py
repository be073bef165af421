"""Run directories: what they record and what they refuse to lose."""

import json
from pathlib import Path

import pytest

from gsocc.engine import RunDirectory, save_checkpoint
from gsocc.engine.run_directory import differences
from gsocc.errors import OutputError

CONFIG = "name: a\ntraining: {steps: 10}\n"
OTHER = "name: a\ntraining: {steps: 20}\n"


def unfinished(path: Path) -> RunDirectory:
    run = RunDirectory.create(path, CONFIG)
    save_checkpoint(run.last, {}, CONFIG, {})
    return run


def finished(path: Path) -> RunDirectory:
    run = unfinished(path)
    run.write_summary({"finished": True})
    return run


def test_configuration_and_versions_are_written(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    assert (run.path / "config.yaml").read_text() == CONFIG
    versions = json.loads((run.path / "versions.json").read_text())
    assert {"python", "torch", "numpy", "gsocc", "git", "device"} <= set(versions)


def test_a_run_that_can_be_lost_is_not_overwritten(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    with pytest.raises(OutputError, match=r"a finished run of another configuration \(training\.steps: 10 -> 20\)"):
        RunDirectory.create(tmp_path / "a", OTHER)
    unfinished(tmp_path / "b")
    with pytest.raises(OutputError, match="an unfinished run of the same configuration; go on with it"):
        RunDirectory.create(tmp_path / "b", CONFIG)


def test_a_run_that_never_saved_anything_is_started_over(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG)
    assert RunDirectory.create(tmp_path / "run", OTHER).config_yaml == OTHER


def test_overwriting_deletes_the_run_but_nothing_that_is_no_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    RunDirectory.create(run.path, OTHER, "overwrite")
    assert not run.last.exists()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="expected an empty folder or a run, found"):
        RunDirectory.create(tmp_path, CONFIG, "overwrite")
    assert (tmp_path / "thesis.tex").exists()


def test_resuming_wants_the_same_configuration_up_to_what_may_change(tmp_path: Path) -> None:
    run = unfinished(tmp_path / "run")
    assert RunDirectory.create(run.path, CONFIG, "resume").can_resume()
    with pytest.raises(OutputError, match=r"differs in training\.steps: 10 -> 20"):
        RunDirectory.create(run.path, OTHER, "resume")
    assert RunDirectory.create(run.path, OTHER, "resume", may_change=["training.steps"]).can_resume()
    assert not RunDirectory.create(tmp_path / "new", CONFIG, "resume").can_resume()


def test_a_line_that_a_crash_cut_off_is_left_out_and_steps_done_again_are_dropped(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    for step in (2, 4, 6):
        run.append({"step": step, "loss": float("nan")})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    assert [record["step"] for record in run.history()] == [2, 4, 6]
    assert run.rewind(4)[-1] == {"step": 4, "loss": None}
    assert [record["step"] for record in run.history()] == [2, 4]


def test_an_output_folder_below_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a part of the path is a file"):
        RunDirectory.create(tmp_path / "file" / "run", CONFIG)


def test_differences_name_the_keys() -> None:
    assert differences("a: {b: 1, c: 2}", "a: {b: 1}\nd: []") == ["a.c: 2 -> (absent)", "d: (absent) -> []"]
