import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import write_processor

from gsocc.errors import CheckpointError, ConfigError
from gsocc.labelling import Labeller, build_labeller
from gsocc.labelling.config import LabelConfig
from gsocc.labelling.running import Runner, choose_runner
from gsocc.labelling.segmentation import SegmentationLabeller, best_class

CLASSES = {"sedan": ["car"], "highway": ["road"]}


def build(folder: Path, **options: Any) -> Labeller:
    labeller = {"name": "segmentation", "model": folder, "classes": CLASSES, "unlabelled": ["train"], **options}
    config = LabelConfig.model_validate({"labeller": labeller, "device": "cpu"})
    return build_labeller(config, choose_runner(config))


def red_left_of(column: int) -> np.ndarray:
    """Return an image of 48x80 that is red left of a column and blue right of it."""
    image = np.zeros((48, 80, 3), dtype=np.uint8)
    image[:, :column, 0] = image[:, column:, 2] = 255
    return image


@pytest.fixture
def copied(red_or_blue: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(red_or_blue, tmp_path / "copy"))


def test_each_half_gets_the_class_of_its_colour(red_or_blue: Path) -> None:
    """The network says "car" of red and "road" of blue; its lattice of 8x16 cells has an edge in the middle."""
    left, right = build(red_or_blue).label([red_left_of(40), red_left_of(40)[:, ::-1]])
    expected = np.where(np.arange(80) < 40, 1, 2) * np.ones((48, 1))
    np.testing.assert_array_equal(left, expected)
    np.testing.assert_array_equal(right, expected[:, ::-1])
    assert left.dtype == np.int8


def test_mixed_precision_labels_alike(red_or_blue: Path) -> None:
    """On the processor, where only a test asks for it; the winner's margin is far above the rounding of bfloat16."""
    labeller = {"name": "segmentation", "model": red_or_blue, "classes": CLASSES, "unlabelled": ["train"]}
    config = LabelConfig.model_validate({"labeller": labeller})
    mixed = build_labeller(config, Runner(torch.device("cpu"), torch.bfloat16))
    np.testing.assert_array_equal(mixed.label([red_left_of(40)])[0], build(red_or_blue).label([red_left_of(40)])[0])


def test_a_class_without_a_label_leaves_minus_one(red_or_blue: Path) -> None:
    labeller = build(red_or_blue, classes={"highway": ["road"]}, unlabelled=["car", "train"])
    assert np.unique(labeller.label([red_left_of(40)])[0]).tolist() == [-1, 2]


def test_an_unsure_pixel_gets_no_label(red_or_blue: Path) -> None:
    """Far from the edge the winner's logit is 1, the others 0 and -5: softmax 0.729. Between the cells it is less."""
    surest = np.exp(1) / (np.exp(1) + 1 + np.exp(-5))
    (labels,) = build(red_or_blue, least_probability=surest - 0.01).label([red_left_of(40)])
    assert set(labels[:, :35].ravel()) == {1} and set(labels[:, 45:].ravel()) == {2}
    assert set(labels[:, 39:41].ravel()) == {-1}
    assert (build(red_or_blue, least_probability=surest + 0.01).label([red_left_of(40)])[0] == -1).all()


def test_the_scores_of_all_classes_are_compared_and_the_padding_cut_off() -> None:
    """A second implementation: enlarge everything at once, crop, enlarge again, compare."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(37, 6, 8, generator=generator, dtype=torch.float32)
    winner, share = best_class(scores, (24, 32), (20, 32), (50, 80), are_logits=True)
    whole = torch.nn.functional.interpolate(scores[None], (24, 32), mode="bilinear")[..., :20, :]
    whole = torch.nn.functional.interpolate(whole, (50, 80), mode="bilinear")[0]
    assert torch.equal(winner, whole.argmax(0))
    torch.testing.assert_close(share, whole.softmax(0).amax(0))


def mask2former(folder: Path) -> Any:
    """Write a Mask2Former of random weights, and return it."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    torch.manual_seed(7)
    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_indices=[1, 2, 3, 4]
    )
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=5,
        id2label={0: "car", 1: "road", 2: "train"},
    )  # fmt: skip
    network = Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ("mask_embedder" in name or "queries_features" in name) and name.endswith("weight"):
                weight.mul_(3.0)  # else one class wins everywhere
    network.save_pretrained(folder)
    return network


def test_a_universal_network_labels_as_its_authors_read_it(tmp_path: Path) -> None:
    """Transformers' own reading of Mask2Former, on a size that needs no padding (of which it knows nothing)."""
    from transformers import AutoImageProcessor

    network = mask2former(tmp_path)
    write_processor(tmp_path, "Mask2FormerImageProcessor", size={"height": 64, "width": 96}, size_divisor=32)
    image = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    with torch.no_grad():
        outputs = network(**processor(images=[image], return_tensors="pt"))
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(48, 72)])[0]
    (labels,) = build(tmp_path).label([image])
    agreed = labels == np.array([1, 2, -1])[expected.numpy()]
    assert agreed.mean() > 0.97  # they enlarge in two steps, through 384x384
    assert len(np.unique(labels)) > 1


def test_what_padding_added_to_an_image_is_cut_off(tmp_path: Path) -> None:
    """Images of two sizes in one batch become 64x64 and 32x96, padded to 64x96: the lattice spans the padding too."""
    network = mask2former(tmp_path)
    size = {"shortest_edge": 40, "longest_edge": 96}
    write_processor(tmp_path, "Mask2FormerImageProcessor", size=size, size_divisor=32)
    generator = np.random.default_rng(1)
    images = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((48, 72, 3), (24, 144, 3))]
    labeller = build(tmp_path)
    assert isinstance(labeller, SegmentationLabeller)
    pixels = labeller._processor(images=images, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (2, 3, 64, 96) and (pixels[0, :, :, 64:] == 0).all() and (pixels[1, :, 32:] == 0).all()
    with torch.no_grad():
        outputs = network(pixel_values=pixels)
    enlarge = partial(torch.nn.functional.interpolate, mode="bilinear")
    masks = enlarge(outputs.masks_queries_logits, (64, 96)).sigmoid()
    shares = outputs.class_queries_logits.softmax(-1)[..., :3]  # (B, Q, K)
    scores = (shares[..., None, None] * masks[:, :, None]).sum(1)  # (B, K, 64, 96)
    expected = [enlarge(scores[:1, ..., :64], (48, 72)), enlarge(scores[1:, :, :32], (24, 144))]
    for labels, own in zip(labeller.label(images), expected, strict=True):
        np.testing.assert_array_equal(labels, np.array([1, 2, -1])[own[0].argmax(0).numpy()])
        assert len(np.unique(labels)) > 1


def upernet(folder: Path) -> None:
    from transformers import SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_indices=[1, 2, 3, 4]
    )
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_in_channels=32, auxiliary_channels=16,
        id2label={0: "car", 1: "road", 2: "train"},
    )  # fmt: skip
    UperNetForSemanticSegmentation(config).save_pretrained(folder)
    write_processor(folder, "SegformerImageProcessor", size={"height": 64, "width": 96})


def maskformer(folder: Path) -> None:
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_indices=[1, 2, 3, 4]
    )
    detr = DetrConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
    )  # fmt: skip
    config = MaskFormerConfig(
        backbone_config=backbone, decoder_config=detr, fpn_feature_size=32, mask_feature_size=32,
        id2label={0: "car", 1: "road", 2: "train"},
    )  # fmt: skip
    MaskFormerForInstanceSegmentation(config).save_pretrained(folder)
    write_processor(folder, "MaskFormerImageProcessor", size={"height": 64, "width": 96}, size_divisor=32)


@pytest.mark.parametrize("write", [upernet, maskformer], ids=lambda write: write.__name__)
def test_other_kinds_of_networks_label_too(tmp_path: Path, write: Callable[[Path], None]) -> None:
    torch.manual_seed(0)
    write(tmp_path)
    for labels in build(tmp_path).label([red_left_of(40), red_left_of(20)]):
        assert labels.shape == (48, 80) and labels.dtype == np.int8
        assert set(np.unique(labels)) <= {-1, 1, 2}


def test_a_network_without_the_needed_weights_is_refused(copied: Path) -> None:
    """Transformers would draw them at random and only warn."""
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(kept, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 2 weights .*decode_head.classifier.bias.*another task"):
        build(copied)


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _cut_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "segf')


def _other_network(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _crops(folder: Path) -> None:
    write_processor(folder, "MobileNetV2ImageProcessor", do_center_crop=True, crop_size={"height": 8, "width": 8})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_folder, r"labeller.model: no folder .*docs/labels.md"),
        (_no_config, r"config.json among them"),
        (_cut_config, r"config.json among them.*expected JSON"),
        (_other_network, r"holds a network of type bert; expected a semantic segmentation network"),
        (_no_weights, r"has no weights"),
        (_cut_weights, r"cannot be loaded: .*copy the folder again"),
        (_no_processor, r"the image processor in .* cannot be loaded"),
        (_crops, r"looks at the middle of an image only"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_what_is_wrong(
    copied: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copied)
    with pytest.raises(CheckpointError, match=message):
        build(copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": []}, "1 classes of the network have no class of the label files: train"),
        ({"unlabelled": ["train", "boat"]}, "the network has no class 'boat'"),
        ({"unlabelled": ["train", "trains"]}, "no class 'trains'; did you mean train"),
        ({"unlabelled": ["train", "car"]}, "'car' is also of class sedan"),
    ],
)
def test_classes_that_do_not_fit_the_network_are_named(red_or_blue: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(red_or_blue, **options)


def test_mixed_precision_on_the_processor_is_refused() -> None:
    labeller = {"name": "segmentation", "model": "m", "classes": CLASSES}
    config = LabelConfig.model_validate({"labeller": labeller, "device": "cpu", "precision": "bf16-mixed"})
    with pytest.raises(ConfigError, match="precision: expected 32-true on the CPU"):
        choose_runner(config)
    plain = config.model_copy(update={"precision": "32-true"})
    assert choose_runner(plain) == Runner(torch.device("cpu"))
