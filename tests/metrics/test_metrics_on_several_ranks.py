import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from rank_scores import FRAMES, score_share

from gsocc.metrics import PROTOCOLS


def _rank(rank: int, processes: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    torch.save(score_share(rank, processes), folder / f"scores.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_score_as_one(tmp_path: Path, processes: int) -> None:
    """Trap 3 of the published evaluators is an mIoU that depends on the number of GPUs; sums do not.

    Every protocol there is, over 19 frames in batches of 2: on 4 processes three are fed 5 frames and one 4, and three
    end with a batch of one. Scores that follow a scene are fed its frames on one process.
    """
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_rank, args=(rank, processes, tmp_path)) for rank in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=240)
        assert worker.exitcode == 0
    whole, _, _ = score_share(0, 1)
    fed: tuple[list[int], list[int]] = ([], [])
    for rank in range(processes):
        scores, *shares = torch.load(tmp_path / f"scores.{rank}", weights_only=True)
        assert scores == pytest.approx(whole, rel=1e-12, nan_ok=True)
        for everything, share in zip(fed, shares, strict=True):
            everything += share
    assert [sorted(share) for share in fed] == [list(range(FRAMES))] * 2


def test_the_frames_of_that_test_have_a_number_for_every_protocol() -> None:
    """A protocol that is added is compared too, and a score that is NaN everywhere would compare nothing."""
    scores, _, _ = score_share(0, 1)
    for protocol in PROTOCOLS:
        numbers = [value for name, value in scores.items() if name.split(":")[0] == protocol]
        assert any(not math.isnan(value) for value in numbers), protocol
