"""Score a share of made-up frames by every protocol, as each process of the rank test does."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from metric_helpers import random_labels, random_prediction
from torch import Tensor

from gsocc.labels import FREE
from gsocc.metrics import PROTOCOLS, ProtocolSuite
from gsocc.metrics.frames import FramePrediction, FrameTruth
from gsocc.metrics.suite import needs_of
from gsocc.structures import OccupancyLabels, VoxelGrid
from gsocc.structures.key_frame import KeyFrame

GRID = VoxelGrid(min_m=(-3.2, -3.0, -1.0), shape=(16, 15, 14), voxel_m=(0.4, 0.4, 0.4))  # SelfOcc's crop leaves some
BATCH = 2
SCENES = (7, 5, 4, 3)  # frames of each; 19 in all, no multiple of 2 or 4, nor of the batch size
FRAMES = sum(SCENES)
BY_SCENE = tuple(name for name in PROTOCOLS if "sequence" in needs_of([name]))
BY_FRAME = tuple(name for name in PROTOCOLS if name not in BY_SCENE)


def score_share(rank: int, processes: int) -> tuple[dict[str, float], list[int], list[int]]:
    """Return the scores over all processes, and the frames that this one was fed: one by one, and scene by scene.

    Protocols that follow a scene get scenes whole, as an evaluation deals them out.
    """
    by_frame = list(range(FRAMES))[rank::processes]
    scenes = torch.arange(FRAMES).split(SCENES)[rank::processes]
    by_scene = [number for scene in scenes for number in scene.tolist()]
    scores = _score(BY_FRAME, [[n] for n in by_frame]) | _score(BY_SCENE, [scene.tolist() for scene in scenes])
    return scores, by_frame, by_scene


def _score(protocols: tuple[str, ...], parts: list[list[int]]) -> dict[str, float]:
    suite = ProtocolSuite(protocols, grid=GRID, camera_names=("A", "B"))
    said, truth = _frames()
    for numbers in _batches(number for part in parts for number in part):
        suite.update(_take_prediction(said, numbers), _take_truth(truth, numbers))
    return suite.compute().metrics


def _batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    everything = list(numbers)
    return (everything[first : first + BATCH] for first in range(0, len(everything), BATCH))


def _frames() -> tuple[FramePrediction, FrameTruth]:
    rng = torch.Generator().manual_seed(2)
    labels = random_labels(FRAMES, seed=0, grid=GRID)
    predicted = random_prediction(labels, seed=1)
    depth, rounded = (torch.rand(FRAMES, 2, 4, 6, generator=rng) * 250 for _ in range(2))
    images = [torch.randint(-1, 18, (FRAMES, 2, 4, 6), generator=rng) for _ in range(2)]
    said = FramePrediction(predicted, (predicted != FREE).float(), depth * 1.3 + 1, images[0].clamp(min=0))
    visible = torch.rand(FRAMES, 2, 3, 5, generator=rng) < 0.7
    key_frames = tuple(_key_frame(number) for number in range(FRAMES))
    places = tuple(range(FRAMES))
    return said, FrameTruth(labels, depth, rounded, visible, key_frames, images[1], places)


def _key_frame(number: int) -> KeyFrame:
    """Return a key frame of a scene that drives on by 0.3 m, with some returns around it."""
    scene, first = 0, 0
    while number >= first + SCENES[scene]:
        first += SCENES[scene]
        scene += 1
    ego = np.tile(np.eye(4), (SCENES[scene], 1, 1))
    ego[:, 0, 3] = 0.3 * np.arange(SCENES[scene])
    points = np.random.default_rng(number).uniform(-6.0, 6.0, (40, 3))
    previous = str(number - 1) if number > first else ""
    lidar = np.tile(np.eye(4), (SCENES[scene], 1, 1))
    return KeyFrame(str(number), str(scene), previous, number - first, lidar, ego, points)


def _take_prediction(said: FramePrediction, numbers: list[int]) -> FramePrediction:
    fields = (said.semantics, said.occupancy, said.depth_m, said.label_images)
    return FramePrediction(*(_pick(field, numbers) for field in fields))


def _take_truth(truth: FrameTruth, numbers: list[int]) -> FrameTruth:
    assert truth.labels is not None
    labels = (truth.labels.semantics, truth.labels.mask_camera, truth.labels.mask_lidar)
    return FrameTruth(
        OccupancyLabels(*(_pick(field, numbers) for field in labels)),
        _pick(truth.lidar_depth_m, numbers),
        _pick(truth.lidar_depth_round_m, numbers),
        _pick(truth.self_mask, numbers),
        tuple(truth.key_frames[number] for number in numbers),
        _pick(truth.label_images, numbers),
        tuple(truth.places[number] for number in numbers),
    )


def _pick(values: Tensor | None, numbers: list[int]) -> Tensor:
    assert values is not None
    return values[numbers].contiguous()
