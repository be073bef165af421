"""Labels from words: Grounding DINO finds boxes for prompts, SAM turns boxes into masks, masks are painted.

Grounding DINO (arXiv:2303.05499) reads all prompts in one sentence, each ended by a full stop, and scores each of its
boxes against each token of it. SAM (arXiv:2304.02643) makes one mask for a box. The published label files were made so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, Int64, UInt8
from torch import Tensor

from gsocc.errors import CheckpointError, ConfigError
from gsocc.labelling.config import RAW_ID, GroundedSamConfig
from gsocc.labelling.models import load_beside, load_network, model_type
from gsocc.labelling.painting import Boxes, Canvas, drop_duplicates
from gsocc.labelling.running import Runner

_DETECTORS = ("grounding-dino", "mm-grounding-dino")
_SEGMENTERS = ("sam",)


@dataclass(frozen=True)
class Caption:
    """A sentence for the detector.

    Attributes:
        text: Prompts, each ended by a full stop.
        tokens: The tokenizer's numbers, one row.
        spans: Where the tokens of each prompt begin and end in that row.
        class_ids: Id of the label files of each prompt.
    """

    text: str
    tokens: dict[str, Int64[Tensor, "1 T"]]
    spans: tuple[tuple[int, int], ...]
    class_ids: Int64[Tensor, " P"]


class GroundedSamLabeller:
    """Labels what text prompts describe.

    Args:
        config: The two networks and the prompts.
        runner: Device and precision.

    Raises:
        CheckpointError: Where a folder does not hold the network that it should.
        ConfigError: Where the prompts do not fit into one sentence of the detector.
    """

    def __init__(self, config: GroundedSamConfig, runner: Runner) -> None:
        from transformers import AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer, SamModel

        self._config, self._runner = config, runner
        where = "labeller.detector"
        model_type(config.detector, where, "a Grounding DINO", _DETECTORS)
        self._detector = load_network(AutoModelForZeroShotObjectDetection, config.detector, where).to(runner.device)
        self._detector_images = load_beside(AutoImageProcessor, config.detector, where, "image processor")
        tokenizer = load_beside(AutoTokenizer, config.detector, where, "tokenizer")
        self._captions = make_captions(config, tokenizer, int(self._detector.config.max_text_len))
        where = "labeller.segmenter"
        model_type(config.segmenter, where, "a SAM", _SEGMENTERS)
        self._segmenter = load_network(SamModel, config.segmenter, where).to(runner.device)
        self._segmenter_images = load_beside(AutoImageProcessor, config.segmenter, where, "image processor")

    def label(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Int8[np.ndarray, "_ _"]]:
        """Return ids of the label files for RGB images, -1 where no prompt was found."""
        found = self.detect(images)
        inputs = self._segmenter_images(images=list(images), return_tensors="pt")
        labels = []
        for number, (image, boxes) in enumerate(zip(images, found, strict=True)):
            canvas = Canvas((image.shape[0], image.shape[1]), self._runner.device)
            if len(boxes):
                for part, masks in self._masks(inputs, number, boxes):
                    ranks = part.scores if self._config.paint == "score" else -masks.flatten(1).sum(1).float()
                    canvas.paint(masks, part.class_ids, ranks)
            labels.append(canvas.labels.cpu().numpy())
        return labels

    def detect(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Boxes]:
        """Return the boxes of each RGB image, those of the highest score first."""
        inputs = self._detector_images(images=list(images), return_tensors="pt")
        pixels = {key: inputs[key].to(self._runner.device) for key in ("pixel_values", "pixel_mask") if key in inputs}
        found: list[list[Boxes]] = [[] for _ in images]
        for caption in self._captions:
            tokens = {k: v.to(self._runner.device).expand(len(images), -1) for k, v in caption.tokens.items()}
            with self._runner.inference():
                outputs = self._detector(**pixels, **tokens)
            for number, image in enumerate(images):
                size = (image.shape[0], image.shape[1])
                logits, boxes = outputs.logits[number].float(), outputs.pred_boxes[number].float()
                found[number].append(read_boxes(logits, boxes, caption, size, self._config.box_threshold))
        return [self._joined(boxes) for boxes in found]

    def _joined(self, parts: Sequence[Boxes]) -> Boxes:
        boxes = Boxes(
            torch.cat([part.corners_px for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.class_ids for part in parts]),
        )
        if self._config.duplicate_iou is not None:
            return drop_duplicates(boxes, self._config.duplicate_iou)
        return boxes[boxes.scores.argsort(descending=True, stable=True)]

    def _masks(self, inputs: Any, number: int, boxes: Boxes) -> Iterator[tuple[Boxes, Bool[Tensor, "N H W"]]]:
        """Yield some of the boxes of an image with their masks at a time."""
        stored, resized = (torch.as_tensor(inputs[key][number]) for key in ("original_sizes", "reshaped_input_sizes"))
        scale = (resized / stored).flip(0).repeat(2).to(boxes.corners_px)  # x, y, x, y
        with self._runner.inference():
            pixels = inputs["pixel_values"][number : number + 1].to(self._runner.device)
            embedding = self._segmenter.get_image_embeddings(pixels)
        for first in range(0, len(boxes), self._config.boxes_per_pass):
            part = boxes[slice(first, first + self._config.boxes_per_pass)]
            with self._runner.inference():
                outputs = self._segmenter(
                    image_embeddings=embedding, input_boxes=(part.corners_px * scale)[None], multimask_output=False
                )
            masks = self._segmenter_images.post_process_masks(
                outputs.pred_masks.float(),
                stored[None],
                resized[None],  # (1, N, 1, h, w)
            )
            yield part, masks[0][:, 0]


def read_boxes(
    logits: Float[Tensor, "Q T"],
    boxes: Float[Tensor, "Q 4"],
    caption: Caption,
    size: tuple[int, int],
    threshold: float,
) -> Boxes:
    """Return the boxes that a prompt describes; each has the prompt of its strongest token, and that token's score.

    Args:
        logits: Of each query for each token, -inf where the sentence has no token.
        boxes: Centre x, centre y, width and height as shares of the image.
        caption: The sentence.
        size: (H, W) of the stored image.
        threshold: Boxes score above it.
    """
    probabilities = logits.sigmoid()
    scores, prompts = torch.stack([probabilities[:, a:b].amax(1) for a, b in caption.spans], 1).max(1)  # (Q,)
    height, width = size
    half = boxes[:, 2:] / 2
    limits = boxes.new_tensor([width, height])
    low, high = ((boxes[:, :2] + sign * half).clamp(0, 1) * limits for sign in (-1, 1))
    kept = (scores > threshold) & (high > low).all(1)
    corners_px = torch.cat([low, high], 1)
    return Boxes(corners_px[kept], scores[kept], caption.class_ids.to(prompts.device)[prompts[kept]])


def make_captions(config: GroundedSamConfig, tokenizer: Any, longest: int) -> list[Caption]:
    """Return the sentences for the detector: one, or one per class.

    Args:
        config: Prompts and their classes.
        tokenizer: The detector's.
        longest: How many tokens it reads.

    Raises:
        CheckpointError: Where the tokenizer has no full stop, by which the detector tells prompts apart.
        ConfigError: Where a sentence is too long.
    """
    words = [(word, RAW_ID[name]) for name, own in config.prompts.items() for word in own]
    if config.caption == "class":
        groups = [[(word, i) for word, i in words if i == RAW_ID[name]] for name in config.prompts]
    else:
        groups = [words]
    return [_caption(config, group, tokenizer, longest) for group in groups]


def _caption(config: GroundedSamConfig, words: Sequence[tuple[str, int]], tokenizer: Any, longest: int) -> Caption:
    text = " ".join(f"{word}." for word, _ in words)
    tokens = dict(tokenizer(text, return_tensors="pt"))
    numbers = tokens["input_ids"][0].tolist()
    if len(numbers) > longest:
        raise ConfigError(
            f"labeller.prompts: {len(numbers)} tokens in one sentence, the detector reads {longest}; "
            "set labeller.caption: class, or drop prompts"
        )
    stop = tokenizer.convert_tokens_to_ids(".")
    ends = [i for i, number in enumerate(numbers) if number == stop]
    spans = tuple(zip([1, *(end + 1 for end in ends[:-1])], ends, strict=True)) if ends else ()
    if len(spans) != len(words) or any(end <= begin for begin, end in spans):
        raise CheckpointError(
            f"labeller.detector: the tokenizer in {config.detector} makes {len(spans)} phrases of {len(words)} "
            f"prompts ({text!r}); expected that of Grounding DINO (BERT, uncased)"
        )
    class_ids = torch.tensor([class_id for _, class_id in words])
    return Caption(text, tokens, spans, class_ids)
