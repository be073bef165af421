"""Tiny networks of the kinds that people download, written as they are published and read by the real code."""

import json
from pathlib import Path
from typing import Any

import torch

WORDS = ("sedan", "highway", "tree", "sky", "bicycle", "bicyclist", "barricade", "traffic")
# Grounding DINO tells prompts apart by the numbers that BERT gives to these.
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
_COLOURS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255}
_STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2}


def write_processor(folder: Path, kind: str, **options: Any) -> None:
    """Write preprocessor_config.json as published folders have it."""
    content = {"image_processor_type": kind, **_STEPS, **_COLOURS, **options}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def write_tokenizer(folder: Path) -> None:
    """Write a BERT tokenizer that knows few words."""
    from transformers import BertTokenizer

    numbers = {**SPECIAL, **{word: 1100 + i for i, word in enumerate(WORDS)}, "##s": 1110}
    by_number = {number: word for word, number in numbers.items()}
    lines = [by_number.get(number, f"[unused{number}]") for number in range(1111)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(lines) + "\n")
    BertTokenizer(str(vocabulary), do_lower_case=True).save_pretrained(folder)


def write_detector(folder: Path) -> Path:
    """Write a Grounding DINO of random weights with 20 queries, and return its folder."""
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    torch.manual_seed(0)
    layers = {"encoder_layers": 1, "encoder_ffn_dim": 16, "encoder_attention_heads": 2}
    layers |= {"decoder_layers": 2, "decoder_ffn_dim": 16, "decoder_attention_heads": 2}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_indices=[2, 3, 4]
        ),
        text_config=BertConfig(
            vocab_size=1200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        num_queries=20,
        d_model=32,
        **layers,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    write_tokenizer(folder)
    size = {"shortest_edge": 48, "longest_edge": 96}
    write_processor(folder, "GroundingDinoImageProcessor", size=size, do_pad=True, format="coco_detection")
    return folder


def write_segmenter(folder: Path) -> Path:
    """Write a SAM of random weights that sees 64x64 pixels, and return its folder."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    torch.manual_seed(1)
    vision = SamVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16, output_channels=16,
        mlp_dim=16, global_attn_indexes=[0], window_size=2, num_pos_feats=8,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(folder)
    size = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}, "do_pad": True}
    write_processor(folder, "SamImageProcessor", **size)
    return folder


def write_red_or_blue(folder: Path) -> Path:
    """Write a SegFormer whose weights were set by hand, and return its folder: "car" where red, "road" where blue.

    One stage of stride 4. Its patch embedding takes (red - blue, blue - red); attention and the inner layers are zero,
    so that only residual paths carry anything; layer norms keep the sign of the difference, the head compares it.
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=1, depths=[1], sr_ratios=[1], hidden_sizes=[2], num_attention_heads=[1], patch_sizes=[1],
        strides=[4], mlp_ratios=[1], decoder_hidden_size=2, id2label={0: "car", 1: "road", 2: "train"},
    )  # fmt: skip
    network = SegformerForSemanticSegmentation(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        weights = dict(network.named_parameters())
        (embedding,) = (w for name, w in weights.items() if "patch_embeddings" in name and name.endswith("proj.weight"))
        embedding[:, :, 0, 0] = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
        for name, weight in weights.items():
            if "decode_head.linear" in name and name.endswith("weight"):
                weight.copy_(torch.eye(2).view(weight.shape))
        weights["decode_head.classifier.weight"][:2, :, 0, 0] = torch.eye(2)
        weights["decode_head.classifier.bias"][2] = -5.0
    network.save_pretrained(folder)
    write_processor(folder, "SegformerImageProcessor", size={"height": 32, "width": 64})
    return folder
