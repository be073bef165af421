"""Time and memory of the CPU renderers at equal settings, measured in one run."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import torch

from gsocc.errors import UserError
from gsocc.fields.occupancy import OccupancyField
from gsocc.progress import track
from gsocc.renderers import build_renderer
from gsocc.renderers.base import Scene
from gsocc.structures import CameraRig, VoxelGrid

EXTENT_M = (80.0, 80.0, 6.4)
"""The box of Occ3D-nuScenes, voxelised as finely as the grid under test asks for."""

FAR_M = 60.0
"""Rays end beyond the farthest corner that a camera of the rig can see."""

SCENES = ("untrained", "early", "street")

_ENOUGH_S = 2.0


@dataclass(frozen=True)
class Contender:
    """One renderer as it is measured: its registered name, its options, and what it is fed."""

    name: str
    options: dict[str, Any]
    splat: bool


@dataclass(frozen=True)
class Settings:
    """What is held equal between renderers.

    Attributes:
        channels: Feature channels, beside depth and opacity.
        scale_fraction: Standard deviation of a splat over the voxel edge.
        step_m: Spacing of the volume renderers' uniform samples.
        repeats: Most repetitions of a measurement; those that take long are repeated less.
        backward: Measure the gradient too.
    """

    channels: int = 18
    scale_fraction: float = 0.3
    step_m: float = 0.4
    repeats: int = 5
    backward: bool = True


@dataclass(frozen=True)
class Row:
    """One measurement; seconds are wall clock, `*_cpu_s` the processor time of all threads."""

    renderer: str
    grid: str
    size: str
    scene: str
    forward_s: float
    forward_cpu_s: float
    forward_backward_s: float | None
    forward_backward_cpu_s: float | None
    first_s: float
    peak_memory_gb: float | None


def contenders(settings: Settings) -> dict[str, Contender]:
    """Return what can be measured, the reference of the ratios first."""
    uniform = {"step_m": settings.step_m, "far_m": FAR_M}
    cells = {"sampling": "cells", "interpolation": "nearest", "far_m": FAR_M}
    return {
        "splat_cpu_cached": Contender("splat_cpu", {"cache": True, "cache_max_gb": 16.0}, True),
        "splat_cpu": Contender("splat_cpu", {"cache": False}, True),
        "volume_cpu": Contender("volume_cpu", uniform, False),
        "volume_cpu_cells": Contender("volume_cpu", cells, False),
        "volume": Contender("volume", uniform, False),
    }


def surround_rig(image_size: tuple[int, int]) -> CameraRig:
    """Return six cameras with the yaws, fields of view (70 degrees, back 110) and heights of nuScenes."""
    height, width = image_size
    yaws = torch.deg2rad(torch.tensor([0.0, 55.0, 110.0, 180.0, -110.0, -55.0]))
    half_fov = torch.deg2rad(torch.tensor([35.0, 35.0, 35.0, 55.0, 35.0, 35.0]))
    focal = 0.5 * width / torch.tan(half_fov)
    intrinsics = torch.zeros(6, 3, 3)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = width / 2, height / 2, 1.0
    poses = torch.eye(4).repeat(6, 1, 1)
    cos, sin, zero, one = yaws.cos(), yaws.sin(), torch.zeros(6), torch.ones(6)
    right, down, forward = ((sin, -cos, zero), (zero, zero, -one), (cos, sin, zero))
    poses[:, :3, :3] = torch.stack([torch.stack(axis, -1) for axis in (right, down, forward)], -1)
    poses[:, :3, 3] = torch.stack([1.0 + 0.7 * cos, 0.5 * sin, torch.full((6,), 1.55)], -1)
    return CameraRig(intrinsics[None], poses[None], image_size)


def make_field(scene: str, grid: VoxelGrid, channels: int, seed: int = 0) -> OccupancyField:
    """Return a field as it looks before, early in and after training.

    "untrained" has occupancy 0.5 everywhere, "early" 0.05. "street" has a road layer, boxes the size of cars and
    buildings on 4 % of the ground, all near 0.9, and between them 0.001 to 0.03, as trained networks leave it.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = grid.shape
    if scene == "street":
        occupancy = 0.001 * 30.0 ** torch.rand(shape, generator=generator)
        road = int((0.2 - grid.min_m[2]) / grid.voxel_m[2])
        occupancy[:, :, : max(1, road)] = 0.95
        for _ in range(40):
            corner = torch.rand(2, generator=generator) * 76.0
            size = torch.tensor([2.0, 2.0, 1.0]) + torch.rand(3, generator=generator) * torch.tensor([4.0, 4.0, 4.0])
            x, y = (
                slice(int(c / v), int((c + s) / v) + 1) for c, s, v in zip(corner, size, grid.voxel_m, strict=False)
            )
            if (corner - 38.0).abs().min() > 4.0:  # keep the two roads through the middle free
                occupancy[x, y, : road + int(size[2] / grid.voxel_m[2]) + 1] = 0.9
    else:
        occupancy = torch.full(shape, {"untrained": 0.5, "early": 0.05}[scene])
    logits = torch.randn(channels, *shape, generator=generator)
    return OccupancyField(grid, -torch.logit(occupancy)[None], logits[None])


def benchmark(
    grids: Sequence[tuple[int, int, int]],
    sizes: Sequence[tuple[int, int]],
    scenes: Sequence[str],
    names: Sequence[str],
    settings: Settings,
) -> list[Row]:
    """Measure every renderer on every combination.

    Args:
        grids: Voxels along (z, y, x).
        sizes: Images (H, W).
        scenes: Of `SCENES`.
        names: Keys of `contenders`.
        settings: What is held equal.

    Raises:
        UserError: Where a scene or renderer is not known.
    """
    known = contenders(settings)
    for given, expected, flag in ((scenes, SCENES, "--scene"), (names, tuple(known), "--renderer")):
        for value in given:
            if value not in expected:
                raise UserError(f"{flag}: expected one of {', '.join(expected)}, got {value!r}")
    cases = [(grid, size, scene, name) for grid in grids for size in sizes for scene in scenes for name in names]
    # Kernels compile at their first call: not what is measured here.
    for name in names:
        _measure(name, known[name], (2, 4, 4), (4, 6), "early", settings)
    return [
        _measure(name, known[name], grid, size, scene, settings)
        for grid, size, scene, name in track(cases, len(cases), "bench render")
    ]


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "device": model,
        "threads": numba.get_num_threads(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }


def report(rows: Sequence[Row], settings: Settings) -> dict[str, Any]:
    """Return everything as a JSON-ready mapping."""
    return {**machine(), "settings": asdict(settings), "rows": [asdict(row) for row in rows]}


def _measure(
    name: str, contender: Contender, grid: tuple[int, int, int], size: tuple[int, int], scene: str, settings: Settings
) -> Row:
    shape = (grid[2], grid[1], grid[0])
    edges = tuple(extent / count for extent, count in zip(EXTENT_M, shape, strict=True))
    voxels = VoxelGrid((-40.0, -40.0, -1.0), shape, (edges[0], edges[1], edges[2]))
    field = make_field(scene, voxels, settings.channels)
    leaves = (field.free_logits.requires_grad_(), field.class_logits.requires_grad_())
    rig = surround_rig(size)
    renderer = build_renderer(contender.name, **contender.options)

    def drawn() -> Scene:
        return field.to_gaussians((settings.scale_fraction,) * 3) if contender.splat else field

    def forward() -> None:
        with torch.no_grad():
            renderer.render(drawn(), rig)

    def forward_backward() -> None:
        for leaf in leaves:
            leaf.grad = None
        out = renderer.render(drawn(), rig)
        (out.depth_m.mean() + out.opacity.mean() + out.features.square().mean()).backward()

    with _PeakMemory() as memory:
        started = time.perf_counter()
        forward()
        first_s = time.perf_counter() - started
        forward_s, forward_cpu_s = _seconds(forward, settings.repeats)
        both_s: tuple[float | None, float | None] = (None, None)
        if settings.backward:
            forward_backward()
            both_s = _seconds(forward_backward, settings.repeats)
    return Row(
        renderer=name,
        grid="x".join(map(str, grid)),
        size="x".join(map(str, size)),
        scene=scene,
        forward_s=forward_s,
        forward_cpu_s=forward_cpu_s,
        forward_backward_s=both_s[0],
        forward_backward_cpu_s=both_s[1],
        first_s=first_s,
        peak_memory_gb=memory.gb,
    )


def _seconds(function: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Return the medians of wall and processor seconds."""
    wall, cpu = [], []
    for _ in _until_enough(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return statistics.median(wall), statistics.median(cpu)


def _until_enough(repeats: int) -> Iterator[int]:
    started = time.perf_counter()
    for index in range(repeats):
        yield index
        if time.perf_counter() - started > _ENOUGH_S:
            return


class _PeakMemory:
    """Peak resident memory above that at the start, in 1e9 bytes; None where the system does not tell (not Linux)."""

    gb: float | None = None
    _start: int | None = None

    def __enter__(self) -> "_PeakMemory":
        gc.collect()
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier measurements freed would hide what this one takes
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        except OSError:
            return self
        self._start = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        peak = _status("VmHWM")
        if self._start is not None and peak is not None:
            self.gb = max(0, peak - self._start) / 1e9


def _status(key: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
