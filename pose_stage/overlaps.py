"""Overlap masks of the rigs that a training meets, computed once per calibration."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from gsocc.geometry.overlap import overlap_masks
from gsocc.losses.reprojection import pick_nearest
from gsocc.structures import CameraRig

_KEPT = 64  # rigs; nuScenes has one calibration per scene and vehicle


@dataclass(frozen=True)
class Overlaps:
    """Which pixels of view i view j sees too, [b, i, j].

    Attributes:
        whole: All of them: what must not become Gaussians where a side is masked out.
        inner: After erosion: what is compared.
    """

    whole: Bool[Tensor, "B V V H W"]
    inner: Bool[Tensor, "B V V H W"]


class OverlapCache:
    """Computes overlap masks and keeps them by calibration.

    Args:
        max_depth_m: How far rays are followed.
        erosion_px: Of `Overlaps.inner`.
    """

    def __init__(self, max_depth_m: float, erosion_px: int) -> None:
        self.max_depth_m, self.erosion_px = max_depth_m, erosion_px
        self._known: dict[tuple[bytes, tuple[int, int]], Overlaps] = {}

    def __call__(self, rig: CameraRig, valid_mask: Bool[Tensor, "B V H W"] | None = None) -> Overlaps:
        """Return the masks at the rig's image size.

        Args:
            rig: The cameras.
            valid_mask: False on pixels that show the ego vehicle, at any size.

        Raises:
            UserError: Where no two cameras overlap.
        """
        valid = None if valid_mask is None else pick_nearest(valid_mask, rig.image_size)
        items = [self._item(rig.item(b), None if valid is None else valid[b : b + 1]) for b in range(rig.batch_size)]
        return Overlaps(torch.cat([i.whole for i in items]), torch.cat([i.inner for i in items]))

    def _item(self, rig: CameraRig, valid: Tensor | None) -> Overlaps:
        # Calibration is a few hundred bytes; fetching it makes a GPU wait once per step, for microseconds.
        parts = [rig.intrinsics, rig.cam_to_ego] + ([] if valid is None else [valid])
        key = (b"".join(part.cpu().numpy().tobytes() for part in parts), rig.image_size)
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            whole = overlap_masks(rig, self.max_depth_m, valid_mask=valid)
            inner = whole
            if self.erosion_px:
                inner = overlap_masks(rig, self.max_depth_m, erode_px=self.erosion_px, valid_mask=valid)
            self._known[key] = Overlaps(whole, inner)
        found = self._known[key]
        device = rig.intrinsics.device
        return Overlaps(found.whole.to(device), found.inner.to(device))
