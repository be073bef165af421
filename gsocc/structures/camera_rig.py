"""Calibrated cameras of one vehicle."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class CameraRig:
    """Pinhole cameras, batched.

    Attributes:
        intrinsics: K in pixels of an image of `image_size`; pixel i spans [i, i + 1).
        cam_to_ego: Rigid poses; cam is x right, y down, z forward, ego is x forward, y left, z up, metres.
        image_size: (H, W) that `intrinsics` belong to.
    """

    intrinsics: Float[Tensor, "B V 3 3"]
    cam_to_ego: Float[Tensor, "B V 4 4"]
    image_size: tuple[int, int]

    @property
    def batch_size(self) -> int:
        """Number of batch items B."""
        return self.intrinsics.shape[0]

    @property
    def num_views(self) -> int:
        """Number of cameras V."""
        return self.intrinsics.shape[1]

    def to(self, device: torch.device | str) -> "CameraRig":
        """Return the rig on another device."""
        return replace(self, intrinsics=self.intrinsics.to(device), cam_to_ego=self.cam_to_ego.to(device))

    def resized(self, image_size: tuple[int, int]) -> "CameraRig":
        """Return the same cameras for images of another (H, W); intrinsics scale exactly."""
        height, width = self.image_size
        scale = self.intrinsics.new_tensor([image_size[1] / width, image_size[0] / height, 1.0])
        return CameraRig(self.intrinsics * scale[:, None], self.cam_to_ego, image_size)

    def item(self, index: int) -> "CameraRig":
        """Return batch item `index` as a batch of one."""
        return CameraRig(self.intrinsics[index : index + 1], self.cam_to_ego[index : index + 1], self.image_size)

    def validate(self) -> "CameraRig":
        """Check values, which makes a GPU wait: call it where data enter, not in a training step.

        Raises:
            ValueError: Where an intrinsic matrix is singular or not finite, or a pose is not rigid.
        """
        k = self.intrinsics
        bad = ~torch.isfinite(k).all(-1).all(-1) | (k[..., 0, 0] <= 0) | (k[..., 1, 1] <= 0)
        bad |= k.double().det().abs() < 1e-6
        if bool(bad.any()):
            b, v = bad.nonzero()[0].tolist()
            raise ValueError(
                f"CameraRig: intrinsics of view {v} (batch item {b}) must be finite with positive focal lengths, "
                f"got {k[b, v].tolist()}"
            )
        r = self.cam_to_ego[..., :3, :3].double()
        eye = torch.eye(3, dtype=torch.float64, device=r.device)
        off = (r @ r.transpose(-1, -2) - eye).abs().amax((-1, -2))
        bad = ~(off < 1e-3) | (r.det() < 0) | ~torch.isfinite(self.cam_to_ego).all(-1).all(-1)
        if bool(bad.any()):
            b, v = bad.nonzero()[0].tolist()
            raise ValueError(
                f"CameraRig: cam_to_ego of view {v} (batch item {b}) must be a rigid transform (rotation with "
                f"determinant +1), got {self.cam_to_ego[b, v].tolist()}"
            )
        return self
