"""Images of a rig in, an occupancy field out."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsocc.networks.backbones import Backbone
from gsocc.networks.lifting import LIFTS
from gsocc.networks.pyramid_head import NECKS
from gsocc.networks.voxel_decoder import VOXEL_DECODERS, Hourglass3d
from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.voxel_grid import VoxelGrid


class OccupancyNet(nn.Module):
    """Backbone, pyramid head, lifting and voxel decoder.

    Args:
        backbone: Shared over cameras.
        grid: The voxels.
        num_classes: Semantic classes K, without free space; 0 for occupancy alone.
        neck: Name in `NECKS`: "pyramid" merges all levels, "upsample" is that of OccNeRF and GaussianOcc.
        pyramid_width: Channels inside the neck; 256 in those two.
        lift_channels: Channels that are lifted. Projecting to few before lifting costs little and saves most of it.
        lift: Name in `LIFTS`: "half_pixel", or "released" for published weights.
        voxel_embedding: Multiply the lifted features by a learned factor per voxel and channel, which starts at one
            (OccNeRF): the network learns what is usually where around the vehicle.
        decoder: Name in `VOXEL_DECODERS`.
        initial_occupancy: Probability that a voxel is solid before training. Too high hides everything behind the
            first voxels; below 1/255 nothing is drawn and nothing is learned. At 0.5 nothing is added to the decoder's
            output, as in OccNeRF and GaussianOcc.
        logit_gain: Factor on the raw last output, which speeds up the road from fog to surfaces.
        last_channel: What the last logit says of a voxel: that it is "free" or "solid".
        full_precision_voxels: Under autocast, keep lifting and decoder in float32, as OccNeRF and GaussianOcc do.
        recompute_voxels: Compute the decoder's activations again in the backward pass; "hourglass3d" only.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: VoxelGrid | ContractedGrid,
        *,
        num_classes: int,
        neck: str = "pyramid",
        pyramid_width: int = 64,
        lift_channels: int = 64,
        lift: str = "half_pixel",
        voxel_embedding: bool = False,
        decoder: str = "hourglass3d",
        initial_occupancy: float = 0.05,
        logit_gain: float = 1.0,
        last_channel: Literal["free", "solid"] = "free",
        full_precision_voxels: bool = False,
        recompute_voxels: bool = False,
    ) -> None:
        super().__init__()
        if not 1 / 255 < initial_occupancy < 1:
            raise ValueError(f"OccupancyNet: initial_occupancy must be in (1/255, 1), got {initial_occupancy}")
        for option, name, known in (("neck", neck, NECKS), ("lift", lift, LIFTS), ("decoder", decoder, VOXEL_DECODERS)):
            if name not in known:
                raise ValueError(f"OccupancyNet: {option} must be one of {sorted(known)}, got {name!r}")
        self.grid = grid
        self.backbone = backbone
        self.pyramid = NECKS[neck](backbone.channels, pyramid_width, lift_channels)
        self.lift = LIFTS[lift](grid)
        self.voxel_embedding = nn.Parameter(torch.ones(1, lift_channels, *grid.shape)) if voxel_embedding else None
        self.decoder = VOXEL_DECODERS[decoder](grid, lift_channels, num_classes + 1)
        if recompute_voxels:
            if not isinstance(self.decoder, Hourglass3d):
                raise ValueError(f"OccupancyNet: recompute_voxels needs decoder 'hourglass3d', got {decoder!r}")
            self.decoder.recompute = True
        self.full_precision_voxels = full_precision_voxels
        self.logit_gain = logit_gain
        self.free_bias = math.log((1 - initial_occupancy) / initial_occupancy)
        self.last_bias = self.free_bias if last_channel == "free" else -self.free_bias

    def forward(
        self,
        images: Float[Tensor, "B V 3 H W"],
        intrinsics: Float[Tensor, "B V 3 3"],
        cam_to_ego: Float[Tensor, "B V 4 4"],
    ) -> Float[Tensor, "B L X Y Z"]:
        """Return logits for `OccupancyField.from_logits`: K classes, then free space (or solid matter, see above).

        A plain tensor, so that DDP can follow it.

        Args:
            images: RGB in [0, 1].
            intrinsics: K in pixels of `images`.
            cam_to_ego: Camera poses, metres.
        """
        batch, views, _, height, width = images.shape
        maps = self.pyramid(self.backbone(images.flatten(0, 1))).unflatten(0, (batch, views))
        rig = CameraRig(intrinsics, cam_to_ego, (height, width))
        mixed = torch.is_autocast_enabled(maps.device.type) and not self.full_precision_voxels
        with torch.autocast(maps.device.type, enabled=mixed):
            voxels = self.lift(maps.float(), rig)
            if self.voxel_embedding is not None:
                voxels = voxels * self.voxel_embedding
            raw = self.decoder(voxels)
        last = raw[:, -1:] * self.logit_gain + self.last_bias
        return torch.cat([raw[:, :-1], last], 1).float()
