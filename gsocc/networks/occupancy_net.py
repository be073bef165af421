"""Images of a rig in, an occupancy field out."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsocc.networks.backbones import Backbone
from gsocc.networks.lifting import GUIDANCE_CHANNELS, InterpolationLift
from gsocc.networks.pyramid_head import PyramidHead
from gsocc.networks.voxel_decoder import VOXEL_DECODERS
from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.voxel_grid import VoxelGrid

_LOG_NEAR, _LOG_FAR = math.log(1.5), math.log(80.0)  # range of the depth guess
_SURFACE_GAIN = 0.0


class OccupancyNet(nn.Module):
    """Backbone, pyramid head, lifting and voxel decoder.

    Args:
        backbone: Shared over cameras.
        grid: The voxels.
        num_classes: Semantic classes K, without free space.
        pyramid_width: Channels inside the pyramid head.
        lift_channels: Channels that are lifted. Projecting to few before lifting costs little and saves most of it.
        decoder: Name in `VOXEL_DECODERS`.
        initial_occupancy: Probability that a voxel is solid before training. Too high hides everything behind the
            first voxels; below 1/255 nothing is drawn and nothing is learned.
        depth_guided: Let each pixel guess its depth and tell voxels where they lie relative to it. A published network
            learns this inside its 3-D part in many epochs; a small one learns it in minutes this way.
        logit_gain: Factor on the raw free-space output, which speeds up the road from fog to surfaces.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: VoxelGrid,
        *,
        num_classes: int,
        pyramid_width: int = 64,
        lift_channels: int = 64,
        decoder: str = "hourglass3d",
        depth_guided: bool = False,
        initial_occupancy: float = 0.05,
        logit_gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not 1 / 255 < initial_occupancy < 1:
            raise ValueError(f"OccupancyNet: initial_occupancy must be in (1/255, 1), got {initial_occupancy}")
        if decoder not in VOXEL_DECODERS:
            raise ValueError(f"OccupancyNet: decoder must be one of {sorted(VOXEL_DECODERS)}, got {decoder!r}")
        self.grid = grid
        self.backbone = backbone
        self.depth_guided = depth_guided
        self.pyramid = PyramidHead(backbone.channels, pyramid_width, lift_channels + depth_guided)
        self.lift = InterpolationLift(grid)
        voxel_channels = lift_channels + (GUIDANCE_CHANNELS if depth_guided else 0)
        self.decoder = VOXEL_DECODERS[decoder](grid, voxel_channels, num_classes + 1)
        self.surface_gain = nn.Parameter(torch.tensor(_SURFACE_GAIN)) if depth_guided else None
        self.logit_gain = logit_gain
        self.free_bias = math.log((1 - initial_occupancy) / initial_occupancy)

    def forward(
        self,
        images: Float[Tensor, "B V 3 H W"],
        intrinsics: Float[Tensor, "B V 3 3"],
        cam_to_ego: Float[Tensor, "B V 4 4"],
    ) -> Float[Tensor, "B L X Y Z"]:
        """Return logits for `OccupancyField.from_logits`: K classes, then free space.

        A plain tensor, so that DDP can follow it.

        Args:
            images: RGB in [0, 1].
            intrinsics: K in pixels of `images`.
            cam_to_ego: Camera poses, metres.
        """
        batch, views, _, height, width = images.shape
        maps = self.pyramid(self.backbone(images.flatten(0, 1))).unflatten(0, (batch, views))
        rig = CameraRig(intrinsics, cam_to_ego, (height, width))
        maps, log_depth = maps.float(), None
        if self.depth_guided:
            maps, raw_depth = maps[:, :, :-1], maps[:, :, -1]
            log_depth = _LOG_NEAR + (_LOG_FAR - _LOG_NEAR) * torch.sigmoid(raw_depth)
        voxels = self.lift(maps, rig, log_depth)
        raw = self.decoder(voxels)
        free = raw[:, -1:] * self.logit_gain + self.free_bias
        if self.depth_guided:
            # A surface stands where pixels guess it unless the decoder disagrees: the loss reaches the guess at once.
            free = free - self.surface_gain * voxels[:, -GUIDANCE_CHANNELS][:, None]
        return torch.cat([raw[:, :-1], free], 1).float()
