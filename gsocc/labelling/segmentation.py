"""Labels from a network that has a class for every pixel."""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, Int64, UInt8
from torch import Tensor

from gsocc.datasets.semantic_labels import UNLABELED_RAW
from gsocc.errors import CheckpointError, ConfigError
from gsocc.labelling.config import RAW_ID, SegmentationConfig
from gsocc.labelling.models import load_beside, load_network, model_type
from gsocc.labelling.running import Runner

_KEY = "labeller.model"
_UNIVERSAL = ("mask2former", "maskformer")  # classes and masks of queries instead of classes of pixels
_CLASSES_AT_A_TIME = 16  # of the enlarged scores, which would take gigabytes whole

Size = tuple[int, int]


class SegmentationLabeller:
    """Labels each pixel with the class that a segmentation network gives it.

    Args:
        config: The network and what its classes mean.
        runner: Device and precision.

    Raises:
        CheckpointError: Where the folder does not hold a semantic segmentation network.
        ConfigError: Where the network has a class of which the configuration says nothing, or lacks one.
    """

    def __init__(self, config: SegmentationConfig, runner: Runner) -> None:
        from transformers import (
            AutoImageProcessor,
            AutoModelForSemanticSegmentation,
            AutoModelForUniversalSegmentation,
        )
        from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

        known = {*MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES, *_UNIVERSAL}
        kind = model_type(config.model, _KEY, "a semantic segmentation network", known)
        self._is_universal = kind in _UNIVERSAL
        auto = AutoModelForUniversalSegmentation if self._is_universal else AutoModelForSemanticSegmentation
        self._network = load_network(auto, config.model, _KEY).to(runner.device)
        self._processor = load_beside(AutoImageProcessor, config.model, _KEY, "image processor")
        if getattr(self._processor, "do_center_crop", False):
            raise CheckpointError(
                f"{_KEY}: {config.model} looks at the middle of an image only (do_center_crop in "
                "preprocessor_config.json); expected a network that labels all of it"
            )
        names = [self._network.config.id2label[i] for i in range(self._network.config.num_labels)]
        self._raw_of = torch.from_numpy(raw_ids(names, config)).to(runner.device)
        self._runner, self._least_probability = runner, config.least_probability

    def label(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Int8[np.ndarray, "_ _"]]:
        """Return ids of the label files for RGB images, -1 where there is no label."""
        inputs = self._processor(images=list(images), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._runner.device)
        padded = (pixels.shape[-2], pixels.shape[-1])
        with self._runner.inference():
            scores = self._scores(self._network(pixel_values=pixels), padded)
        labels = []
        for number, image in enumerate(images):
            mask = inputs["pixel_mask"][number] > 0 if "pixel_mask" in inputs else None
            valid = padded if mask is None else (int(mask.any(1).sum()), int(mask.any(0).sum()))
            size = (image.shape[0], image.shape[1])
            winner, share = best_class(scores[number], padded, valid, size, are_logits=not self._is_universal)
            raw = self._raw_of[winner]
            if self._least_probability > 0:
                raw = raw.where(share >= self._least_probability, UNLABELED_RAW)
            labels.append(raw.to(torch.int8).cpu().numpy())
        return labels

    def _scores(self, outputs: Any, padded: Size) -> Float[Tensor, "B K h w"]:
        """Return logits of classes; of a universal network what Mask2Former compares, at the size of its input.

        That is the sum over queries of p(class) x mask (arXiv:2112.01527, section 3), masks enlarged as logits.
        """
        if not self._is_universal:
            logits: Tensor = outputs.logits
            return logits.float()
        classes = outputs.class_queries_logits.float().softmax(-1)[..., :-1]  # the last one is "no object"
        masks = F.interpolate(outputs.masks_queries_logits.float(), padded, mode="bilinear", align_corners=False)
        return torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid())


def raw_ids(names: Sequence[str], config: SegmentationConfig) -> Int64[np.ndarray, " K"]:
    """Return the id of the label files for each class of a network, -1 for those without a label.

    Args:
        names: The network's classes, in its order.
        config: What they mean.

    Raises:
        ConfigError: Where it says nothing of a class, or speaks of one that the network does not have.
    """
    raw_of = {word.strip().lower(): UNLABELED_RAW for word in config.unlabelled}
    for name, words in config.classes.items():
        both = [word for word in words if word in raw_of]
        if both:
            raise ConfigError(f"labeller.unlabelled: {both[0]!r} is also of class {name} in labeller.classes")
        raw_of |= dict.fromkeys(words, RAW_ID[name])
    own = [name.strip().lower() for name in names]
    unknown = [word for word in raw_of if word not in own]
    if unknown:
        near = difflib.get_close_matches(unknown[0], own, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"labeller.classes: the network has no class {unknown[0]!r}{hint}; its classes are {', '.join(own)}"
        )
    silent = [name for name in own if name not in raw_of]
    if silent:
        raise ConfigError(
            f"labeller.classes: {len(silent)} classes of the network have no class of the label files: "
            f"{', '.join(silent)}; name them in labeller.classes, or in labeller.unlabelled"
        )
    return np.array([raw_of[name] for name in own], dtype=np.int64)


def best_class(
    scores: Float[Tensor, "K h w"], padded: Size, valid: Size, size: Size, *, are_logits: bool
) -> tuple[Int64[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Return which class has the highest score in each pixel of the stored image, and its share of all classes.

    Scores are enlarged bilinearly before they are compared. What padding added to the right and below is cut off.

    Args:
        scores: Of K classes on the network's lattice, which spans the padded image.
        padded: (H, W) of what the network saw.
        valid: (H, W) of the image in it.
        size: (H, W) of the stored image.
        are_logits: The share is a softmax; else it is the score over the sum of scores, which must be positive.
    """
    winner = torch.zeros(size, dtype=torch.int64, device=scores.device)
    best = torch.full(size, -torch.inf, device=scores.device)
    total = torch.full(size, -torch.inf, device=scores.device)
    for first in range(0, len(scores), _CLASSES_AT_A_TIME):
        part = scores[None, first : first + _CLASSES_AT_A_TIME]
        if padded != valid:
            part = F.interpolate(part, padded, mode="bilinear", align_corners=False)[..., : valid[0], : valid[1]]
        part = F.interpolate(part, size, mode="bilinear", align_corners=False)[0]  # (k, H, W)
        high, which = part.max(0)
        winner = torch.where(high > best, which + first, winner)
        best = torch.maximum(best, high)
        total = torch.logaddexp(total, part.logsumexp(0) if are_logits else part.sum(0).log())
    return winner, (best - total).exp() if are_logits else best / total.exp()
