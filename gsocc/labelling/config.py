"""What a YAML file in configs/labels says: which networks label images, and what their words mean.

Classes are those of the label files, by name (`gsocc.labels.RAW_NAMES`).
"""

import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gsocc.config import Config
from gsocc.labels import RAW_NAMES

RAW_ID: dict[str, int] = {name: i for i, name in enumerate(RAW_NAMES) if i > 0}  # 0 is never written
Words = dict[str, tuple[str, ...]]  # class of the label files -> words for it


class GroundedSamConfig(Config):
    """Text prompts -> boxes (Grounding DINO) -> masks (SAM) -> labels.

    Attributes:
        detector: Folder of a Grounding DINO, as transformers' `save_pretrained` writes it.
        segmenter: Folder of a SAM.
        prompts: What is looked for, by class.
        box_threshold: A box is kept where the score of one of its prompts is above.
        caption: The detector reads all prompts in one sentence, or one sentence per "class", which costs a pass each.
        paint: Who wins a pixel of several masks: the box of the highest "score", or the mask of the least "area".
        duplicate_iou: Drop a box that overlaps one of its class, of a higher score, by more than this; None keeps all.
        boxes_per_pass: How many masks are made at a time; bounds the memory.
    """

    name: Literal["grounded_sam"]
    detector: Path
    segmenter: Path
    prompts: Words
    box_threshold: float = Field(default=0.2, ge=0, lt=1)
    caption: Literal["all", "class"] = "all"
    paint: Literal["score", "area"] = "score"
    duplicate_iou: float | None = Field(default=None, gt=0, lt=1)
    boxes_per_pass: int = Field(default=32, ge=1)

    @field_validator("prompts")
    @classmethod
    def _check_prompts(cls, prompts: Words) -> Words:
        prompts = _checked(prompts)
        for prompt in _all_words(prompts):
            if any(mark in prompt for mark in ".?"):
                raise ValueError(f"prompt {prompt!r} must hold no full stop and no question mark: they end a prompt")
        return prompts


class SegmentationConfig(Config):
    """A network with a class for every pixel -> labels.

    Attributes:
        model: Folder of the network, as transformers' `save_pretrained` writes it.
        classes: Its classes by class of the label files.
        unlabelled: Its classes that get no label; each of its classes must be here or in `classes`.
        least_probability: Where the winner's probability is lower, there is no label either.
    """

    name: Literal["segmentation"]
    model: Path
    classes: Words
    unlabelled: tuple[str, ...] = ()
    least_probability: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: Words) -> Words:
        return _checked(classes)


class LabelConfig(Config):
    """How images are labelled.

    Attributes:
        labeller: The networks.
        batch_size: Images at a time, in each process.
        device: "auto" takes CUDA where there is one.
        precision: Mixed precision runs on CUDA only.
    """

    labeller: Annotated[GroundedSamConfig | SegmentationConfig, Field(discriminator="name")]
    batch_size: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"


def _checked(words: Words) -> Words:
    if not words:
        raise ValueError(f"expected words by class, got none; classes are {', '.join(RAW_ID)}")
    for name, own in words.items():
        if name not in RAW_ID:
            near = difflib.get_close_matches(name, RAW_ID, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"{name!r} is no class of the label files, expected one of {', '.join(RAW_ID)}{hint}; "
                f"words without a class: {', '.join(own) or 'none'}"
            )
        if not own or not all(word.strip() for word in own):
            raise ValueError(f"class {name}: expected at least one word and none empty, got {list(own)}")
    words = {name: tuple(word.strip().lower() for word in own) for name, own in words.items()}
    twice = [word for word, count in Counter(_all_words(words)).items() if count > 1]
    if twice:
        owners = [name for name, own in words.items() if twice[0] in own]
        raise ValueError(f"{twice[0]!r} is said twice, of {', '.join(owners)}; a word has one class")
    return words


def _all_words(words: Words) -> Iterable[str]:
    return (word for own in words.values() for word in own)
