"""One ego motion from all cameras of a rig and two moments."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsocc.geometry.se3 import invert_rigid
from gsocc.geometry.twist import axis_angle_to_motion, twist_to_motion
from gsocc.networks.backbones import Backbone

_STILL_RAD = 1e-4  # mean flow below this, a hundredth of a pixel, is not scaled up


class StackedPoseNet(nn.Module):
    """The joint pose network of SurroundDepth (arXiv:2204.03636), which GaussianOcc uses.

    A backbone looks at two images of a camera stacked along channels; its last features are averaged over the cameras,
    and a few convolutions make one motion of them. The pair is always (earlier, later); for a neighbour that lies
    before the key frame the predicted motion is inverted. It needs hours on a GPU: in minutes it learns the mean speed.

    Args:
        backbone: Built for a second image.
        width: Channels of the decoder.
        translation_scale: Metres per unit of raw output.
        rotation_scale: Radians per unit of raw output.
        twist: Read the six numbers as a twist; otherwise as rotation and translation apart, as the release does.
    """

    scales: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        width: int = 256,
        translation_scale: float = 0.01,
        rotation_scale: float = 0.01,
        twist: bool = True,
    ) -> None:
        super().__init__()
        self.to_motion = twist_to_motion if twist else axis_angle_to_motion
        self.backbone = backbone
        self.decoder = nn.Sequential(
            nn.Conv2d(backbone.channels[-1], width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 6, 1),
        )
        self.register_buffer("scales", _scales(translation_scale, rotation_scale), persistent=False)

    def forward(
        self, key: Float[Tensor, "B V 3 H W"], other: Float[Tensor, "B V 3 H W"], *, later: bool
    ) -> Float[Tensor, "B 4 4"]:
        """Return the motion of ego points from the key frame to the other.

        Args:
            key: RGB at the key frame.
            other: RGB at the neighbour.
            later: Whether the neighbour comes after the key frame.
        """
        batch, views = key.shape[:2]
        first, second = (key, other) if later else (other, key)
        stacked = self.backbone(first.flatten(0, 1), self.backbone.normalised(second.flatten(0, 1)))[-1]
        raw = self.decoder(stacked.unflatten(0, (batch, views)).mean(1)).float().mean((-1, -2))  # (B, 6)
        motion = self.to_motion(raw * self.scales)
        return motion if later else invert_rigid(motion)


class FlowPoseNet(nn.Module):
    """A small network on optical flow, ray directions and the key image, which learns speed on a CPU in minutes.

    Flow that is s times as large means a motion s times as large, as long as both are small; so flow is divided by its
    mean length over all cameras before the network, and the network's output multiplied by it. What is left to learn is
    the direction, the rotation and how far away things are.

    Args:
        width: Channels after the first convolution.
        translation_scale: Metres per unit of raw output and degree of mean flow.
        rotation_scale: Radians per unit of raw output and degree of mean flow.
    """

    scales: Tensor

    def __init__(self, *, width: int = 24, translation_scale: float = 0.3, rotation_scale: float = 0.05) -> None:
        super().__init__()
        widths = (8, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers)
        self.decoder = nn.Sequential(nn.Conv2d(widths[-1], width * 4, 1), nn.ReLU(inplace=True))
        self.last = nn.Linear(width * 4, 6)
        self.register_buffer("scales", _scales(translation_scale, rotation_scale), persistent=False)

    def forward(
        self,
        key: Float[Tensor, "B V 3 H W"],
        flow: Float[Tensor, "B V 2 H W"],
        rays: Float[Tensor, "B V 3 H W"],
    ) -> Float[Tensor, "B 4 4"]:
        """Return the motion of ego points from the key frame to the neighbour that the flow leads to.

        Args:
            key: RGB at the key frame, in [0, 1].
            flow: Flow over focal length, so that cameras of different focal length agree.
            rays: Unit viewing directions in the ego frame.
        """
        batch, views = key.shape[:2]
        # Not norm(), which takes a tenth of a training step along this axis.
        length = flow.square().sum(2).sqrt().mean((1, 2, 3)).clamp(min=_STILL_RAD)  # (B,)
        scaled = flow / length[:, None, None, None, None]
        inputs = torch.cat([key - 0.5, scaled, rays], 2).flatten(0, 1)  # (BV, 8, H, W)
        features = self.decoder(self.encoder(inputs)).mean((-1, -2))
        raw = self.last(features.unflatten(0, (batch, views)).mean(1)).float() * torch.rad2deg(length)[:, None]
        return twist_to_motion(raw * self.scales)


def _scales(translation: float, rotation: float) -> Tensor:
    return torch.tensor([translation] * 3 + [rotation] * 3)
