import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsocc.errors import CheckpointError, ConfigError
from gsocc.labelling import build_labeller
from gsocc.labelling.config import LabelConfig
from gsocc.labelling.grounded_sam import Caption, GroundedSamLabeller, read_boxes
from gsocc.labelling.painting import Boxes
from gsocc.labelling.running import Runner, choose_runner

PROMPTS = {"sedan": ["sedan"], "bicycle": ["bicycle", "bicyclists"], "sky": ["sky"]}
IMAGES = [np.random.default_rng(seed).integers(0, 256, (48, 80, 3), dtype=np.uint8) for seed in (0, 1)]


def build(detector: Path, segmenter: Path, **options: Any) -> GroundedSamLabeller:
    labeller = {"name": "grounded_sam", "detector": detector, "segmenter": segmenter, "prompts": PROMPTS, **options}
    config = LabelConfig.model_validate({"labeller": labeller, "device": "cpu"})
    built = build_labeller(config, choose_runner(config))
    assert isinstance(built, GroundedSamLabeller)
    return built


def found_by_transformers(detector: Path, threshold: float) -> list[tuple[list[float], float]]:
    """Return boxes and scores of the first image by transformers' own processor and reading."""
    from transformers import (
        AutoImageProcessor,
        AutoModelForZeroShotObjectDetection,
        AutoTokenizer,
        GroundingDinoProcessor,
    )

    processor = GroundingDinoProcessor(
        AutoImageProcessor.from_pretrained(detector), AutoTokenizer.from_pretrained(detector)
    )
    network = AutoModelForZeroShotObjectDetection.from_pretrained(detector)
    text = "sedan. bicycle. bicyclists. sky."
    with torch.no_grad():
        outputs = network(**processor(images=[IMAGES[0]], text=[text], return_tensors="pt"))
    outputs.logits[..., [0, 2, 4, 7, 9, 10]] = -torch.inf  # they count [CLS], [SEP] and full stops too
    (result,) = processor.post_process_grounded_object_detection(outputs, threshold=threshold, target_sizes=[(48, 80)])
    return list(zip(result["boxes"].tolist(), result["scores"].tolist(), strict=True))


def test_boxes_and_scores_are_those_that_transformers_reads(detector: Path, segmenter: Path) -> None:
    """The same network through transformers' own processor; ours are cut at the image's edge and sorted by score."""
    theirs = sorted(found_by_transformers(detector, 0.2), key=lambda item: -item[1])
    ours = build(detector, segmenter).detect(IMAGES[:1])[0]
    limits = np.array([80.0, 48.0, 80.0, 48.0])
    expected = [(np.clip(box, 0, limits), score) for box, score in theirs]
    expected = [(box, score) for box, score in expected if box[2] > box[0] and box[3] > box[1]]
    assert len(ours) == len(expected) > 0
    np.testing.assert_allclose(ours.scores, [score for _, score in expected], rtol=1e-5)
    order = np.argsort([score for _, score in expected], kind="stable")[::-1]
    assert ours.scores.tolist() == sorted(ours.scores.tolist(), reverse=True)
    np.testing.assert_allclose(
        sorted(ours.corners_px.tolist()), sorted(expected[i][0].tolist() for i in order), atol=1e-3
    )


def test_an_image_is_labelled_alike_alone_and_in_a_batch(detector: Path, segmenter: Path) -> None:
    labeller = build(detector, segmenter)
    together = labeller.label(IMAGES)
    alone = [labeller.label([image])[0] for image in IMAGES]
    for a, b in zip(together, alone, strict=True):
        assert a.shape == (48, 80) and a.dtype == np.int8
        assert (a == b).mean() > 0.995  # sums of a batch are rounded otherwise
        assert set(np.unique(a)) <= {-1, 1, 8, 16}
    assert any(len(np.unique(labels)) > 1 for labels in together)


def test_how_many_masks_are_made_at_a_time_does_not_matter(detector: Path, segmenter: Path) -> None:
    many, few = build(detector, segmenter), build(detector, segmenter, boxes_per_pass=3)
    assert (many.label(IMAGES[:1])[0] == few.label(IMAGES[:1])[0]).mean() > 0.995


def test_mixed_precision_labels_nearly_alike(detector: Path, segmenter: Path) -> None:
    """On the processor, where only a test asks for it: every step has to take what autocast gives."""
    full = build(detector, segmenter)
    labeller = {"name": "grounded_sam", "detector": detector, "segmenter": segmenter, "prompts": PROMPTS}
    config = LabelConfig.model_validate({"labeller": labeller})
    mixed = build_labeller(config, Runner(torch.device("cpu"), torch.bfloat16))
    (a,), (b,) = full.label(IMAGES[:1]), mixed.label(IMAGES[:1])
    assert b.dtype == np.int8 and b.shape == a.shape
    assert (a == b).mean() > 0.5  # a random network is on the edge everywhere; a wrong order of steps gives noise


def test_masks_are_those_of_transformers_for_a_box(detector: Path, segmenter: Path) -> None:
    """One sedan that fills the left half, through SAM's processor and ours; 48x80 pixels are 38x64 there."""
    from transformers import SamModel, SamProcessor

    box = [2.0, 3.0, 41.0, 45.0]
    labeller = build(detector, segmenter)
    one = Boxes(torch.tensor([box]), torch.tensor([0.9]), torch.tensor([1]))
    labeller.detect = lambda images: [one for _ in images]  # type: ignore[method-assign]
    (labels,) = labeller.label(IMAGES[:1])
    processor, network = SamProcessor.from_pretrained(segmenter), SamModel.from_pretrained(segmenter)
    inputs = processor(images=IMAGES[0], input_boxes=[[box]], return_tensors="pt")
    inputs["input_boxes"] = inputs["input_boxes"].float()
    with torch.no_grad():
        outputs = network(**inputs, multimask_output=False)
    (masks,) = processor.image_processor.post_process_masks(
        outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    np.testing.assert_array_equal(labels == 1, masks[0, 0].numpy())
    assert set(np.unique(labels)) <= {-1, 1}


def test_nothing_found_leaves_no_label(detector: Path, segmenter: Path) -> None:
    labeller = build(detector, segmenter, box_threshold=0.999999)
    labeller.detect = lambda images: [  # type: ignore[method-assign]
        Boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)) for _ in images
    ]
    assert (labeller.label(IMAGES[:1])[0] == -1).all()


def caption() -> Caption:
    """Return "sedan. traffic cone." as [CLS] sedan . traffic cone . [SEP]."""
    return Caption("sedan. traffic cone.", {}, ((1, 2), (3, 5)), torch.tensor([1, 15]))


def test_a_box_gets_the_prompt_of_its_strongest_token() -> None:
    """Worked by hand: sigmoid(ln 3) = 0.75, sigmoid(0) = 0.5, and [CLS] and full stops, however strong, are no prompt.

    The box is centred at (0.5, 0.5) of 40x80, half as high and a quarter as wide: 30..50 and 10..30.
    """
    nothing, strong = -4.0, float(np.log(3))
    logits = torch.tensor([[9.0, nothing, 9.0, nothing, strong, 9.0, 9.0], [nothing, 0.0, *[nothing] * 5]])
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.5], [0.0, 0.0, 0.5, 0.5]])
    found = read_boxes(logits, boxes, caption(), (40, 80), 0.2)
    assert found.class_ids.tolist() == [15, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.75, 0.5]))
    torch.testing.assert_close(found.corners_px, torch.tensor([[30.0, 10, 50, 30], [0, 0, 20, 10]]))


def test_a_box_at_the_threshold_or_without_area_is_dropped() -> None:
    logits = torch.full((2, 7), -4.0)
    logits[:, 1] = 0.0
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.5], [1.5, 0.5, 0.5, 0.5]])  # the second lies beside the image
    assert len(read_boxes(logits, boxes, caption(), (40, 80), 0.5)) == 0
    assert len(read_boxes(logits, boxes, caption(), (40, 80), 0.49)) == 1


def test_a_prompt_of_several_tokens_is_one_prompt(detector: Path, segmenter: Path) -> None:
    """The tokenizer splits "bicyclists" into two; tokens are [CLS] sedan . bicycle . bicyclist ##s . sky . [SEP]."""
    (whole,) = build(detector, segmenter)._captions
    assert whole.text == "sedan. bicycle. bicyclists. sky."
    assert whole.spans == ((1, 2), (3, 4), (5, 7), (8, 9))
    assert whole.class_ids.tolist() == [1, 8, 8, 16]


def test_a_sentence_for_each_class(detector: Path, segmenter: Path) -> None:
    labeller = build(detector, segmenter, caption="class")
    assert [c.text for c in labeller._captions] == ["sedan.", "bicycle. bicyclists.", "sky."]
    (found,) = labeller.detect(IMAGES[:1])
    assert set(found.class_ids.tolist()) <= {1, 8, 16}
    assert len(found) > 20  # three passes of 20 queries, nearly all of which a random network is sure of


def test_the_other_grounding_dino_is_read_too(detector: Path, segmenter: Path, tmp_path: Path) -> None:
    from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection

    shutil.copytree(detector, tmp_path, dirs_exist_ok=True)
    own = json.loads((detector / "config.json").read_text())
    kept = {key: own[key] for key in ("backbone_config", "text_config", "num_queries", "d_model")}
    kept |= {key: value for key, value in own.items() if key.startswith(("encoder_", "decoder_"))}
    torch.manual_seed(3)
    MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**kept)).save_pretrained(tmp_path)
    assert build(tmp_path, segmenter).label(IMAGES[:1])[0].shape == (48, 80)


def test_too_many_prompts_for_one_sentence_say_how_to_split_them(detector: Path, segmenter: Path) -> None:
    prompts = {"sedan": [f"sedan {'bicycle ' * i}" for i in range(1, 24)]}
    with pytest.raises(ConfigError, match=r"tokens in one sentence, the detector reads 256; set .*caption: class"):
        build(detector, segmenter, prompts=prompts)


def test_swapped_folders_are_named(detector: Path, segmenter: Path) -> None:
    with pytest.raises(CheckpointError, match=r"labeller.detector: .* type sam; expected a Grounding DINO"):
        build(segmenter, detector)
    with pytest.raises(CheckpointError, match=r"labeller.segmenter: .* type grounding-dino; expected a SAM \(sam\)"):
        build(detector, detector)


def test_a_missing_tokenizer_is_named(detector: Path, segmenter: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(detector / name, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"labeller\.detector: the tokenizer in"):
        build(tmp_path, segmenter)
