"""A whole step of stage 2, from images to the optimiser, with one renderer after the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gsocc.app.benchmark.contenders import FAR_M
from gsocc.app.benchmark.scenes import surround_rig
from gsocc.app.benchmark.stopwatch import PeakMemory, bounded_memory, lap, machine, out_of_memory, race
from gsocc.app.benchmark.tables import Sheet, figure, ratio, times
from gsocc.errors import UserError
from gsocc.labels import FREE
from gsocc.progress import ProgressBar
from gsocc.renderers import RendererError
from gsocc.structures import SurroundBatch

if TYPE_CHECKING:
    from occ_stage.config import OccConfig, RendererConfig

STEP_M = 0.4

_UNIFORM = {"step_m": STEP_M, "far_m": FAR_M}
_CELLS = {"sampling": "cells", "interpolation": "nearest", "far_m": FAR_M}

# device -> name -> registered renderer and what is changed of its options; the first is the reference of the ratios.
ENTRANTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "cpu": {
        "splat_cpu_cached": ("splat_cpu", {"cache": True}),
        "splat_cpu": ("splat_cpu", {"cache": False}),
        "volume_cpu": ("volume_cpu", _UNIFORM),
        "volume_cpu_cells": ("volume_cpu", _CELLS),
        "volume": ("volume", _UNIFORM),
    },
    "cuda": {
        "splat_gsplat_cached": ("splat_gsplat", {"cache": True}),
        "splat_gsplat": ("splat_gsplat", {"cache": False}),
        "volume": ("volume", _UNIFORM),
    },
}


@dataclass(frozen=True)
class TrainRow:
    """One renderer in a training step. Seconds are medians; None where nothing could be measured.

    Attributes:
        renderer: Name.
        step_s: Elapsed time of a step: network, renderer, losses, backward pass, optimiser.
        renderer_s: Elapsed time of the renderer alone, forward and backward, on the field of that step.
        renderer_share: The latter over the former.
        step_cpu_s: Processor seconds of a step, all threads.
        renderer_cpu_s: The same of the renderer alone.
        peak_memory_gb: Most memory in a step above that before the first one, the renderer's cache included, in 1e9
            bytes; weights and the optimiser's state are not.
        error: Why there are no figures.
    """

    renderer: str
    step_s: float | None = None
    renderer_s: float | None = None
    renderer_share: float | None = None
    step_cpu_s: float | None = None
    renderer_cpu_s: float | None = None
    peak_memory_gb: float | None = None
    error: str | None = None


def choose_entrants(names: Sequence[str] | None, device: str) -> tuple[str, ...]:
    """Return the renderers that were asked for, or all of a device.

    Raises:
        UserError: Where a name is not known there.
    """
    known = ENTRANTS[device]
    for name in names or ():
        if name not in known:
            raise UserError(f"--renderer: expected one of {', '.join(known)} on {device}, got {name!r}")
    return tuple(names or known)


def benchmark_training(
    config: "OccConfig", names: Sequence[str], device: str, repeats: int, enough_s: float
) -> list[TrainRow]:
    """Measure training steps of one network on one batch; the renderer is the only difference.

    The network is untrained, so every voxel has about `model.initial_occupancy`: no empty space to skip.

    Args:
        config: The run; of its renderer the size, the scale and the options of splats are taken.
        names: Of `ENTRANTS`.
        device: "cpu" or "cuda".
        repeats: Most rounds.
        enough_s: Whoever has taken this long sits out the rounds that are left.
    """
    stepper = _Stepper(config, device)
    rows: dict[str, TrainRow] = {}
    runners: dict[tuple[str, str], Callable[[], None]] = {}
    with ProgressBar(len(names) + 1, "bench train", unit="renderer") as bar, bounded_memory(device):
        for name in names:
            try:
                draw = _renderer_config(config.renderer, *ENTRANTS[device][name])
                step, alone = stepper.runners(draw)
                with PeakMemory(device) as memory:
                    lap(step, device)
                alone()
            except (RendererError, MemoryError, RuntimeError) as error:
                if not (isinstance(error, RendererError) or out_of_memory(error)):
                    raise
                rows[name] = TrainRow(name, error=str(error))
            else:
                rows[name] = TrainRow(name, peak_memory_gb=memory.gb)
                runners[name, "step"], runners[name, "alone"] = step, alone
            bar.advance()
        laps = race(runners, device, repeats, enough_s)
        bar.advance()
    return [_with_times(rows[name], laps) for name in names]


def training_report(rows: Sequence[TrainRow], config: "OccConfig", device: str) -> dict[str, Any]:
    """Return everything as a JSON-ready mapping; ratios are to the first row that has figures."""
    first = next((row for row in rows if row.step_s is not None), None)
    ratios = [
        {
            "renderer": row.renderer,
            "against": first.renderer,
            "step": ratio(row.step_s, first.step_s),
            "step_cpu": ratio(row.step_cpu_s, first.step_cpu_s),
        }
        for row in rows
        if first is not None and row is not first
    ]
    return {
        **machine(device),
        "threads": torch.get_num_threads(),
        **_sizes(config),
        "precision": config.training.precision,
        "rows": [asdict(row) for row in rows],
        "ratios": ratios,
    }


def training_sheet(rows: Sequence[TrainRow], config: "OccConfig") -> Sheet:
    """Return the rows as a table."""
    first = next((row for row in rows if row.step_s is not None), rows[0])
    heads = ("renderer", "s / step", "ratio", "CPU s", "ratio", "renderer s", "share", "peak GB")
    body = tuple(
        (
            row.renderer,
            figure(row.step_s),
            times(ratio(row.step_s, first.step_s)),
            figure(row.step_cpu_s),
            times(ratio(row.step_cpu_s, first.step_cpu_s)),
            figure(row.renderer_s),
            "-" if row.renderer_share is None else f"{row.renderer_share:.0%}",
            figure(row.peak_memory_gb, 2),
        )
        for row in rows
    )
    sizes = _sizes(config)
    title = f"training step: grid {sizes['grid']}, rendered at {sizes['size']}, images {sizes['images']}"
    return Sheet(title, heads, body, tuple(f"{row.renderer}: {row.error}" for row in rows if row.error))


class _Stepper:
    """A network, its optimiser and one batch, to take the same step again and again."""

    def __init__(self, config: "OccConfig", device: str) -> None:
        from gsocc.engine import seed_everything
        from gsocc.engine.processes import Processes
        from occ_stage.model import build_grid, build_model

        self.config = config
        self.grid = build_grid(config)
        self.processes = Processes(config.training)
        seed_everything(config.training.seed)
        model = build_model(config)
        # A rate of 0 does all the work and leaves the network as it is: every step draws the same scene.
        self.model, self.optimizer = self.processes.setup(model, torch.optim.AdamW(model.parameters(), lr=0.0))
        self.model.train()
        self.batch = synthetic_batch(config).to(device)
        logits = self.model(self.batch.network_images, self.batch.intrinsics, self.batch.cam_to_ego)
        self.logits = logits.detach()
        self._update(logits.square().mean())  # the optimiser makes its state at the first step

    def runners(self, drawing: "RendererConfig") -> tuple[Callable[[], None], Callable[[], None]]:
        """Return a whole step, and the renderer's part of it on its own."""
        from occ_stage.objective import build_objective

        objective = build_objective(self.config.model_copy(update={"renderer": drawing}))
        renderer = objective.renderer
        leaf = self.logits.clone().requires_grad_()

        def step() -> None:
            self._update(objective(self.model, self.batch).total)

        def alone() -> None:
            leaf.grad = None
            out = renderer(renderer.field(self.grid, leaf), self.batch.rig)
            (out.depth_sum_m.mean() + out.opacity.mean() + out.features.square().mean()).backward()

        return step, alone

    def _update(self, loss: Tensor) -> None:
        self.processes.backward(loss)
        self.processes.clip_gradients(self.model, self.optimizer, self.config.training.clip_norm or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def synthetic_batch(config: "OccConfig") -> SurroundBatch:
    """Return one sample of the shapes that a run reads: nuScenes' cameras, blurred noise, labels in blocks.

    The rig moves half a metre between images, so that warps and losses do what they do on real data.
    """
    from occ_stage.model import class_ids

    generator = torch.Generator().manual_seed(config.training.seed)
    height, width = config.data.image_size
    rig = surround_rig((height, width))
    views = rig.num_views
    noise = torch.rand(3 * views, 3, -(-height // 8), -(-width // 8), generator=generator)
    images = F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False)
    images = images.unflatten(0, (1, 3, views))  # (B, T, V, 3, H, W)
    motion = torch.eye(4).repeat(1, 3, views, 1, 1)
    motion[:, 1, :, 2, 3], motion[:, 2, :, 2, 3] = 0.5, -0.5
    ids = torch.tensor([*class_ids(config.model), FREE])
    blocks = torch.randint(len(ids), (views, 1, 6, 10), generator=generator).float()
    labels = F.interpolate(blocks, size=config.renderer.size, mode="nearest").long()[:, 0]  # (V, Hs, Ws)
    return SurroundBatch(
        tokens=("synthetic",),
        scenes=("synthetic",),
        timestamps_s=(0.0,),
        frame_ids=(0, -1, 1),
        images=images,
        network_images=images[:, 0],
        intrinsics=rig.intrinsics,
        cam_to_ego=rig.cam_to_ego,
        cam_motion=motion,
        frame_valid=torch.ones(1, 3, views, dtype=torch.bool),
        semantic_labels=ids[labels][None],
    )


def _renderer_config(given: "RendererConfig", name: str, options: dict[str, Any]) -> "RendererConfig":
    """Return the run's renderer with another implementation; options of splats are shared by all splats."""
    kept = given.options if given.name.startswith("splat") and name.startswith("splat") else {}
    return type(given).model_validate({**given.model_dump(), "name": name, "options": {**kept, **options}})


def _with_times(row: TrainRow, laps: dict[tuple[str, str], Any]) -> TrainRow:
    if row.error is not None:
        return row
    step, alone = laps[row.renderer, "step"], laps[row.renderer, "alone"]
    measured = {
        "step_s": step.wall_s,
        "renderer_s": alone.wall_s,
        "renderer_share": ratio(alone.wall_s, step.wall_s),
        "step_cpu_s": step.cpu_s,
        "renderer_cpu_s": alone.cpu_s,
    }
    return TrainRow(**{**asdict(row), **measured})


def _sizes(config: "OccConfig") -> dict[str, str]:
    named = {
        "grid": config.grid.shape[::-1],
        "size": config.renderer.size,
        "images": config.data.image_size,
    }
    return {name: "x".join(map(str, values)) for name, values in named.items()}
