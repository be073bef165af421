"""Label the images of a data set: file by file, from where an earlier run ended, in as many processes as there are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from jaxtyping import Int8, UInt8

from gsocc.datasets.derived.label_targets import LabelTarget
from gsocc.datasets.images import BadImageError, read_image
from gsocc.datasets.read_ahead import read_ahead
from gsocc.datasets.semantic_labels import UNLABELED_RAW
from gsocc.files import atomic_write_bytes
from gsocc.labelling import Labeller
from gsocc.labels import RAW_NAMES
from gsocc.progress import ProgressBar

Image = UInt8[np.ndarray, "H W 3"]


@dataclass
class LabelReport:
    """What a run did.

    Attributes:
        written: Number of files written.
        bad_images: What is wrong with images that cannot be read; they got no file.
        pixels: Written pixels by raw id; the last entry has no label.
    """

    written: int = 0
    bad_images: list[str] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(len(RAW_NAMES) + 1, dtype=np.int64))

    def shares(self) -> dict[str, float]:
        """Return the share of written pixels by class, "no label" last; empty where nothing was written."""
        total = int(self.pixels.sum())
        names = [*RAW_NAMES, "no label"]
        return {name: n / total for name, n in zip(names, self.pixels.tolist(), strict=True) if n} if total else {}


def unfinished(
    targets: Sequence[LabelTarget], *, shard: tuple[int, int] = (0, 1), overwrite: bool = False
) -> tuple[list[LabelTarget], int]:
    """Return what a process has to label, and how many of its files are there and have one byte per pixel.

    Args:
        targets: Images and files of all processes.
        shard: (number of this process, number of processes). A process takes each so-many-th of the same list,
            whatever is done already, so that none is left out or done twice.
        overwrite: Also return those that are there.
    """
    rank, count = shard
    mine = list(targets[rank::count])
    wanted = [target for target in mine if overwrite or not target.is_labelled]
    return wanted, len(mine) - len(wanted)


def discard(targets: Sequence[LabelTarget]) -> None:
    """Delete label files before they are written anew.

    A run that replaces another labeller's files, and is stopped half-way, would otherwise keep the rest of those.
    """
    for target in targets:
        target.labels.unlink(missing_ok=True)


def write_labels(labeller: Labeller, targets: Sequence[LabelTarget], *, batch_size: int = 1) -> LabelReport:
    """Label images and write the files, each whole or not at all.

    An image that cannot be read does not stop the others; it is named in the report.

    Args:
        labeller: Labels images.
        targets: Images and files, see `unfinished`.
        batch_size: Images at a time, all of one size.

    Raises:
        DataError: Where an image is missing or of another size than the index says.
        OutputError: Where the disk is full or read-only.
        ValueError: Where the labeller returns something that is not a label image.
    """
    report = LabelReport()
    with ProgressBar(len(targets), "labelling", unit="images") as bar:
        for batch in _batches(targets, batch_size, report):
            labels = labeller.label([image for _, image in batch])
            for (target, _), values in zip(batch, labels, strict=True):
                _write(target, values, report)
            bar.advance(len(batch))
    return report


def _batches(
    targets: Sequence[LabelTarget], batch_size: int, report: LabelReport
) -> Iterator[list[tuple[LabelTarget, Image]]]:
    """Yield images of one size, read in a thread while those before them are labelled."""
    by_size = sorted(targets, key=lambda target: target.size)
    for _, group in groupby(by_size, key=lambda target: target.size):
        batch: list[tuple[LabelTarget, Image]] = []
        for target, image in read_ahead(_read, group, threads=1, ahead=2 * batch_size):
            if isinstance(image, BadImageError):
                report.bad_images.append(str(image))
                continue
            batch.append((target, image))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch


def _read(target: LabelTarget) -> tuple[LabelTarget, Image | BadImageError]:
    try:
        return target, read_image(target.image, target.size, target.size)
    except BadImageError as error:
        return target, error


def _write(target: LabelTarget, labels: Int8[np.ndarray, "H W"], report: LabelReport) -> None:
    counts = np.bincount(labels.view(np.uint8).reshape(-1), minlength=256)
    pixels = np.array([*counts[: len(RAW_NAMES)], counts[np.uint8(UNLABELED_RAW % 256)]], dtype=np.int64)
    if labels.shape != target.size or pixels.sum() != labels.size or pixels[0]:
        ids = np.unique(labels).tolist()
        raise ValueError(
            f"labeller: expected {target.size} (H, W) ids -1 or 1..{len(RAW_NAMES) - 1} for {target.image}, got "
            f"{labels.shape} with ids {ids}"
        )
    atomic_write_bytes(target.labels, labels.tobytes())
    report.pixels += pixels
    report.written += 1
