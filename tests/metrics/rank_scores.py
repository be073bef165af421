"""Score a share of made-up frames, as each process of the rank test does."""

import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction, take

from gsocc.labels import FREE
from gsocc.metrics import DepthMetric, OccupancyMetric, OccupancySuite, PerRankOccupancyMetric, RayIouMetric

FRAMES = 19  # no multiple of 2 or 4, nor of the batch size: shares and last batches are uneven
BATCH = 2


def score_share(rank: int, processes: int) -> tuple[dict[str, float], list[int]]:
    """Return the scores over all processes, and the frames that this one was fed, batch after batch."""
    labels = random_labels(FRAMES, seed=0)
    predicted = random_prediction(labels, seed=1)
    depth = torch.rand(FRAMES, 2, 4, 6, generator=torch.Generator().manual_seed(2)) * 60 + 1
    origins = torch.rand(FRAMES, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    suite, depths = OccupancySuite(TINY_GRID), DepthMetric(("A", "B"))
    rays = RayIouMetric(TINY_GRID)
    others = [OccupancyMetric("camera_lidar"), OccupancyMetric("none"), PerRankOccupancyMetric()]
    share = list(range(FRAMES))[rank::processes]
    for first in range(0, len(share), BATCH):
        frames = share[first : first + BATCH]
        part = slice(frames[0], frames[-1] + 1, processes)
        truth = take(labels, part)
        suite.update(predicted[part], (predicted[part] != FREE).float(), truth)
        depths.update(depth[part] * 1.3, depth[part])
        rays.update(predicted[part], truth, list(origins[part]))
        for metric in others:
            metric.update(predicted[part], truth)
    scores = suite.compute().metrics | depths.compute() | rays.compute()
    for metric in others:
        scores |= metric.compute()
    return scores, share
