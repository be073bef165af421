"""Published OccNeRF checkpoints."""

from pathlib import Path

from gsocc.interop.released_model import ReleasedModel, Size, load_released
from gsocc.interop.released_network import Voxels


def load_occnerf(
    folder: Path | str,
    *,
    voxels_zyx: Voxels = (24, 300, 300),
    image_size: Size = (336, 672),
    render_size: Size = (180, 320),
    backbone: str = "resnet101",
    parity: bool = True,
) -> ReleasedModel:
    """Load the network of a published OccNeRF folder, of the semantic or of the depth recipe.

    Which of the two it is, the files say. Arguments and errors are those of `load_gaussianocc`.
    """
    return load_released(
        Path(folder),
        "occnerf",
        voxels_zyx=voxels_zyx,
        image_size=image_size,
        render_size=render_size,
        backbone=backbone,
        parity=parity,
    )
