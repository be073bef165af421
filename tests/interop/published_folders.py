"""Synthetic published folders, and what the networks in them compute: both written from the format, not from our code.

Random weights under the published names and shapes, with the tensors that nothing reads, with the prefix of DDP where
asked for, and with the two plain numbers of encoder.pth. The forward pass below is plain `torch.nn.functional` on those
names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What a folder is made of; the defaults are small enough for a CPU test.

    `blocks` and `widths` are those of layer1..layer3 (and layer4 of the pose network); `bottleneck` as in ResNet-50.
    """

    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (24, 48, 96)
    stem: int = 24
    bottleneck: bool = False
    pose_blocks: tuple[int, ...] = (1, 1, 1, 1)
    pose_widths: tuple[int, ...] = (24, 48, 96, 128)
    voxels_zyx: tuple[int, int, int] = (4, 8, 8)
    semantic: bool = True
    occnerf: bool = False
    image_size: tuple[int, int] = (32, 64)


RELEASE_ENCODER = {"blocks": (3, 4, 23), "widths": (256, 512, 1024), "stem": 64, "bottleneck": True}
RELEASE_POSE = {"pose_blocks": (3, 4, 6, 3), "pose_widths": (64, 128, 256, 512)}


class Writer:
    """Collects random tensors; `device="meta"` counts them without memory."""

    def __init__(self, seed: int = 0, device: str = "cpu") -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device
        self.state: State = {}

    def add(self, key: str, *shape: int, scale: float = 1.0, offset: float = 0.0) -> None:
        if self.device == "meta":
            self.state[key] = torch.empty(shape, device="meta")
        else:
            self.state[key] = torch.randn(shape, generator=self.generator) * scale + offset

    def conv(self, key: str, *shape: int, bias: bool = False) -> None:
        fan_in = 1
        for n in shape[1:]:
            fan_in *= n
        self.add(f"{key}.weight", *shape, scale=(2 / fan_in) ** 0.5)
        if bias:
            self.add(f"{key}.bias", shape[0], scale=0.1)

    def norm(self, key: str, channels: int) -> None:
        self.add(f"{key}.weight", channels, scale=0.1, offset=1.0)
        self.add(f"{key}.bias", channels, scale=0.1)
        self.add(f"{key}.running_mean", channels, scale=0.1)
        self.add(f"{key}.running_var", channels, scale=0.05, offset=1.0)
        self.state[f"{key}.num_batches_tracked"] = torch.tensor(7)

    def layer(self, key: str, blocks: int, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        """One stage of a torchvision ResNet; `width` is that of its output."""
        inner = width // 4 if bottleneck else width
        for i in range(blocks):
            block, channels = f"{key}.{i}", inputs if i == 0 else width
            shapes = [(inner, channels, 1), (inner, inner, 3), (width, inner, 1)]
            if not bottleneck:
                shapes = [(width, channels, 3), (width, width, 3)]
            for n, (out, into, kernel) in enumerate(shapes, 1):
                self.conv(f"{block}.conv{n}", out, into, kernel, kernel)
                self.norm(f"{block}.bn{n}", out)
            if i == 0 and (stride != 1 or channels != width):
                self.conv(f"{block}.downsample.0", width, channels, 1, 1)
                self.norm(f"{block}.downsample.1", width)

    def block3d(self, key: str, out: int, into: int, transposed: bool = False) -> None:
        shape = (into, out) if transposed else (out, into)
        self.conv(f"{key}.0", *shape, 3, 3, 3)
        self.norm(f"{key}.1", out)


def encoder_state(recipe: Recipe, writer: Writer) -> State:
    w = writer
    w.conv("backbone.0", recipe.stem, 3, 7, 7)
    w.norm("backbone.1", recipe.stem)
    before = [recipe.stem, *recipe.widths]
    for i, key in enumerate(("backbone.4", "backbone.5", "layer3")):
        w.layer(key, recipe.blocks[i], before[i], recipe.widths[i], 1 if i == 0 else 2, recipe.bottleneck)
    middle, coarse = recipe.widths[1:3]
    w.conv("upsampling_layer.conv.0", middle, middle + coarse, 3, 3)
    w.conv("upsampling_layer.conv.3", middle, middle, 3, 3)
    w.conv("Upsampling_4.conv.0", middle // 2, middle, 3, 3)
    w.conv("Upsampling_4.conv.3", middle // 2, middle // 2, 3, 3)
    w.conv("depth_layer", 64, middle // 2, 1, 1, bias=True)
    return {**w.state, "height": recipe.image_size[0], "width": recipe.image_size[1]}


def depth_state(recipe: Recipe, writer: Writer, gaussians: bool = True) -> State:
    w = writer
    z, y, x = recipe.voxels_zyx
    net = "_3DCNN"
    w.block3d(f"{net}.dres0.0", 32, 64)
    for key in ("dres0.2", "dres1.0", "dres1.2"):
        w.block3d(f"{net}.{key}", 32, 32)
    for n in (2, 3, 4):
        w.block3d(f"{net}.dres{n}.conv1.0", 64, 32)
        for key in ("conv2", "conv3.0", "conv4.0"):
            w.block3d(f"{net}.dres{n}.{key}", 64, 64)
        w.block3d(f"{net}.dres{n}.conv5", 64, 64, transposed=True)
        w.block3d(f"{net}.dres{n}.conv6", 32, 64, transposed=True)
    heads = [("classif3", 8, 1)]
    if recipe.semantic:
        heads.append(("classif_semantic", 8, 18))
    if not recipe.occnerf:
        heads.append(("classif_flow", 6, 3))
    for head, last, channels in heads:
        for i in range(0, last, 2):
            w.block3d(f"{net}.{head}.{i}", 32, 32)
        w.block3d(f"{net}.{head}.{last}", channels, 32)
    w.add("Zval", 1, 424)
    w.add("scene_centroid", 1, 3)
    w.add("vox_util.posfreq", 3)
    if recipe.occnerf:
        for head in ("classif1", "classif2"):
            w.block3d(f"{net}.{head}.0", 32, 32)
            w.conv(f"{net}.{head}.2", 1, 32, 3, 3, 3)
        w.add("pos_embedding", 1, 64, y, x, z, scale=0.3, offset=1.0)
    elif gaussians:
        w.add("gs_vox_util.posfreq", 3)
    box = {"xyz_min": [-40.0, -40.0, -1.0], "xyz_max": [40.0, 40.0, 5.4]}
    return {**w.state, **{key: torch.tensor(value, dtype=torch.float64) for key, value in box.items()}}


def pose_encoder_state(recipe: Recipe, writer: Writer) -> State:
    w = writer
    w.conv("encoder.conv1", recipe.stem, 6, 7, 7)
    w.norm("encoder.bn1", recipe.stem)
    before = [recipe.stem, *recipe.pose_widths]
    for i in range(4):
        key = f"encoder.layer{i + 1}"
        w.layer(key, recipe.pose_blocks[i], before[i], recipe.pose_widths[i], 1 if i == 0 else 2, False)
    w.add("encoder.fc.weight", 1000, recipe.pose_widths[3])
    w.add("encoder.fc.bias", 1000)
    return w.state


def pose_state(recipe: Recipe, writer: Writer) -> State:
    w = writer
    for i, (out, into, kernel) in enumerate([(256, recipe.pose_widths[3], 1), (256, 256, 3), (256, 256, 3)]):
        w.conv(f"net.{i}", out, into, kernel, kernel, bias=True)
    w.conv("net.3", 12, 256, 1, 1, bias=True)
    for i, into in [(0, 1286), *((i, 256) for i in range(2, 7))]:
        w.conv(f"refine_mlp.{i}.0", 256, into, bias=True)
    w.conv("refine_mlp.7", 12, 256, bias=True)
    w.conv("finial_conv", 128, 256, 1, 1, bias=True)
    return w.state


def write_folder(folder: Path, recipe: Recipe, *, prefix: str = "", pose: bool | None = None, seed: int = 0) -> Path:
    """Write a published folder; `pose` by default where the system has one."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "encoder.pth": encoder_state(recipe, Writer(seed)),
        "depth.pth": depth_state(recipe, Writer(seed + 1)),
    }
    if pose if pose is not None else not recipe.occnerf:
        files["pose_encoder.pth"] = pose_encoder_state(recipe, Writer(seed + 2))
        files["pose.pth"] = pose_state(recipe, Writer(seed + 3))
    for name, state in files.items():
        torch.save({f"{prefix}{key}": value for key, value in state.items()}, folder / name)
    return folder


def _normalised(state: State, key: str, x: Tensor) -> Tensor:
    s = {name: state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")}
    return F.batch_norm(x, s["running_mean"], s["running_var"], s["weight"], s["bias"], eps=1e-5)


def _layer(state: State, key: str, x: Tensor, stride: int) -> Tensor:
    number = 0
    while f"{key}.{number}.conv1.weight" in state:
        block, step = f"{key}.{number}", stride if number == 0 else 1
        bottleneck = f"{block}.conv3.weight" in state
        y = F.conv2d(x, state[f"{block}.conv1.weight"], **({} if bottleneck else {"stride": step, "padding": 1}))
        y = _normalised(state, f"{block}.bn1", y).relu()
        y = F.conv2d(y, state[f"{block}.conv2.weight"], padding=1, stride=step if bottleneck else 1)
        y = _normalised(state, f"{block}.bn2", y)
        if bottleneck:
            y = _normalised(state, f"{block}.bn3", F.conv2d(y.relu(), state[f"{block}.conv3.weight"]))
        if f"{block}.downsample.0.weight" in state:
            x = F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=step)
            x = _normalised(state, f"{block}.downsample.1", x)
        x = (x + y).relu()
        number += 1
    return x


def _stem(state: State, conv: str, norm: str, x: Tensor) -> Tensor:
    x = _normalised(state, norm, F.conv2d(x, state[f"{conv}.weight"], stride=2, padding=3)).relu()
    return F.max_pool2d(x, 3, stride=2, padding=1)


def _twice(state: State, key: str, x: Tensor) -> Tensor:
    for i in (0, 3):
        x = F.instance_norm(F.conv2d(x, state[f"{key}.conv.{i}.weight"], padding=1)).relu()
    return x


def run_encoder(state: State, images: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 64, H/4, W/4)."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    x = _stem(state, "backbone.0", "backbone.1", (images - mean) / std)
    fine = _layer(state, "backbone.5", _layer(state, "backbone.4", x, 1), 2)
    coarse = _layer(state, "layer3", fine, 2)
    doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    x = _twice(state, "upsampling_layer", torch.cat([fine, doubled], 1))
    x = _twice(state, "Upsampling_4", F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
    return F.conv2d(x, state["depth_layer.weight"], state["depth_layer.bias"])


def voxel_centers(voxels_zyx: tuple[int, int, int]) -> Tensor:
    """(Z, Y, X, 3) of the contracted lattice, whose first and last centres lie at the clamped ends."""
    alpha = 0.66667
    a, b = (1 - alpha) ** 2 / alpha, (1 - 2 * alpha) / alpha
    axes = []
    for n, margin, low, high in zip(voxels_zyx, (0.05, 0.5, 0.5), (-1, -40, -40), (5.4, 40, 40), strict=True):
        index = torch.arange(n, dtype=torch.float64).clamp(margin, n - 1 - margin)
        c = 2 * index / (n - 1) - 1
        outer = c.sign() * (a / (1 - c.abs()).clamp(min=1e-12) - b)
        r = torch.where(c.abs() <= alpha, c / alpha, outer)
        axes.append(((r + 1) / 2 * (high - low) + low).float())
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], -1)


def lift(maps: Tensor, intrinsics: Tensor, cam_to_ego: Tensor, image_size: tuple[int, int], centers: Tensor) -> Tensor:
    """(V, C, h, w) -> (1, C, X, Y, Z); K in pixels of the image."""
    views, _, height, width = maps.shape
    values = []
    for view in range(views):
        k = intrinsics[view].clone()
        k[0] *= width / image_size[1]
        k[1] *= height / image_size[0]
        ego_to_cam = torch.linalg.inv(cam_to_ego[view].double()).float()
        p = centers.reshape(-1, 3) @ ego_to_cam[:3, :3].T + ego_to_cam[:3, 3]
        q = p @ k.T
        x, y = q[:, 0] / q[:, 2].clamp(min=1e-6), q[:, 1] / q[:, 2].clamp(min=1e-6)
        valid = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5) & (p[:, 2] > 0)
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1).clamp(-2, 2)
        sampled = F.grid_sample(maps[view : view + 1], grid[None, None], align_corners=False)[0, :, 0]
        values.append(sampled * valid)
    stacked = torch.stack(values)
    mean = stacked.sum(0) / ((stacked.abs() > 0).sum(0) + 1e-6)
    return mean.unflatten(-1, centers.shape[:3]).permute(0, 3, 2, 1)[None]


def _block3d(state: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    return _normalised(state, f"{key}.1", F.conv3d(x, state[f"{key}.0.weight"], stride=stride, padding=1))


def _up3d(state: State, key: str, x: Tensor) -> Tensor:
    x = F.conv_transpose3d(x, state[f"{key}.0.weight"], stride=2, padding=1, output_padding=1)
    return _normalised(state, f"{key}.1", x)


def _hourglass(
    state: State, key: str, x: Tensor, presqu: Tensor | None, postsqu: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    pre = _block3d(state, f"{key}.conv2", _block3d(state, f"{key}.conv1.0", x, 2).relu())
    pre = (pre if postsqu is None else pre + postsqu).relu()
    low = _block3d(state, f"{key}.conv4.0", _block3d(state, f"{key}.conv3.0", pre, 2).relu()).relu()
    post = (_up3d(state, f"{key}.conv5", low) + (pre if presqu is None else presqu)).relu()
    return _up3d(state, f"{key}.conv6", post), pre, post


def run_decoder(state: State, voxels: Tensor) -> Tensor:
    """(1, 64, X, Y, Z) -> (1, 18 or 1, X, Y, Z), as the configurations with `last_free` use it."""
    net = "_3DCNN"
    d0 = _block3d(state, f"{net}.dres0.2", _block3d(state, f"{net}.dres0.0", voxels).relu()).relu()
    cost = _block3d(state, f"{net}.dres1.2", _block3d(state, f"{net}.dres1.0", d0).relu()) + d0
    out1, pre1, post1 = _hourglass(state, f"{net}.dres2", cost, None, None)
    out2, _, post2 = _hourglass(state, f"{net}.dres3", out1 + cost, pre1, post1)
    x, _, _ = _hourglass(state, f"{net}.dres4", out2 + cost, pre1, post2)
    head = "classif_semantic" if f"{net}.classif_semantic.8.0.weight" in state else "classif3"
    for i in (0, 2, 4, 6):
        x = _block3d(state, f"{net}.{head}.{i}", x).relu()
    return _block3d(state, f"{net}.{head}.8", x)


@torch.no_grad()
def run_network(
    folder: Path, images: Tensor, intrinsics: Tensor, cam_to_ego: Tensor, voxels_zyx: tuple[int, int, int]
) -> Tensor:
    """The logits (1, L, X, Y, Z) of one sample: images (V, 3, H, W), K (V, 3, 3), poses (V, 4, 4)."""
    encoder, depth = (_read(folder / name) for name in ("encoder.pth", "depth.pth"))
    maps = run_encoder(encoder, images)
    size = (images.shape[-2], images.shape[-1])
    voxels = lift(maps, intrinsics, cam_to_ego, size, voxel_centers(voxels_zyx))
    if "pos_embedding" in depth:
        voxels = voxels * depth["pos_embedding"]
    return run_decoder(depth, voxels)


@torch.no_grad()
def run_pose(folder: Path, earlier: Tensor, later: Tensor) -> Tensor:
    """(V, 3, H, W) twice -> (4, 4): takes ego points at the earlier moment to the later one."""
    encoder, pose = (_read(folder / name) for name in ("pose_encoder.pth", "pose.pth"))
    x = (torch.cat([earlier, later], 1) - 0.45) / 0.225
    x = _stem(encoder, "encoder.conv1", "encoder.bn1", x)
    for i in range(4):
        x = _layer(encoder, f"encoder.layer{i + 1}", x, 1 if i == 0 else 2)
    x = x.mean(0, keepdim=True)
    for i in range(4):
        x = F.conv2d(x, pose[f"net.{i}.weight"], pose[f"net.{i}.bias"], padding=1 if i in (1, 2) else 0)
        x = x.relu() if i < 3 else x
    numbers = 0.01 * x.mean((2, 3))[0, :6]
    v, angle = numbers[:3], numbers[:3].norm()
    kx, ky, kz = v / (angle + 1e-7)
    zero = torch.zeros(())
    k = torch.stack([zero, -kz, ky, kz, zero, -kx, -ky, kx, zero]).view(3, 3)
    motion = torch.eye(4)
    motion[:3, :3] += torch.sin(angle) * k + (1 - torch.cos(angle)) * (k @ k)
    motion[:3, 3] = numbers[3:]
    return motion


def _read(path: Path) -> State:
    state = torch.load(path, weights_only=True)
    return {key.removeprefix("module."): value for key, value in state.items()}
