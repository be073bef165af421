"""Train past bad images: skip them, count them, stop when they are too many."""

import logging
from collections.abc import Sized
from typing import cast

import torch
from torch.utils.data import Dataset

from gsocc.datasets.images import BadImageError
from gsocc.errors import DataError
from gsocc.structures import SurroundSample

_LOG = logging.getLogger(__name__)
_NAMED = 3  # bad samples that an error names


class SkipBadSamples(Dataset[SurroundSample]):
    """A data set whose samples with bad images are replaced by the next good one. Not for evaluation.

    Only `BadImageError` is skipped: a file of another format, a missing label or a NaN is a mistake of the whole data
    set, and raises. Loader workers share the record of what is bad; `check` reads it in the main process.

    Args:
        dataset: Any data set of a known length.
        limit_share: Largest share of its samples that may be bad, in [0, 1].
    """

    def __init__(self, dataset: Dataset[SurroundSample], limit_share: float = 0.01) -> None:
        if not 0.0 <= limit_share <= 1.0:
            raise ValueError(f"limit_share must lie in [0, 1], got {limit_share}")
        self.dataset, self.limit_share = dataset, limit_share
        self._bad = torch.zeros(len(cast(Sized, dataset)), dtype=torch.bool).share_memory_()
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._bad)

    def __getitem__(self, number: int) -> SurroundSample:
        """Read a sample, or the next one whose images are good.

        Raises:
            DataError: Where no sample of the data set is good.
        """
        reason = ""
        for step in range(len(self)):
            candidate = (number + step) % len(self)
            if self._bad[candidate]:
                continue
            try:
                return self.dataset[candidate]
            except BadImageError as error:
                self._bad[candidate] = True
                reason = str(error)
        raise DataError(f"none of the {len(self)} samples has good images; {reason or self._reason(0)}")

    @property
    def skipped(self) -> int:
        """Number of samples found bad so far, by all workers."""
        return int(self._bad.sum())

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def check(self) -> None:
        """Log what was found bad since the last call. Call it in the main process.

        Raises:
            DataError: Where more than the allowed share of samples is bad; it names some of the files.
        """
        bad = self._bad.nonzero()[:, 0].tolist()
        for number in bad:
            if number not in self._reasons:
                self._reasons[number] = self._reason(number)
                _LOG.warning("skipped a sample, %d of %d so far: %s", len(bad), len(self), self._reasons[number])
        if len(bad) > self.limit_share * len(self):
            named = "; ".join(list(self._reasons.values())[:_NAMED]) + ("; ..." if len(bad) > _NAMED else "")
            raise DataError(
                f"{len(bad)} of {len(self)} samples have bad images, more than the {100 * self.limit_share:g} % that "
                f"a training may skip: {named}"
            )

    def _reason(self, number: int) -> str:
        """Read a bad sample again for its message: workers share numbers, not texts."""
        try:
            self.dataset[number]
        except BadImageError as error:
            return str(error)
        return f"sample {number} could be read the second time"
