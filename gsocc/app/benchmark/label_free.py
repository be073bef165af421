"""How well scores without labels rank predictions: the synthetic world's truth, damaged in known ways.

Every damage is scored with and without labels. What is asked of a score without labels is the order of systems, so the
agreement is Spearman's rank correlation; a score in which low is good is turned round first.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.random import Generator

from gsocc.datasets.index import find_index, read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.datasets.nuscenes_index import build_index
from gsocc.datasets.occ3d import occ3d_path, read_occ3d
from gsocc.datasets.world import write_nuscenes_world
from gsocc.errors import UserError
from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import ProtocolSuite, ground_plane
from gsocc.metrics.frames import FramePrediction, FrameTruth
from gsocc.progress import track
from gsocc.structures import OccupancyLabels
from gsocc.structures.key_frame import KeyFrame

Volume = UInt8[np.ndarray, "X Y Z"]
PROTOCOLS = ("occ3d/camera", "occ3d/camera/present", "occ3d/ray/17", "lidar/scan", "static/next")
TRUE = ("occ3d/camera:iou", "occ3d/camera/present:miou", "occ3d/ray/17:rayiou")
LABEL_FREE = (  # name, whether low is good
    ("lidar/scan:iou", False),
    ("lidar/scan:free_violation", True),
    ("lidar/scan:hit_recall", False),
    ("lidar/scan:ray_abs_rel", True),
    ("lidar/scan:ray_within_1m", False),
    ("static/next:iou", False),
    ("static/next:matched", False),
    ("static/next:class_agreement", False),
)


def lose(share: float) -> Callable[[Volume, Generator], Volume]:
    """Free a share of the occupied voxels."""
    return lambda v, rng: np.where((v != FREE) & (rng.random(v.shape) < share), FREE, v).astype(np.uint8)


def invent(share: float) -> Callable[[Volume, Generator], Volume]:
    """Fill a share of the free voxels with matter of class manmade."""
    return lambda v, rng: np.where((v == FREE) & (rng.random(v.shape) < share), OCC3D_ID["manmade"], v).astype(np.uint8)


def thicken(voxels: int) -> Callable[[Volume, Generator], Volume]:
    """Grow everything upwards and along x, as depth that is too short or blurred does."""

    def damage(v: Volume, rng: Generator) -> Volume:
        del rng  # nothing is drawn
        for _ in range(voxels):
            for axis in (2, 0):
                v = np.where(v == FREE, np.roll(v, 1, axis), v)
        return v

    return damage


def shift(voxels: int) -> Callable[[Volume, Generator], Volume]:
    """Move everything along x by the same number of voxels."""
    return lambda v, _: np.roll(v, voxels, 0)


def jitter(voxels: int) -> Callable[[Volume, Generator], Volume]:
    """Move every frame along x and y by other numbers of voxels, up to `voxels`."""
    return lambda v, rng: np.roll(v, tuple(rng.integers(-voxels, voxels + 1, 2)), (0, 1))


def confuse(share: float) -> Callable[[Volume, Generator], Volume]:
    """Give a share of the occupied voxels a class at random; shapes stay."""
    return lambda v, rng: np.where(
        (v != FREE) & (rng.random(v.shape) < share), rng.integers(0, FREE, v.shape), v
    ).astype(np.uint8)


DAMAGES: dict[str, Callable[[Volume, Generator], Volume]] = {
    "truth": lambda v, _: v,
    "lose 10 %": lose(0.1),
    "lose 30 %": lose(0.3),
    "lose 60 %": lose(0.6),
    "invent 0.3 %": invent(0.003),
    "invent 1 %": invent(0.01),
    "invent 5 %": invent(0.05),
    "thicken by 1": thicken(1),
    "thicken by 3": thicken(3),
    "shift by 1": shift(1),
    "shift by 3": shift(3),
    "jitter by 1": jitter(1),
    "jitter by 3": jitter(3),
    "confuse 30 %": confuse(0.3),
    "lose 30 %, invent 1 %": lambda v, rng: invent(0.01)(lose(0.3)(v, rng), rng),
    "thicken by 2, jitter by 2": lambda v, rng: jitter(2)(thicken(2)(v, rng), rng),
    "flat ground plane": lambda v, _: ground_plane().semantics.numpy(),
}

FEWEST = 3  # damages: two values of a score are always in perfect order, or in none


def prepare_label_free_world(world: Path) -> None:
    """Write the world that the documentation's tables are of, with its index, unless it is there.

    Raises:
        OutputError: Where the folder holds something else, or cannot be written to.
        MissingExtraError: Where open3d or the devkit is missing.
    """
    write_nuscenes_world(world, scenes=4, keyframes=4, seed=0, image_size=(48, 80), preset="moderate")
    if not list(world.glob("gsocc_index_*.npz")):
        build_index(world, "v1.0-trainval")


def validate_label_free(
    world: Path, *, split: str = "val", names: Sequence[str] = tuple(DAMAGES), seed: int = 0
) -> dict[str, Any]:
    """Score damaged truth with and without labels, and correlate.

    Args:
        world: A synthetic world with its index.
        split: Whose scenes, "all" for every scene.
        names: Keys of `DAMAGES`.
        seed: Of the damages.

    Returns:
        `frames`, `rows` (metrics by damage) and `agreement` (Spearman's correlation of each score without labels with
        each true score, over the damages).

    Raises:
        DataError: Where the world has no index, or lacks labels or scans.
        UserError: Where a damage is unknown, or there are too few to be put in order.
    """
    unknown = [name for name in names if name not in DAMAGES]
    if unknown:
        raise UserError(f"damages: expected some of {', '.join(DAMAGES)}, got {unknown[0]!r}")
    if len(set(names)) < FEWEST:
        raise UserError(f"damages: expected {FEWEST} or more, whose order can be compared, got {len(set(names))}")
    index = read_index(find_index(world))
    frames = [index.token(row) for row in index.split_rows(split).tolist()]
    reader = KeyFrameReader(index, world)
    suites = {name: ProtocolSuite(PROTOCOLS) for name in names}
    generators = {name: np.random.default_rng((seed, number)) for number, name in enumerate(DAMAGES)}
    work = ((one, name) for one in _truths(world, reader, frames) for name in names)
    for (frame, labels), name in track(work, len(frames) * len(names), "scoring damaged truth", "volumes"):
        truth = FrameTruth(labels, key_frames=(frame,))
        volume = torch.from_numpy(DAMAGES[name](labels.semantics[0].numpy(), generators[name]))[None].contiguous()
        suites[name].update(FramePrediction(volume, (volume != FREE).float()), truth)
    rows = {name: suite.compute().metrics for name, suite in suites.items()}
    return {"frames": len(frames), "rows": rows, "agreement": agreement(rows)}


def agreement(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return Spearman's correlation of each score without labels with each true score; high is agreement."""
    found: dict[str, dict[str, float]] = {}
    for name, low_is_good in LABEL_FREE:
        values = np.array([row[name] for row in rows.values()]) * (-1 if low_is_good else 1)
        found[name] = {}
        for true in TRUE:
            known = np.array([row[true] for row in rows.values()])
            both = np.isfinite(values) & np.isfinite(known)
            found[name][true] = spearman(values[both], known[both])
    return found


def spearman(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> float:
    """Return the correlation of ranks; equal values share their mean rank."""
    ranks = [_ranks(values) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def markdown(result: dict[str, Any]) -> str:
    """Return both tables for the documentation."""
    heads = [*TRUE, *(name for name, _ in LABEL_FREE)]
    lines = ["| truth, but | " + " | ".join(f"`{name}`" for name in heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | " + " | ".join(f"{row[head]:.3f}" for head in heads) + " |")
    lines += ["", "| rank correlation with | " + " | ".join(f"`{name}`" for name in TRUE) + " |", "|---|---|---|---|"]
    for name, row in result["agreement"].items():
        lines.append(f"| `{name}` | " + " | ".join(f"{row[true]:.2f}" for true in TRUE) + " |")
    return "\n".join(lines) + f"\n\n{result['frames']} key frames.\n"


def _truths(world: Path, reader: KeyFrameReader, tokens: list[str]) -> Iterator[tuple[KeyFrame, OccupancyLabels]]:
    for token in reader.in_order(tokens):
        frame = reader.read(token, with_scan=True)
        read = read_occ3d(occ3d_path(world / "gts", frame.scene, token))
        yield frame, OccupancyLabels(read.semantics[None], read.mask_camera[None], read.mask_lidar[None])


def _ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    smaller = (values[:, None] > values[None]).sum(1)
    equal = (values[:, None] == values[None]).sum(1)
    return smaller + (equal + 1) / 2
