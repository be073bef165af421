"""Score a share of made-up frames by every protocol, as each process of the rank test does."""

import numpy as np
import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction, take

from gsocc.labels import FREE
from gsocc.metrics import PROTOCOLS, ProtocolSuite
from gsocc.metrics.frames import FramePrediction, FrameTruth
from gsocc.structures.key_frame import KeyFrame

FRAMES = 19  # no multiple of 2 or 4, nor of the batch size: shares and last batches are uneven
BATCH = 2
NAMES = [
    *(name for name in PROTOCOLS if name.startswith("occ3d/") and name != "occ3d/selfocc"),
    "depth/nuscenes/80m",
    "depth/nuscenes/80m/median",
]


def score_share(rank: int, processes: int) -> tuple[dict[str, float], list[int]]:
    """Return the scores over all processes, and the frames that this one was fed, batch after batch."""
    labels = random_labels(FRAMES, seed=0)
    predicted = random_prediction(labels, seed=1)
    depth = torch.rand(FRAMES, 2, 4, 6, generator=torch.Generator().manual_seed(2)) * 60 + 1
    suite = ProtocolSuite(NAMES, grid=TINY_GRID, camera_names=("A", "B"))
    share = list(range(FRAMES))[rank::processes]
    for first in range(0, len(share), BATCH):
        frames = share[first : first + BATCH]
        part = slice(frames[0], frames[-1] + 1, processes)
        said = FramePrediction(predicted[part], (predicted[part] != FREE).float(), depth[part] * 1.3)
        key_frames = tuple(_key_frame(number) for number in frames)
        suite.update(said, FrameTruth(take(labels, part), depth[part], key_frames=key_frames, places=tuple(frames)))
    return suite.compute().metrics, share


def _key_frame(number: int) -> KeyFrame:
    """Return one of three key frames of a scene of its own, 0.3 m apart."""
    ego = np.tile(np.eye(4), (3, 1, 1))
    ego[:, 0, 3] = 0.3 * np.arange(3)
    return KeyFrame(str(number), str(number), "", number % 3, np.tile(np.eye(4), (3, 1, 1)), ego)
