"""From masks that overlap to one label per pixel, and from boxes that repeat each other to fewer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsocc.datasets.semantic_labels import UNLABELED_RAW


@dataclass(frozen=True)
class Boxes:
    """What a detector found in one image.

    Attributes:
        corners_px: Left, top, right, bottom in pixels of the stored image.
        scores: 0..1.
        class_ids: Ids of the label files, 1 or more.
    """

    corners_px: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    class_ids: Int[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Tensor | slice) -> "Boxes":
        return Boxes(self.corners_px[which], self.scores[which], self.class_ids[which])


class Canvas:
    """Labels of one image; each pixel goes to the mask of the highest rank that covers it, whatever their order.

    Args:
        size: (H, W).
        device: Where the masks will be.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self._labels = torch.full(size, UNLABELED_RAW, dtype=torch.int8, device=device)
        self._ranks = torch.full(size, -torch.inf, device=device)

    def paint(self, masks: Bool[Tensor, "N H W"], class_ids: Int[Tensor, " N"], ranks: Float[Tensor, " N"]) -> None:
        """Paint masks; of equal ranks the one that came first stays."""
        for mask, class_id, rank in zip(masks, class_ids, ranks, strict=True):
            wins = mask & (rank > self._ranks)
            self._labels = torch.where(wins, class_id.to(torch.int8), self._labels)
            self._ranks = torch.where(wins, rank, self._ranks)

    @property
    def labels(self) -> Int[Tensor, "H W"]:
        """Ids of the label files, -1 where no mask came."""
        return self._labels


def box_iou(a_px: Float[Tensor, "N 4"], b_px: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """Return the shared area over the joint area of each pair of boxes (left, top, right, bottom); 0 of empty ones."""
    low = torch.maximum(a_px[:, None, :2], b_px[None, :, :2])
    high = torch.minimum(a_px[:, None, 2:], b_px[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (N, M)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(-1) for box in (a_px, b_px)]
    joint = areas[0][:, None] + areas[1][None] - shared
    return torch.where(joint > 0, shared / joint.clamp(min=1e-12), torch.zeros_like(joint))


def drop_duplicates(boxes: Boxes, most_iou: float) -> Boxes:
    """Return boxes by falling score, without those that overlap a kept one of their class by more than `most_iou`."""
    boxes = boxes[boxes.scores.argsort(descending=True, stable=True)]
    same = boxes.class_ids[:, None] == boxes.class_ids[None]
    clash = (same & (box_iou(boxes.corners_px, boxes.corners_px) > most_iou)).cpu()
    kept: list[int] = []
    for i in range(len(boxes)):
        if not clash[i, kept].any():
            kept.append(i)
    return boxes[torch.tensor(kept, dtype=torch.long, device=boxes.scores.device)]
