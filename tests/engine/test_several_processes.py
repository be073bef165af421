"""Training over processes, as torchrun starts them, with gloo on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_training import train

from gsocc.engine import load_checkpoint

HERE = Path(__file__).parent


def train_on_two(folder: Path, batch_size: int, steps: int) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(HERE / "ddp_training.py"), str(folder), str(batch_size), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_two_processes_train_like_one_with_the_doubled_batch_also_after_a_resume(tmp_path: Path) -> None:
    """DDP averages the gradients of equal shares, which is the gradient of the mean over the whole batch.

    Sums over two halves round differently than a sum over the whole, hence the tolerance of a few float32 ulps,
    grown over six steps of Adam.
    """
    train(tmp_path / "one", 4, 6)
    train_on_two(tmp_path / "two", 2, 3)
    train_on_two(tmp_path / "two", 2, 6)
    one, two = (load_checkpoint(tmp_path / name / "checkpoints" / "last") for name in ("one", "two"))
    assert one.meta["step"] == two.meta["step"] == 6
    for name, value in one.state.items():
        torch.testing.assert_close(two.state[name], value, rtol=1e-4, atol=1e-5)
