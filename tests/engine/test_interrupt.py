"""Ctrl-C on a training in a process of its own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gsocc.engine import RunDirectory, load_checkpoint

HERE = Path(__file__).parent

SCRIPT = """
import sys
from pathlib import Path
from ddp_training import train
from gsocc.errors import run_reporting_errors
sys.exit(run_reporting_errors(lambda: train(Path(sys.argv[1]), 4, 1_000_000)))
"""


@pytest.mark.slow
def test_ctrl_c_saves_says_where_and_exits_with_130(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], cwd=HERE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").is_file() or not (folder / "metrics.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"what is saved can be resumed: {folder}/checkpoints/last" in message
    assert "Traceback" not in message
    run = RunDirectory(folder, "")
    saved = load_checkpoint(run.last).meta["step"]
    assert run.history()[-1]["step"] in (saved, saved - 1)
    assert not run.finished()
