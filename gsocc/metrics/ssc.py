"""Semantic scene completion's scores: completion as one class, and a mean in which absent classes count as 0."""

from jaxtyping import Int
from torch import Tensor

from gsocc.labels import FREE, OCC3D_17


def ssc_scores(confusion: Int[Tensor, "18 18"]) -> dict[str, float]:
    """Return the four numbers of a completion table.

    `iou`, `precision` and `recall` are of occupied against free (SSCNet, arXiv:1611.08974); `miou` is the mean of
    tp / (tp + fp + fn) over the 17 classes as MonoScene (arXiv:2112.00726) takes it: a class that neither truth nor
    prediction holds counts as 0 (there, by 1e-5 in the denominator), which is why the number lies below Occ3D's on
    few frames.
    """
    counts = confusion.double()
    true_positive = float(counts[:FREE, :FREE].sum())
    false_positive, false_negative = float(counts[FREE, :FREE].sum()), float(counts[:FREE, FREE].sum())
    union = true_positive + false_positive + false_negative
    hits = counts.diagonal()
    ious = hits / (counts.sum(0) + counts.sum(1) - hits).clamp(min=1)  # the hits of an absent class are 0
    return {
        "iou": _ratio(true_positive, union),
        "precision": _ratio(true_positive, true_positive + false_positive),
        "recall": _ratio(true_positive, true_positive + false_negative),
        "miou": float(ious[list(OCC3D_17)].mean()),
    }


def _ratio(part: float | int, whole: float | int) -> float:
    return part / whole if whole else float("nan")
