from pathlib import Path
from typing import Any

import pytest

from gsocc.config import load_config
from gsocc.errors import ConfigError
from gsocc.labelling.config import RAW_ID, GroundedSamConfig, LabelConfig, SegmentationConfig
from gsocc.labels import RAW_NAMES

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "labels"


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    return load_config(path, LabelConfig).labeller


def grounded(prompts: str) -> str:
    return f"labeller: {{name: grounded_sam, detector: d, segmenter: s, prompts: {prompts}}}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_file_is_valid(path: Path) -> None:
    labeller = load_config(path, LabelConfig).labeller
    assert isinstance(labeller, GroundedSamConfig | SegmentationConfig)


def test_the_published_prompts_cover_every_class_of_the_label_files() -> None:
    """Classes and thresholds as documented of the published generator; id 0 is never written."""
    labeller = load_config(CONFIGS / "grounded_sam.yaml", LabelConfig).labeller
    assert isinstance(labeller, GroundedSamConfig)
    assert tuple(labeller.prompts) == RAW_NAMES[1:]
    assert [RAW_ID[name] for name in labeller.prompts] == list(range(1, 17))
    assert labeller.prompts["building"] == ("building", "bridge", "pole", "billboard", "light", "ashbin")
    assert (labeller.box_threshold, labeller.paint, labeller.caption) == (0.2, "score", "all")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("{sedam: [car]}", "'sedam' is no class of the label files.*did you mean sedan.*without a class: car"),
        ("{unused: [car]}", "'unused' is no class"),
        ("{}", "expected words by class, got none"),
        ("{sedan: []}", "class sedan: expected at least one word"),
        ("{sedan: ['']}", "class sedan: expected at least one word and none empty"),
        ("{sedan: [car], truck: [Car]}", "'car' is said twice, of sedan, truck"),
        ("{cone: ['St. Andrew']}", "must hold no full stop"),
    ],
)
def test_prompts_that_cannot_be_meant_are_refused(tmp_path: Path, prompts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, grounded(prompts))


def test_prompts_are_read_as_the_detector_reads_them(tmp_path: Path) -> None:
    """The published tokenizer is uncased."""
    assert read(tmp_path, grounded("{cone: [' Traffic Cone ']}")).prompts == {"cone": ("traffic cone",)}


def test_an_unknown_labeller_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labeller\.name: expected one of grounded_sam, segmentation, got 'sam'"):
        read(tmp_path, "labeller: {name: sam}")
