"""Score prediction files against Occ3D labels: which files belong to which key frame, then one pass over all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gsocc.errors import DataError, UserError

if TYPE_CHECKING:
    from gsocc.datasets.index import SurroundIndex
    from gsocc.datasets.key_frames import KeyFrameReader
    from gsocc.metrics import OccupancyScores
    from gsocc.metrics.frames import FramePrediction, FrameTruth
    from gsocc.structures.key_frame import KeyFrame

_SHOWN = 3
_SPLITS = ("mini_val", "val", "mini_train", "train")


@dataclass(frozen=True)
class LabelFolder:
    """Occ3D labels below a folder.

    Attributes:
        root: Holds `<scene>/<token>/labels.npz`.
        scenes: Scene of every key frame that has a folder, by token.
    """

    root: Path
    scenes: dict[str, str]

    @classmethod
    def find(cls, root: Path) -> "LabelFolder":
        """List a folder of labels, or the `gts` of a data set.

        Raises:
            DataError: Where there is none.
        """
        root = root / "gts" if (root / "gts").is_dir() else root
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; expected Occ3D labels, <scene>/<token>/labels.npz")
        scenes = {
            frame.name: scene.name
            for scene in sorted(p for p in root.iterdir() if p.is_dir())
            for frame in scene.iterdir()
            if frame.is_dir()
        }
        if not scenes:
            raise DataError(f"{root}: holds no Occ3D labels; expected <scene>/<token>/labels.npz")
        return cls(root, scenes)

    @classmethod
    def of_index(cls, index: "SurroundIndex", root: Path) -> "LabelFolder":
        """Return the key frames of an index, for protocols that read no labels."""
        return cls(root / "gts", {index.token(row): index.scene(row) for row in range(len(index))})


def find_poses(labels: Path | None, data: Path | None, index: Path | None) -> "tuple[SurroundIndex, Path] | None":
    """Return the index with the poses of the key frames, and the data set's root; None where there is none.

    Args:
        labels: Folder of labels, which or whose parent is taken for the data set where `data` is None.
        data: Root of the data set.
        index: The index file; by default the one below the root.

    Raises:
        DataError: Where one was asked for and is not there.
    """
    from gsocc.datasets.index import default_index_path, find_index, read_index

    if index is None and data is None:
        for root in (labels, labels.parent) if labels is not None else ():
            if any(root.glob(default_index_path(root, "*").name)):
                return read_index(find_index(root)), root
        return None
    if index is not None:
        return read_index(index), data or (labels.parent if labels is not None else index.parent)
    assert data is not None
    return read_index(find_index(data)), data


def expected_frames(
    predicted: Collection[str],
    labels: LabelFolder,
    index: "SurroundIndex | None",
    split: str | None,
    tokens: Sequence[str] | None,
) -> set[str]:
    """Return the key frames that have to be predicted.

    Args:
        predicted: Those that are.
        labels: Those with labels.
        index: Knows the splits.
        split: Name of a split; by default the smallest one that holds all that is predicted, else all labels.
        tokens: A list in the place of a split.

    Raises:
        UserError: Where a split is asked for and no index says what it holds, or a frame that is asked for has no
            labels.
    """
    if split is not None and index is None:
        raise UserError("--split: no index says which key frames a split holds; give --data or --index")
    asked = set(tokens) if tokens is not None else None
    if asked is None and split is not None and index is not None:
        asked = {index.token(row) for row in index.split_rows(split).tolist()}
    if asked is not None:
        unlabelled = sorted(asked - set(labels.scenes))
        if unlabelled:
            raise DataError(f"{labels.root}: no Occ3D labels of {len(unlabelled)} key frames ({_some(unlabelled)})")
        return asked
    if index is None:
        return set(labels.scenes)
    known = set(predicted) & set(labels.scenes)
    for name in _SPLITS:
        if name in index.splits and index.splits[name][index.sample_scene].any():
            held = {index.token(row) for row in index.split_rows(name).tolist()}
            if known and known <= held:
                return held & set(labels.scenes)
    return set(labels.scenes)


def by_token(files: Sequence[Path]) -> dict[str, Path]:
    """Return prediction files by key frame.

    Raises:
        DataError: Where a frame is predicted twice, or a file is none of predictions.
    """
    from gsocc.structures.semantic_files import token_of

    found: dict[str, Path] = {}
    for path in files:
        token = token_of(path)
        if token in found:
            raise DataError(
                f"{path}: is a second prediction of frame {token}, see {found[token]}; it would count twice, remove one"
            )
        found[token] = path
    return found


def check_frames(predicted: Collection[str], expected: Collection[str], *, partial: bool = False) -> None:
    """Compare what is predicted with what has to be.

    Raises:
        DataError: Where a frame is missing (unless `partial`), or one is predicted that is not asked for.
    """
    extra = sorted(set(predicted) - set(expected))
    missing = sorted(set(expected) - set(predicted))
    wrong = []
    if missing and not partial:
        wrong.append(f"{len(missing)} of {len(expected)} key frames have no prediction ({_some(missing)})")
    if extra:
        wrong.append(f"{len(extra)} predictions are of no key frame that is scored ({_some(extra)})")
    if wrong:
        raise DataError(
            f"{'; '.join(wrong)}. Predict exactly the key frames that are scored, or say which they are with --split "
            "or --tokens; --partial scores the frames that are there"
        )


def score_files(
    files: dict[str, Path],
    labels: LabelFolder,
    protocols: Sequence[str],
    *,
    reader: "KeyFrameReader | None" = None,
    ground_z_m: float = 0.0,
    with_baselines: bool = True,
) -> "dict[str, OccupancyScores]":
    """Score prediction files and, on the same frames, the predictors that need no training, in one pass.

    Args:
        files: By key frame; at least one.
        labels: Their labels.
        protocols: Names in `gsocc.metrics.PROTOCOLS`, none of which needs rendered images.
        reader: Poses and scans, for the protocols that need them.
        ground_z_m: Where the ground lies; see `gsocc.metrics.AboveGroundMetric`.
        with_baselines: Score the trivial predictors too.

    Returns:
        Scores by predictor, "predicted" first.

    Raises:
        DataError: Where a prediction, a label or a scan is missing or damaged, or lies on another grid.
    """
    import torch

    from gsocc.datasets.read_ahead import read_ahead
    from gsocc.metrics import ProtocolSuite, all_free, all_occupied, ground_plane
    from gsocc.metrics.frames import FramePrediction
    from gsocc.progress import track

    guesses = {}
    if with_baselines:
        plane = ground_plane(ground_z_m=ground_z_m)
        guesses = {"all_free": all_free(), "all_occupied": all_occupied(), "ground_plane": plane}
    suites = {name: ProtocolSuite(protocols, ground_z_m=ground_z_m) for name in ("predicted", *guesses)}
    needs = suites["predicted"].needs

    def read(token: str) -> "tuple[FramePrediction, FrameTruth]":
        return _prediction(files[token]), _truth(token, labels, reader, needs)

    tokens = _in_order(files, labels, reader)
    frames = read_ahead(read, tokens, torch.get_num_threads())
    for number, (prediction, truth) in enumerate(track(frames, len(tokens), "scoring", unit="frames")):
        truth = replace(truth, places=(number,))
        suites["predicted"].update(prediction, truth)
        for name, guess in guesses.items():
            suites[name].update(FramePrediction(*guess.batch(1)), truth)
    return {name: suite.compute() for name, suite in suites.items()}


def _prediction(path: Path) -> "FramePrediction":
    import torch

    from gsocc.labels import FREE
    from gsocc.metrics.frames import FramePrediction
    from gsocc.structures.semantic_files import read_semantics

    volume = read_semantics(path)
    semantics = torch.from_numpy(volume.semantics)[None]
    if volume.occupancy is not None:
        return FramePrediction(semantics, torch.from_numpy(volume.occupancy)[None])
    return FramePrediction(semantics, (semantics != FREE).float())


def _truth(token: str, labels: LabelFolder, reader: "KeyFrameReader | None", needs: Collection[str]) -> "FrameTruth":
    from gsocc.datasets.occ3d import occ3d_path, read_occ3d
    from gsocc.metrics.frames import FrameTruth
    from gsocc.structures import OccupancyLabels

    batched = None
    if "labels" in needs:
        read = read_occ3d(occ3d_path(labels.root, labels.scenes[token], token))
        batched = OccupancyLabels(read.semantics[None], read.mask_camera[None], read.mask_lidar[None])
    frames: tuple[KeyFrame, ...] = ()
    if reader is not None and {"key_frames", "scans", "sequence"} & set(needs):
        frames = (reader.read(token, with_scan="scans" in needs),)
    return FrameTruth(batched, key_frames=frames)


def _in_order(files: dict[str, Path], labels: LabelFolder, reader: "KeyFrameReader | None") -> list[str]:
    """Return tokens scene by scene, in order of time where the poses are known."""
    if reader is not None:
        return reader.in_order(files)
    return sorted(files, key=lambda token: (labels.scenes.get(token, ""), token))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
