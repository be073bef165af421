"""Writing a world: the same bytes every time, resumed where it was cut off, and never over something else."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gsocc.app.commands import world as command
from gsocc.datasets.world import DdadSpec, RigSpec, WorldSpec, writer
from gsocc.datasets.world.arguments import WorldArguments
from gsocc.datasets.world.workers import run_tasks
from gsocc.datasets.world.writer import JOURNAL, MANIFEST, write_world
from gsocc.errors import OutputError, UserError


def digest(root: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
def test_equal_arguments_give_equal_bytes(town_root: Path, town_spec: WorldSpec, tmp_path: Path) -> None:
    """Also when two processes share the work, and when the run was killed in between and went on."""
    again = write_world(town_spec, tmp_path / "two processes", workers=2)
    assert digest(again) == digest(town_root)


def test_an_interrupted_world_goes_on(
    town_root: Path, town_spec: WorldSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after one key frame of four leaves no world.json; the next run writes the other three only."""
    out, done = tmp_path / "world", []

    def stop_after_one(*arguments: object) -> Iterator:
        yield next(iter(run_tasks(*arguments)))
        raise KeyboardInterrupt

    def count(spec: WorldSpec, root: Path, tasks: list, workers: int) -> Iterator:
        for item in run_tasks(spec, root, tasks, workers):
            done.append(item[0])
            yield item

    monkeypatch.setattr(writer, "run_tasks", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        write_world(town_spec, out, workers=1)
    assert not (out / MANIFEST).exists() and (out / JOURNAL).exists()
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"task": [0, 1], "obj')  # a line that was cut off is not believed
    monkeypatch.setattr(writer, "run_tasks", count)
    write_world(town_spec, out, workers=1)
    assert done == [(0, 1), (1, 0), (1, 1)]
    assert digest(out) == digest(town_root)


def test_a_complete_world_is_kept(town_root: Path, town_spec: WorldSpec) -> None:
    """The second call touches no file."""
    before = {p: p.stat().st_mtime_ns for p in town_root.rglob("*")}
    assert write_world(town_spec, town_root, workers=1) == town_root
    assert {p: p.stat().st_mtime_ns for p in town_root.rglob("*")} == before


def test_another_world_is_not_overwritten(town_root: Path, town_spec: WorldSpec) -> None:
    """The message names what differs."""
    with pytest.raises(OutputError, match=r"another world \(seed 3 instead of 4\)"):
        write_world(replace(town_spec, seed=4), town_root, workers=1)


def test_a_folder_with_other_things_is_refused(town_spec: WorldSpec, tmp_path: Path) -> None:
    """A real data set at that place must survive."""
    (tmp_path / "samples").mkdir()
    with pytest.raises(OutputError, match=r"not empty \(it holds samples\)"):
        write_world(town_spec, tmp_path, workers=1)


def test_a_place_that_cannot_be_written_is_named(town_spec: WorldSpec, tmp_path: Path) -> None:
    """A file where a folder should be, seen by this process and by a worker alike."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_world(town_spec, tmp_path / "file" / "world", workers=1)


@pytest.mark.slow
def test_a_worker_that_cannot_write_says_where(town_spec: WorldSpec, tmp_path: Path) -> None:
    """The error of another process arrives as one message, not as a traceback."""
    out = tmp_path / "world"
    out.mkdir()
    (out / "samples").write_text("a file in the way")
    with pytest.raises(OutputError, match="samples"):
        list(run_tasks(town_spec, out, [(0, 0), (0, 1)], workers=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "preset: expected one of full, moderate, got 'huge'"),
        ({"sweeps": "some"}, "sweeps: expected one of near, all"),
        ({"image_size": (8, 200)}, "image_size: expected HxW of at least 16x16"),
        ({"keyframes": 0}, "keyframes: expected at least 1, got 0"),
        ({"val_scenes": 3}, "val_scenes is 3, more than the 2 scenes"),
        ({"scenes": 4000}, "at most 114 training scenes"),
        ({"lidar_noise_m": -0.1}, "lidar_noise_m: expected 0 to 1 m"),
    ],
)
def test_bad_arguments_are_refused(town_spec: WorldSpec, change: dict, message: str) -> None:
    """Each message says what was expected and what came."""
    with pytest.raises(UserError, match=message):
        replace(town_spec, **change)


def test_scenes_do_not_depend_on_their_number(town_spec: WorldSpec) -> None:
    """Asking for more training scenes changes neither the first ones nor the validation scenes."""
    more = replace(town_spec, scenes=5)
    assert more.scene_seed(0) == town_spec.scene_seed(0)
    assert more.scene_seed(4) == town_spec.scene_seed(1)
    assert more.scene_name(4) == town_spec.scene_name(1) == "scene-0003"


SMALL = {"scenes": 2, "seed": 3, "image_size": (48, 80)}


@pytest.mark.parametrize(
    ("spec", "seeds", "manifest"),
    [
        (
            WorldSpec(**SMALL, keyframes=4),
            [[3, 0, 0], [3, 1, 0]],
            '{"generator_version": 8, "scenes": 2, "keyframes": 4, "seed": 3, "image_size": [48, 80], "preset": "full",'
            ' "val_scenes": 1, "sweeps": "near", "lidar_noise_m": 0.0, "exact": false, "version": "v1.0-trainval"}',
        ),
        (
            DdadSpec(**SMALL, frames=4),
            [[3, 2, 0], [3, 3, 0]],
            '{"format": "ddad", "generator_version": 1, "scenes": 2, "frames": 4, "seed": 3, "image_size": [48, 80],'
            ' "preset": "full", "val_scenes": 1, "lidar_noise_m": 0.0, "image_format": "png", "exact": false}',
        ),
        (
            RigSpec(**SMALL, frames=4),
            [[3, 4, 0], [3, 5, 0]],
            '{"format": "rig", "generator_version": 1, "scenes": 2, "frames": 4, "seed": 3, "image_size": [48, 80],'
            ' "preset": "moderate", "val_scenes": 1, "lidar_noise_m": 0.0, "poses": true, "exact": false}',
        ),
    ],
    ids=["nuscenes", "ddad", "rig"],
)
def test_world_json_says_what_it_always_said(spec: WorldArguments, seeds: list[list[int]], manifest: str) -> None:
    """A world on disk is known by these arguments and drawn from these seeds: change either with its version only."""
    assert json.dumps(spec.as_json()) == manifest
    assert type(spec).from_json(json.loads(manifest)) == spec
    assert [spec.scene_seed(scene) for scene in range(2)] == seeds


def test_the_command_writes_a_world(tmp_path: Path) -> None:
    """`gsocc world nuscenes OUT` with small numbers; a wrong size is explained."""
    app = typer.Typer()
    app.command()(command.nuscenes)
    arguments = ["--scenes", "1", "--keyframes", "1", "--preset", "moderate", "--workers", "1"]
    done = CliRunner().invoke(app, [str(tmp_path / "w"), *arguments, "--image-size", "16x24"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "w" / MANIFEST).is_file()
    wrong = CliRunner().invoke(app, [str(tmp_path / "v"), *arguments, "--image-size", "16"])
    assert isinstance(wrong.exception, UserError)
    assert "expected HxW like 225x400, got '16'" in str(wrong.exception)


@pytest.mark.slow
def test_a_script_without_a_main_guard_can_write_a_world(tmp_path: Path) -> None:
    """Worker processes do not run the caller's script again, as spawned ones would."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom gsocc.datasets.world import write_nuscenes_world\n"
        "write_nuscenes_world(sys.argv[1], scenes=1, keyframes=2, seed=0, image_size=(16, 24), "
        "preset='moderate', workers=2)\n"
    )
    subprocess.run([sys.executable, str(script), str(tmp_path / "world")], check=True, timeout=300)
    assert (tmp_path / "world" / MANIFEST).is_file()
