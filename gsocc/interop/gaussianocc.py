"""Published GaussianOcc checkpoints."""

from pathlib import Path

from gsocc.interop.released_model import ReleasedModel, Size, load_released
from gsocc.interop.released_network import Voxels


def load_gaussianocc(
    folder: Path | str,
    *,
    voxels_zyx: Voxels = (24, 300, 300),
    image_size: Size = (384, 640),
    render_size: Size = (180, 320),
    backbone: str = "resnet101",
    parity: bool = True,
) -> ReleasedModel:
    """Load the stage-2 network of a published GaussianOcc folder.

    Args:
        folder: With encoder.pth and depth.pth.
        voxels_zyx: Voxels along z, y, x; multiples of 4.
        image_size: (H, W) of the images that it will see.
        render_size: (H, W) of its renderings.
        backbone: Name in `gsocc.networks.backbones.RESNETS`.
        parity: Lift with the release's mixed pixel convention, which the weights were trained with.

    Raises:
        CheckpointError: Where a file is missing, damaged or brings code, or where a live key is missing, left over or
            of another shape.
        UserError: For options that no such network can have.
    """
    return load_released(
        Path(folder),
        "gaussianocc",
        voxels_zyx=voxels_zyx,
        image_size=image_size,
        render_size=render_size,
        backbone=backbone,
        parity=parity,
    )
