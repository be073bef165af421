"""From a run directory to a network."""

from collections.abc import Sequence
from pathlib import Path

from gsocc.config import load_config
from gsocc.engine import find_checkpoint, load_checkpoint, load_into
from gsocc.errors import CheckpointError
from gsocc.networks.pose_depth_net import PoseDepthNet
from pose_stage.config import PoseRunConfig


def find_run_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder of a stage-1 run (`best`, else `last`), or `path` itself.

    Raises:
        CheckpointError: Where there is nothing at `path`.
    """
    return find_checkpoint(path, "gsocc train pose")


def load_run(path: Path, overrides: Sequence[str] = ()) -> tuple[PoseDepthNet, PoseRunConfig]:
    """Load a run's network together with the configuration that it was trained with.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to the configuration, for example `model.pose.readout=geometric`.

    Raises:
        CheckpointError: Where there is no checkpoint, or it does not fit the configuration.
    """
    checkpoint = load_checkpoint(find_run_checkpoint(path))
    config_path = checkpoint.folder / "config.yaml"
    if not config_path.is_file():
        raise CheckpointError(f"{config_path}: missing; a checkpoint is weights and configuration together")
    config = load_config(config_path, PoseRunConfig, overrides)
    model = PoseDepthNet(config.model.without_pretrained())
    load_into(model, checkpoint)
    return model, config
