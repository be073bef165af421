"""`gsocc label semantics` from the command line to files that training reads."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gsocc.app.cli import app
from gsocc.errors import run_reporting_errors
from gsocc.labelling import writing

CONFIG = """
labeller: {{name: segmentation, model: {model}, classes: {{sedan: [car], highway: [road]}}, unlabelled: [train]}}
batch_size: 4
device: cpu
"""
Run = Callable[..., Result]


@pytest.fixture
def config(red_or_blue: Path, tmp_path: Path) -> Path:
    path = tmp_path / "labels.yaml"
    path.write_text(CONFIG.format(model=red_or_blue))
    return path


@pytest.fixture
def run(tiny_world: Path, tmp_path: Path, config: Path) -> Run:
    def run(*options: str, dataset: str = "nuscenes", root: Path = tiny_world) -> Result:
        call = ["label", "semantics", dataset, str(root), "-c", str(config), "--out", str(tmp_path / "labels")]
        return CliRunner().invoke(app, [*call, *options])

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*_mask.bin")}


def test_every_key_frame_image_gets_its_file_and_a_second_run_keeps_them(run: Run, tmp_path: Path) -> None:
    first = run("--pictures", "2")
    assert first.exit_code == 0, first.output
    assert "36 label files written, 0 were there" in first.output
    written = files(tmp_path / "labels")
    assert len(written) == 36
    assert {len(content) for content in written.values()} == {48 * 80}
    assert set(b"".join(written.values())) <= {1, 2}
    assert all(name.startswith("samples/CAM_") for name in written)
    pictures = sorted((tmp_path / "labels" / "pictures").glob("*.png"))
    assert len(pictures) == 2 and cv2.imread(str(pictures[0])).shape[1] > 1280
    second = run()
    assert "0 label files written, 36 were there" in second.output
    assert files(tmp_path / "labels") == written


def test_a_try_on_few_images_labels_few(run: Run, tmp_path: Path) -> None:
    assert "7 label files written" in run("--limit", "7").output
    assert len(files(tmp_path / "labels")) == 7


def test_a_split_has_its_images(run: Run) -> None:
    assert "12 label files written" in run("--split", "val").output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "labeller.model=nowhere"), "labeller.model: no folder nowhere"),
        (("--split", "vall"), "split: expected one of"),
        (("--set", "labeller.unlabelled=[]"), "1 classes of the network have no class of the label files: train"),
        (("--set", "labeller.classes={sedam: [car]}"), "did you mean sedan"),
        (("--set", "precision=16-mixed"), "precision: expected 32-true on the CPU"),
    ],
)
def test_mistakes_of_the_user_are_messages(
    run: Run, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        result = run(*options)
        if result.exception is not None:
            raise result.exception

    assert run_reporting_errors(body) == 1
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_another_labeller_does_not_go_on_where_one_stopped(run: Run) -> None:
    assert run("--limit", "2").exit_code == 0
    other = ("--set", "labeller.least_probability=0.4")
    assert "made otherwise" in str(run(*other).exception)
    assert "made otherwise" in str(run(*other, "--overwrite", "--limit", "2").exception)
    again = run(*other, "--overwrite")
    assert again.exit_code == 0 and "36 label files written, 0 were there" in again.output
    assert "36 were there" in run(*other).output


def test_a_replacement_that_is_stopped_leaves_no_file_of_the_labeller_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second labeller writes one file and is stopped; what was not written again must not look finished."""
    assert run().exit_code == 0
    before = files(tmp_path / "labels")
    write = writing.atomic_write_bytes
    written: list[Path] = []

    def stop_after_one(path: Path, data: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(writing, "atomic_write_bytes", stop_after_one)
    other = ("--set", "labeller.least_probability=0.4")
    run(*other, "--overwrite")
    assert len(before) == 36 and len(files(tmp_path / "labels")) == 1
    monkeypatch.undo()
    assert "35 label files written, 1 were there" in run(*other).output


def test_an_index_of_another_data_set_is_refused(run: Run, tiny_world: Path) -> None:
    result = run("--index", str(tiny_world / "gsocc_index_v1.0-trainval.npz"), dataset="ddad")
    assert "expected an index of ddad, got one of nuscenes" in str(result.exception)


@pytest.mark.slow
def test_two_processes_of_torchrun_write_what_one_does(
    run: Run, tiny_world: Path, config: Path, tmp_path: Path
) -> None:
    assert run().exit_code == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gsocc.app"]
    call = ["label", "semantics", "nuscenes", str(tiny_world), "-c", str(config), "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *call], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("18 label files written, 0 were there") == 2
    assert files(tmp_path / "two") == files(tmp_path / "labels")


def test_colours_become_labels(run: Run, tiny_world: Path, tmp_path: Path) -> None:
    """Red things are sedans, blue ones highway; the network takes one pixel of sixteen, so what is thin may differ."""
    assert run("--limit", "6").exit_code == 0
    (name, content), *_ = sorted(files(tmp_path / "labels").items())
    (image,) = (tiny_world / name).parent.glob(f"{Path(name).stem.removesuffix('_mask')}.*")
    picture = cv2.imread(str(image)).astype(float)
    # As the network normalises: (value / 255 - mean) / std, per colour.
    redness = (picture[..., 2] / 255 - 0.485) / 0.229 - (picture[..., 0] / 255 - 0.406) / 0.225
    redness = cv2.blur(redness, (9, 9))
    labels = np.frombuffer(content, np.int8).reshape(48, 80)
    clear = np.abs(redness) > 0.3
    assert (labels[clear] == np.where(redness[clear] > 0, 1, 2)).mean() > 0.97
    assert set(np.unique(labels)) == {1, 2}
