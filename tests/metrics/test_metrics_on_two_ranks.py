import multiprocessing
from pathlib import Path

import pytest
import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction, take

from gsocc.labels import FREE
from gsocc.metrics import DepthMetric, OccupancySuite

FRAMES = 5  # odd, so that ranks get different numbers of frames


def _score(frames: slice) -> dict[str, float]:
    labels = random_labels(FRAMES, seed=0)
    predicted = random_prediction(labels, seed=1)
    depth = torch.rand(FRAMES, 2, 4, 6, generator=torch.Generator().manual_seed(2)) * 60 + 1
    suite, depths = OccupancySuite(TINY_GRID), DepthMetric(("A", "B"))
    suite.update(predicted[frames], (predicted != FREE).float()[frames], take(labels, frames))
    depths.update(depth[frames] * 1.3, depth[frames])
    return suite.compute().metrics | depths.compute()


def _rank(rank: int, store: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    scores = _score(slice(rank, FRAMES, 2))
    torch.save(scores, f"{out}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    """Trap 3 of the published evaluators is an mIoU that depends on the number of GPUs; sums do not."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_rank, args=(rank, str(tmp_path / "store"), str(tmp_path / "scores")))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    whole = _score(slice(None))
    for rank in range(2):
        scores = torch.load(tmp_path / f"scores.{rank}", weights_only=True)
        assert scores == pytest.approx(whole, rel=1e-12, nan_ok=True)
