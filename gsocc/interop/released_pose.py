"""The pose network of GaussianOcc's stage 1 with published weights."""

from pathlib import Path

from gsocc.interop.released_files import ImportReport, read_released, take_tensors
from gsocc.interop.released_keys import POSE, POSE_ENCODER, published_pose_keys
from gsocc.networks.pose_depth_net import DepthConfig, PoseConfig, PoseDepthConfig, PoseDepthNet


def released_pose_config(backbone: str = "resnet34") -> PoseDepthConfig:
    """Return the configuration of the published pose network; there is no depth network beside it."""
    pose = PoseConfig(
        name="stacked",
        backbone=backbone,
        width=256,
        translation_scale=0.01,
        rotation_scale=0.01,
        image_statistics="monodepth2",
        twist=False,
        readout="network",
    )
    return PoseDepthConfig(depth=DepthConfig(backbone=None), pose=pose)


def has_pose(folder: Path) -> bool:
    """Return whether a published folder brings a pose network; half of one counts, and is refused when read."""
    return any((folder / file).is_file() for file in (POSE_ENCODER, POSE))


def load_released_pose(folder: Path | str, *, backbone: str = "resnet34") -> tuple[PoseDepthNet, ImportReport]:
    """Read pose_encoder.pth and pose.pth into a network in evaluation mode.

    Args:
        folder: Of a GaussianOcc checkpoint.
        backbone: Name in `RESNETS`; ResNet-34 in the release.

    Raises:
        CheckpointError: Where the files are missing, damaged or those of another network.
    """
    folder = Path(folder)
    states = {file: read_released(folder / file) for file in (POSE_ENCODER, POSE)}
    net = PoseDepthNet(released_pose_config(backbone))
    own = net.state_dict()
    state, report = take_tensors(folder, states, published_pose_keys(own), own)
    net.load_state_dict(state)
    return net.eval(), report
