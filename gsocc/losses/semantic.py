"""Cross-entropy of rendered semantics against 2-D labels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gsocc.labels import IGNORE


def semantic_cross_entropy(
    logits: Float[Tensor, "N K H W"],
    labels: Int[Tensor, "N H W"],
    class_weights: Float[Tensor, " K"] | None = None,
) -> Float[Tensor, ""]:
    """Return ``sum(w l) / sum(w)`` over labelled pixels; 0 where no pixel has a label.

    Args:
        logits: Unnormalised scores.
        labels: Class indices into K; -1 carries no loss.
        class_weights: Weight per class, for instance from `class_weights_from_counts`.
    """
    losses = F.cross_entropy(logits, labels, weight=class_weights, ignore_index=IGNORE, reduction="sum")
    labelled = labels != IGNORE
    if class_weights is None:
        total = labelled.sum().to(logits.dtype)
    else:
        total = (class_weights[labels.clamp(min=0)] * labelled).sum()
    return losses / total.clamp(min=1e-6)


def class_weights_from_counts(counts: Float[Tensor, " K"], power: float) -> Float[Tensor, " K"]:
    """Return ``count^-power`` per class, scaled to mean 1 over classes that occur; 0 for those that do not."""
    present = counts > 0
    share = counts / counts.sum().clamp(min=1)
    weights = torch.where(present, share.clamp(min=1e-12) ** -power, torch.zeros_like(share))
    return weights / weights.sum().clamp(min=1e-12) * present.sum()
