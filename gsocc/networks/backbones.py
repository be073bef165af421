"""Image backbones from transformers, by name, without downloads.

ResNets are built from their configuration with random weights; torchvision's ImageNet ``.pth`` files are accepted as
their initialisation. Swin Transformers are built likewise, with random weights. Any other backbone of transformers is
loaded, with its weights, from a local folder.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsocc.errors import UserError

# name -> (depths, hidden sizes, embedding size, layer type); `resnet_tiny` is for CPUs and tests.
RESNETS: dict[str, tuple[list[int], list[int], int, str]] = {
    "resnet_tiny": ([1, 1, 1, 1], [24, 48, 96, 128], 24, "basic"),
    "resnet18": ([2, 2, 2, 2], [64, 128, 256, 512], 64, "basic"),
    "resnet34": ([3, 4, 6, 3], [64, 128, 256, 512], 64, "basic"),
    "resnet50": ([3, 4, 6, 3], [256, 512, 1024, 2048], 64, "bottleneck"),
    "resnet101": ([3, 4, 23, 3], [256, 512, 1024, 2048], 64, "bottleneck"),
}

# name -> (embedding size, depths, heads, window); `swin_nano` is for CPUs and tests.
SWINS: dict[str, tuple[int, list[int], list[int], int]] = {
    "swin_nano": (24, [1, 1, 1, 1], [1, 2, 4, 8], 4),
    "swin_tiny": (96, [2, 2, 6, 2], [3, 6, 12, 24], 7),
    "swin_base": (128, [2, 2, 18, 2], [4, 8, 16, 32], 7),
}

# name -> mean and standard deviation per colour: what the published weights of a lineage expect.
IMAGE_STATISTICS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "monodepth2": ([0.45] * 3, [0.225] * 3),
}


class Backbone(nn.Module):
    """A pyramid of features at strides 4, 8, 16, ... of an image.

    Attributes:
        channels: Channels of each level, finest first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, channels: list[int], statistics: str = "imagenet") -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        mean, std = IMAGE_STATISTICS[statistics]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Return RGB images (N, 3, H, W) in [0, 1] as the network's weights expect them."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor, extra: Tensor | None = None) -> list[Tensor]:
        """Return feature maps (N, C_l, H / 2^(l+2), W / 2^(l+2)) of RGB images (N, 3, H, W) in [0, 1].

        `extra` holds the further channels of a backbone that was built for more than three, as they are.
        """
        inputs = self.normalised(images)
        if extra is not None:
            inputs = torch.cat([inputs, extra], 1)
        return list(self.network(inputs).feature_maps)


def build_backbone(
    name: str,
    *,
    levels: int = 3,
    weights: Path | None = None,
    norm: str = "batch",
    extra_channels: int = 0,
    second_image: bool = False,
    statistics: str = "imagenet",
) -> Backbone:
    """Build a backbone.

    Args:
        name: One of `RESNETS` or `SWINS`, or a local folder that transformers' ``save_pretrained`` wrote.
        levels: How many pyramid levels to return, from stride 4 on.
        weights: A torchvision ``.pth`` state dict for a ResNet; random initialisation without it.
        norm: "batch" keeps batch normalisation; "group" replaces it by group normalisation, for batches of one rig.
        extra_channels: Input channels beside the three colours; their weights start small, so that the colours' are
            not drowned.
        second_image: The first three extra channels are another image: its weights are those of the colours, and
            both are halved, as the published pose networks start from ImageNet.
        statistics: Name in `IMAGE_STATISTICS`: how images are normalised.

    Raises:
        UserError: For an unknown name, or weights of another network.
    """
    from transformers import AutoBackbone, ResNetConfig, SwinConfig  # 4 s to import: only when a network is built

    stages = [f"stage{i + 1}" for i in range(levels)]
    if name in RESNETS:
        depths, hidden, embedding, layer = RESNETS[name]
        config = ResNetConfig(
            depths=depths[:levels],
            hidden_sizes=hidden[:levels],
            embedding_size=embedding,
            layer_type=layer,
            out_features=stages,  # type: ignore[call-arg]  # a backbone option, which the annotations leave out
        )
        network = AutoBackbone.from_config(config)
        if weights is not None:
            _load_torchvision(network, weights, name, levels)
    elif name in SWINS:
        if weights is not None:
            raise UserError(
                f"backbone {name}: starts from random weights; for pretrained ones give a folder that transformers' "
                "save_pretrained wrote as the name of the backbone"
            )
        embedding, depths, heads, window = SWINS[name]
        swin = SwinConfig(
            embed_dim=embedding,
            depths=depths,
            num_heads=heads,
            window_size=window,
            drop_path_rate=0.0,
            out_features=stages,  # type: ignore[call-arg]
        )
        network = AutoBackbone.from_config(swin)
    elif Path(name).is_dir():
        if weights is not None:
            raise UserError(f"backbone {name}: a local folder brings its own weights; drop the weights option")
        network = AutoBackbone.from_pretrained(name, out_features=stages, local_files_only=True)
    else:
        raise UserError(
            f"backbone: expected one of {', '.join([*RESNETS, *SWINS])} or a local folder of transformers, got {name!r}"
        )
    if norm == "group":
        _replace_batch_norm(network)
    elif norm != "batch":
        raise UserError(f"backbone norm: expected batch or group, got {norm!r}")
    if extra_channels:
        _widen_input(network, extra_channels, second_image)
    return Backbone(network, list(network.channels), statistics)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return group normalisation with groups of about eight channels."""
    groups = max(1, channels // 8)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


_EXTRA_GAIN = 0.3  # of a fresh extra channel's weights over the usual initialisation


@torch.no_grad()
def _widen_input(network: nn.Module, extra: int, second_image: bool) -> None:
    """Let the first convolution take more channels than the three colours."""
    path, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    new = nn.Conv2d(
        3 + extra,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    new.weight.mul_(_EXTRA_GAIN)
    new.weight[:, :3] = old.weight
    if second_image:
        new.weight[:, :3] *= 0.5
        new.weight[:, 3:6] = new.weight[:, :3]
    if old.bias is not None and new.bias is not None:
        new.bias.copy_(old.bias)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new)
    for module in network.modules():
        if getattr(module, "num_channels", None) == 3:  # transformers compares it with what comes in
            module.num_channels = 3 + extra  # type: ignore[assignment]


def _replace_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, group_norm(child.num_features))
        else:
            _replace_batch_norm(child)


def _load_torchvision(network: nn.Module, path: Path, name: str, levels: int) -> None:
    if not path.is_file():
        raise UserError(f"backbone weights: no file {path}; expected torchvision's ImageNet .pth of {name}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    translated = {key: value for old, value in state.items() if (key := _torchvision_key(old, levels)) is not None}
    wanted = network.state_dict()
    missing = sorted(k for k in wanted if k not in translated)
    shapes = sorted(k for k in wanted if k in translated and translated[k].shape != wanted[k].shape)
    if missing or shapes:
        example = (missing + shapes)[0]
        raise UserError(
            f"backbone weights: {path} is not a torchvision state dict of {name}: "
            f"{len(missing)} tensors missing, {len(shapes)} of another shape, for example {example}"
        )
    network.load_state_dict({k: translated[k] for k in wanted})


def _torchvision_key(key: str, levels: int) -> str | None:
    """Return transformers' name of a torchvision ResNet tensor, or None where the backbone has no such part."""
    parts = key.split(".")
    if parts[0] == "conv1":
        return "embedder.embedder.convolution.weight"
    if parts[0] == "bn1":
        return f"embedder.embedder.normalization.{parts[1]}"
    if not parts[0].startswith("layer") or int(parts[0][5:]) > levels:
        return None
    prefix = f"encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        kind = "convolution" if parts[3] == "0" else "normalization"
        return f"{prefix}.shortcut.{kind}.{parts[4]}"
    kind = "convolution" if parts[2].startswith("conv") else "normalization"
    return f"{prefix}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"
