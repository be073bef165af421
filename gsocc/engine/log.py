"""Where a run's numbers and pictures go: metrics.jsonl, TensorBoard, PNG files."""

from typing import Any

import cv2
import numpy as np

from gsocc.engine.run_directory import RunDirectory
from gsocc.files import atomic_write_bytes, output_errors


class RunLog:
    """Writes records and pictures in the main process, nothing in the others."""

    def __init__(self, run: RunDirectory, enabled: bool, first_step: int) -> None:
        self._run = run
        self.history: list[dict[str, Any]] = []
        self._writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter  # takes half a second

            self.history = run.rewind(first_step)
            self._writer = SummaryWriter(str(run.tensorboard), purge_step=first_step + 1 if first_step else None)

    def scalars(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Write numbers of a step; `kind` is "train" or "val"."""
        if self._writer is None:
            return
        record = {"step": step, "kind": kind, **values}
        self.history.append(record)
        self._run.append(record)
        with output_errors(self._run.tensorboard):
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Write RGB images (H, W, 3) of type uint8."""
        if self._writer is None:
            return
        for name, image in images.items():
            with output_errors(self._run.tensorboard):
                self._writer.add_image(name, image, step, dataformats="HWC")
            _, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
            atomic_write_bytes(self._run.panels / f"{step:07d}-{name.replace('/', '-')}.png", encoded.tobytes())

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            with output_errors(self._run.tensorboard):
                self._writer.close()
