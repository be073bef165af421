"""Renderers side by side: the same field, cameras and channels through each of them, in one run."""

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from gsocc.app.benchmark.contenders import Contender, Draws, Settings
from gsocc.app.benchmark.scenes import SCENES, benchmark_grid, make_field, surround_rig
from gsocc.app.benchmark.stopwatch import (
    Lap,
    PeakMemory,
    bounded_memory,
    lap,
    machine,
    out_of_memory,
    race,
    threads_kept,
    use_threads,
)
from gsocc.errors import UserError
from gsocc.fields.occupancy import OccupancyField
from gsocc.progress import ProgressBar
from gsocc.renderers import RendererError
from gsocc.structures import CameraRig, RenderOutput

PUBLISHED_GRIDS = ((16, 200, 200), (24, 300, 300), (32, 512, 512))
"""Voxels (z, y, x) of Occ3D, of GaussianOcc and of twice Occ3D and more."""

PUBLISHED_SIZES = ((180, 320), (240, 520), (360, 640), (900, 1600))
"""Images (H, W) of the published systems, up to those of the cameras."""


@dataclass(frozen=True)
class Case:
    """What is drawn: voxels (z, y, x), images (H, W), scene."""

    grid: tuple[int, int, int]
    size: tuple[int, int]
    scene: str


@dataclass(frozen=True)
class Row:
    """One measurement. Seconds are medians; None where nothing could be measured.

    Attributes:
        renderer: Name of the contender.
        grid: Voxels ZxYxX.
        size: Images HxW, as rendered.
        scene: Of `SCENES`.
        forward_s: Elapsed time of a frame: six cameras, without gradients.
        forward_backward_s: The same with gradients to opacities and features.
        peak_memory_gb: Most memory above that before the first call, caches and gradients included, in 1e9 bytes.
        scale_fraction: Standard deviation of a splat over the voxel edge; None for rays.
        threads: CPU threads.
        forward_cpu_s: Processor seconds of all threads.
        forward_backward_cpu_s: The same with gradients.
        build_s: What the first call took beyond a usual one, where a cache is built; None elsewhere.
        cache_gb: What the cache holds.
        error: Why there are no figures: what the renderer refused, or that memory was not enough.
    """

    renderer: str
    grid: str
    size: str
    scene: str
    forward_s: float | None = None
    forward_backward_s: float | None = None
    peak_memory_gb: float | None = None
    scale_fraction: float | None = None
    threads: int = 1
    forward_cpu_s: float | None = None
    forward_backward_cpu_s: float | None = None
    build_s: float | None = None
    cache_gb: float | None = None
    error: str | None = None


def cases(
    grids: Sequence[tuple[int, int, int]], sizes: Sequence[tuple[int, int]], scenes: Sequence[str], scale_down: int
) -> list[Case]:
    """Return every combination, images divided by `scale_down`.

    Raises:
        UserError: Where a scene is not known.
    """
    for scene in scenes:
        if scene not in SCENES:
            raise UserError(f"--scene: expected one of {', '.join(SCENES)}, got {scene!r}")
    smaller = [(max(1, height // scale_down), max(1, width // scale_down)) for height, width in sizes]
    return [Case(grid, size, scene) for grid in grids for size in smaller for scene in scenes]


def benchmark(todo: Sequence[Case], entrants: Sequence[Contender], settings: Settings) -> list[Row]:
    """Measure every contender on every case; one that refuses or runs out of memory gets a row that says so."""
    rows: list[Row] = []
    bar = ProgressBar(len(todo) + 1, "bench render", unit="case")
    with bar, bounded_memory(settings.device), threads_kept():
        # Kernels compile at their first call, which is not what is measured here.
        _measure(Case((2, 4, 4), (4, 6), "early"), entrants, replace(settings, repeats=1))
        bar.advance()
        for case in todo:
            rows += _measure(case, entrants, settings)
            bar.advance()
    return rows


def report(rows: Sequence[Row], settings: Settings, scale_down: int) -> dict[str, Any]:
    """Return everything as a JSON-ready mapping."""
    return {
        **machine(settings.device),
        "threads": max(settings.threads),
        "scale_down": scale_down,
        "settings": asdict(settings),
        "rows": [asdict(row) for row in rows],
    }


class _Run:
    """One contender at one scale and number of threads, in one case."""

    def __init__(
        self, contender: Contender, scale: float | None, threads: int, field: OccupancyField, rig: CameraRig
    ) -> None:
        self.contender, self.scale, self.threads, self.field, self.rig = contender, scale, threads, field, rig
        self.leaves = (field.free_logits, field.class_logits)
        self.renderer: Draws | None = None
        self.error: str | None = None
        self.first = Lap(0.0, 0.0)
        self.peak_gb: float | None = None

    def warm_up(self, settings: Settings) -> None:
        """Build the renderer and draw once with all that is asked for, under a watch for memory."""
        try:
            with PeakMemory(settings.device) as memory:
                self.renderer = self.contender.build()
                self.first = lap(self.forward, settings.device)
                if settings.backward:
                    self.forward_backward()
            self.peak_gb = memory.gb
        except Exception as error:
            # A compiler may fail in any way of its own, and that it does is a result.
            if not (isinstance(error, RendererError) or out_of_memory(error) or self.contender.compiled):
                raise
            self.error = f"{_reason(error)}: {error}"
            self.renderer = None
        finally:
            for leaf in self.leaves:
                leaf.grad = None

    def forward(self) -> None:
        """Draw a frame."""
        with torch.no_grad():
            self._draw()

    def forward_backward(self) -> None:
        """Draw a frame and compute the gradient of something that needs all of it."""
        for leaf in self.leaves:
            leaf.grad = None
        out = self._draw()
        (out.depth_m.mean() + out.opacity.mean() + out.features.square().mean()).backward()

    def _draw(self) -> RenderOutput:
        assert self.renderer is not None
        use_threads(self.threads)
        return self.renderer.render(self.contender.scene(self.field, self.scale), self.rig)

    def row(self, case: Case, forward: Lap | None, both: Lap | None) -> Row:
        """Return the figures."""
        cache = getattr(self.renderer, "cache", None) if self.contender.cached else None
        builds = self.contender.cached and forward is not None
        return Row(
            renderer=self.contender.name,
            grid="x".join(map(str, case.grid)),
            size="x".join(map(str, case.size)),
            scene=case.scene,
            forward_s=forward.wall_s if forward else None,
            forward_backward_s=both.wall_s if both else None,
            peak_memory_gb=self.peak_gb,
            scale_fraction=self.scale,
            threads=self.threads,
            forward_cpu_s=forward.cpu_s if forward else None,
            forward_backward_cpu_s=both.cpu_s if both else None,
            build_s=max(0.0, self.first.wall_s - forward.wall_s) if builds and forward else None,
            cache_gb=cache.nbytes / 1e9 if cache is not None else None,
            error=self.error,
        )


def _reason(error: Exception) -> str:
    if out_of_memory(error):
        return "out of memory"
    return "refused" if isinstance(error, RendererError) else type(error).__name__


def _measure(case: Case, entrants: Sequence[Contender], settings: Settings) -> list[Row]:
    drawn = make_field(case.scene, benchmark_grid(case.grid), settings.channels)
    free_logits, class_logits = (t.to(settings.device) for t in (drawn.free_logits, drawn.class_logits))
    field = OccupancyField(drawn.grid, free_logits.requires_grad_(), class_logits.requires_grad_())
    rig = surround_rig(case.size).to(settings.device)
    runs = [
        _Run(contender, scale, threads, field, rig)
        for contender in entrants
        for scale in (settings.scales if contender.splats else (None,))
        for threads in settings.threads
    ]
    for run in runs:
        run.warm_up(settings)
    runners = {}
    for index, run in enumerate(runs):
        if run.error is None:
            runners[index, "forward"] = run.forward
            if settings.backward:
                runners[index, "both"] = run.forward_backward
    laps = race(runners, settings.device, settings.repeats, settings.enough_s)
    rows = [run.row(case, laps.get((n, "forward")), laps.get((n, "both"))) for n, run in enumerate(runs)]
    del runs, runners, run  # caches go before the next case is measured
    gc.collect()
    return rows
