"""Motion files: what a trained run says of every key frame, written once for stage 2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from gsocc.datasets.loader import make_loader
from gsocc.datasets.split import open_split
from gsocc.engine import default_device, load_checkpoint
from gsocc.progress import track
from gsocc.structures.motions import EgoMotions, save_motions
from pose_stage.checkpoint import find_run_checkpoint, load_run
from pose_stage.data import with_flow

Split = Literal["train", "val"]


def predict_motions(
    path: Path, out: Path, overrides: Sequence[str] = (), splits: Sequence[Split] = ("train", "val")
) -> EgoMotions:
    """Write the motions of all key frames of some splits into one file; needs images and calibration alone.

    `training.workers` processes read the images.

    Args:
        path: A run directory or a checkpoint folder.
        out: The file.
        overrides: Changes to the run's configuration, for example `data.root` or `model.pose.readout`.
        splits: Of the run's data.

    Returns:
        What the file holds.
    """
    model, config = load_run(path, overrides)
    model = model.eval().requires_grad_(False).to(default_device())
    checkpoint = load_checkpoint(find_run_checkpoint(path))
    rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for split in splits:
        dataset = with_flow(open_split(config.data, split), config)
        loader = make_loader(dataset, workers=config.training.workers)
        for batch in track(loader, len(loader), f"predicting {split}"):
            motion = model.predict_motion(batch.to(default_device()))
            rows[batch.tokens[0]] = (
                motion[0].float().cpu().numpy(),
                batch.frame_valid[0, 1:, 0].cpu().numpy(),
            )
    motions = EgoMotions(
        tokens=tuple(rows),
        frame_ids=(0, -1, 1),
        neighbours=config.data.neighbours,
        identity=f"{checkpoint.identity()}/{config.model.pose.readout}",
        ego_motion=np.stack([motion for motion, _ in rows.values()]),
        frame_valid=np.stack([valid for _, valid in rows.values()]),
    )
    save_motions(out, motions)
    return motions
