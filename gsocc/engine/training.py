"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from gsocc.engine.checkpoints import load_checkpoint, load_into, load_training_state, save_checkpoint
from gsocc.engine.config import TrainConfig, learning_rate
from gsocc.engine.interrupts import InterruptGuard
from gsocc.engine.loader import batches_from
from gsocc.engine.log import RunLog
from gsocc.engine.processes import Processes, process_rank
from gsocc.engine.run_directory import RunDirectory
from gsocc.engine.seeding import seed_everything
from gsocc.engine.watch import LossReport, Watch, non_finite_gradients
from gsocc.errors import ConfigError
from gsocc.progress import ProgressBar, note

Objective: TypeAlias = Callable[[nn.Module, Any], LossReport]
Validate: TypeAlias = Callable[[nn.Module], dict[str, float]]
Panels: TypeAlias = Callable[[nn.Module, Any], dict[str, np.ndarray]]

# Compilation, caches and memory pools make the first steps slow; the reported time per step leaves them out.
_UNTIMED_STEPS = 5


@dataclass(frozen=True)
class FitResult:
    """What a training came to.

    Attributes:
        steps: Steps that the run has made, those before a resume included.
        seconds_per_step: Wall time of a step in this process, without the first few, validation, saving, pictures.
        cpu_seconds_per_step: CPU time of the same steps over all threads of the training process; on a machine that
            others use too it says more than wall time.
        data_wait_share: Share of `seconds_per_step` spent waiting for data.
        best_step: Step of the best validation, None where none was kept.
        best_value: Its value of `best_metric`.
        history: The lines of metrics.jsonl.
    """

    steps: int
    seconds_per_step: float
    cpu_seconds_per_step: float
    data_wait_share: float
    best_step: int | None
    best_value: float | None
    history: list[dict[str, Any]]


def fit(
    *,
    model: nn.Module,
    objective: Objective,
    train_loader: Any,
    config: TrainConfig,
    run: RunDirectory,
    batch_tokens: Callable[[Any], Sequence[str]],
    validate: Validate | None = None,
    panels: Panels | None = None,
    health_check: Callable[[], None] | None = None,
    resume: bool = False,
) -> FitResult:
    """Train a model.

    The same call runs on a CPU, on a GPU and, under torchrun, in several processes. Ctrl-C lets the step finish, saves
    `last` and raises KeyboardInterrupt; a resumed run then goes on exactly where it stopped.

    Args:
        model: What is trained, in place; it is moved to the device.
        objective: Maps model and batch to losses. It calls the model itself (`model(...)`), not its parts, because
            the call is where processes synchronise. One that has `set_step` is told the number of every step, from 0.
        train_loader: A `StepLoader`, or in one process any loader with a length.
        config: See `TrainConfig`.
        run: Where everything is written.
        batch_tokens: Names the samples of a batch, for messages.
        validate: Maps the model, in evaluation mode and without gradients, to metrics. Every process calls it.
        panels: Draws RGB pictures (H, W, 3), uint8, of a batch; only the main process calls it.
        health_check: Called after every step; may raise to stop the run, for example after too many bad files.
        resume: Go on from `run.last` where it exists.

    Raises:
        TrainingDiverged: Where a loss or gradient is not finite.
        ConfigError: Where the configuration asks for what the machine or `validate` cannot do.
        OutputError: Where the disk is full or read-only.
        KeyboardInterrupt: After Ctrl-C, once `last` is saved.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    processes = Processes(config)
    trainer = _Trainer(
        processes, model=model, objective=objective, config=config, run=run, validate=validate, panels=panels
    )
    if resume:
        trainer.restore()
    processes.barrier()
    with InterruptGuard() as guard:
        return trainer.train(train_loader, batch_tokens, health_check, guard)


@dataclass
class _Clock:
    """Wall, CPU and waiting time of the steps that count."""

    steps: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    wait_s: float = 0.0
    _marks: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.process_time()))

    def start(self) -> None:
        """Begin to count from now: what was before is left out."""
        self._marks = (time.perf_counter(), time.process_time())

    def stop(self, steps: int, wait_s: float) -> None:
        """Count the time since `start` for `steps` steps."""
        wall, cpu = self._marks
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu
        self.wait_s += wait_s
        self.steps += steps
        self.start()

    def per_step(self) -> tuple[float, float, float]:
        """Return seconds, CPU seconds and share of waiting per step; NaN before the first."""
        if not self.steps:
            return math.nan, math.nan, math.nan
        return self.wall_s / self.steps, self.cpu_s / self.steps, self.wait_s / max(self.wall_s, 1e-9)


class _Trainer:
    """The state of one training."""

    def __init__(
        self,
        processes: Processes,
        *,
        model: nn.Module,
        objective: Objective,
        config: TrainConfig,
        run: RunDirectory,
        validate: Validate | None,
        panels: Panels | None,
    ) -> None:
        self.processes, self.config, self.run, self.objective = processes, config, run, objective
        self.validate, self.panels = validate, panels
        self.plain = model
        if config.sync_batch_norm and processes.count > 1 and processes.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        optimizer = torch.optim.AdamW(_parameter_groups(model, config), lr=config.learning_rate)
        self.model, self.optimizer = processes.setup(model, optimizer)
        self.step = 0
        self.best_step: int | None = None
        self.best_value: float | None = None
        self.watch = Watch(
            config.precision == "16-mixed",
            f"The last checkpoint, if any, is {run.last}. Look at these samples, or lower training.learning_rate",
        )
        self.clock = _Clock()
        self.last_batch: Any = None

    def restore(self) -> None:
        """Go on from the run's last checkpoint, if it has one."""
        if not self.run.can_resume():
            return
        load_into(self.plain, load_checkpoint(self.run.last))
        state = load_training_state(self.run.last)
        self.optimizer.load_state_dict(state["optimizer"])
        self.processes.load_precision_state(state["precision"])
        self.step, self.best_step, self.best_value = state["step"], state["best_step"], state["best_value"]

    def train(
        self,
        loader: Any,
        batch_tokens: Callable[[Any], Sequence[str]],
        health_check: Callable[[], None] | None,
        guard: InterruptGuard,
    ) -> FitResult:
        """Run the steps that are left."""
        config, first = self.config, self.step
        if first >= config.steps:
            return self._finished_before()
        if self.processes.is_main:
            self.run.write_summary({"finished": False, "steps": first})
        log = RunLog(self.run, self.processes.is_main, first)
        batches = batches_from(loader, first, lambda *place: seed_everything(config.seed, *place))
        self.model.train()
        try:
            with ProgressBar(config.steps, "training", unit="step", enabled=self.processes.is_main) as bar:
                bar.start_at(first)
                while self.step < config.steps:
                    self._one_step(batches, batch_tokens, first)
                    if health_check is not None:
                        health_check()
                    stop = self._at_log_time() and self.processes.any(guard.requested)
                    self._after_step(log, bar, stop)
                    if stop:
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            if self.processes.is_main and self.run.can_resume():
                note(f"interrupted at step {self.step}; what is saved can be resumed: {self.run.last}")
            raise
        finally:
            log.close()
        return self._finish(log.history)

    def _one_step(self, batches: Iterator[Any], batch_tokens: Callable[[Any], Sequence[str]], first: int) -> None:
        config, processes = self.config, self.processes
        began = time.perf_counter()
        batch = processes.to_device(next(batches))
        waited = time.perf_counter() - began
        tokens = batch_tokens(batch)
        seed_everything(config.seed, process_rank(), self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step) * group.get("rate_factor", 1.0)
        if hasattr(self.objective, "set_step"):
            self.objective.set_step(self.step)
        report = self.objective(self.model, batch)
        number = self.step + 1
        self.watch.add_loss(number, report, tokens)
        eager = processes.device.type == "cpu"  # looking at values costs nothing here, and keeps the weights clean
        if eager:
            self.watch.check()
        processes.backward(report.total)
        norm = processes.clip_gradients(self.model, self.optimizer, config.clip_norm or math.inf)
        self.watch.add_gradient(number, norm, tokens)
        if eager:
            self.watch.check(lambda: non_finite_gradients(self.plain))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step = number
        self.last_batch = batch
        untimed = min(_UNTIMED_STEPS, (config.steps - first) // 2)
        if number - first > untimed:
            self.clock.stop(1, waited)
        else:
            self.clock.start()

    def _at_log_time(self) -> bool:
        # In one process the guard is asked every step; over several, asking makes all of them wait.
        return self.processes.count == 1 or self._due(self.config.log_every_steps)

    def _due(self, every: int) -> bool:
        return self.step == self.config.steps or (every > 0 and self.step % every == 0)

    def _after_step(self, log: RunLog, bar: ProgressBar, stop: bool) -> None:
        config = self.config
        validating = self.validate is not None and config.val_every_steps > 0 and self._due(config.val_every_steps)
        saving = stop or self._due(config.checkpoint_every_steps)
        drawing = self.panels is not None and config.panel_every_steps > 0 and self._due(config.panel_every_steps)
        detail = ""
        if self._due(config.log_every_steps) or validating or saving or drawing:
            self.watch.check()
        if self._due(config.log_every_steps):
            values = self.watch.averages()
            seconds, _, wait = self.clock.per_step()
            extra = {"learning_rate": learning_rate(config, self.step - 1), "seconds_per_step": seconds}
            log.scalars(self.step, "train", {**values, **extra, "data_wait_share": wait})
            detail = f"loss {values.get('total', math.nan):.4g}"
        bar.advance(detail=detail)
        if validating or saving or drawing:
            with self._off_the_clock():
                if validating:
                    self._validate(log)
                if drawing:
                    self._draw(log)
                if saving:
                    self._save("last")

    @contextmanager
    def _off_the_clock(self) -> Iterator[None]:
        if self.clock.steps:
            self.clock.stop(0, 0.0)  # `check` has just waited for what a GPU still had to do for these steps
        self.model.eval()
        with torch.no_grad():
            yield
        self.model.train()
        self.clock.start()

    def _validate(self, log: RunLog) -> None:
        assert self.validate is not None
        metrics = self.validate(self.plain)
        log.scalars(self.step, "val", metrics)
        name = self.config.best_metric
        if name is None:
            return
        if name not in metrics:
            raise ConfigError(
                f"training.best_metric: expected one of the validation metrics {', '.join(metrics)}, got {name!r}"
            )
        value = metrics[name]
        sign = 1 if self.config.best_mode == "max" else -1
        if math.isfinite(value) and (self.best_value is None or sign * value > sign * self.best_value):
            self.best_step, self.best_value = self.step, float(value)
            self._save("best", metrics)

    def _draw(self, log: RunLog) -> None:
        assert self.panels is not None
        if self.processes.is_main:
            log.pictures(self.step, self.panels(self.plain, self.last_batch))

    def _save(self, which: str, metrics: dict[str, float] | None = None) -> None:
        if self.processes.is_main:
            best = {"best_step": self.best_step, "best_value": self.best_value}
            state = None
            if which == "last":
                precision = self.processes.precision_state()
                state = {"optimizer": self.optimizer.state_dict(), "precision": precision, "step": self.step, **best}
            meta = {"step": self.step, "metrics": metrics or {}, **best}
            folder = self.run.last if which == "last" else self.run.best
            save_checkpoint(folder, self.plain.state_dict(), self.run.config_yaml, meta, state)
        self.processes.barrier()

    def _finished_before(self) -> FitResult:
        summary = self.run.summary()
        names = ("seconds_per_step", "cpu_seconds_per_step", "data_wait_share")
        seconds, cpu, wait = (math.nan if summary.get(name) is None else summary[name] for name in names)
        return FitResult(self.step, seconds, cpu, wait, self.best_step, self.best_value, self.run.history())

    def _finish(self, history: list[dict[str, Any]]) -> FitResult:
        seconds, cpu, wait = self.clock.per_step()
        validations = [record for record in history if record["kind"] == "val"]
        if self.processes.is_main:
            self.run.write_summary(
                {
                    "finished": self.step >= self.config.steps,
                    "steps": self.step,
                    "seconds_per_step": seconds,
                    "cpu_seconds_per_step": cpu,
                    "data_wait_share": wait,
                    "best_step": self.best_step,
                    "best_value": self.best_value,
                    "last_validation": validations[-1] if validations else None,
                }
            )
        return FitResult(self.step, seconds, cpu, wait, self.best_step, self.best_value, history)


def _parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split weights by learning rate, and within one by whether they decay."""
    found: dict[str | None, list[nn.Parameter]] = {None: [], **{prefix: [] for prefix in config.learning_rates}}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            prefixes = [p for p in config.learning_rates if name == p or name.startswith(f"{p}.")]
            found[max(prefixes, key=len, default=None)].append(weight)
    groups: list[dict[str, Any]] = []
    for prefix, weights in found.items():
        if prefix is not None and not weights:
            raise ConfigError(
                f"training.learning_rates: no trained weight's name starts with {prefix!r}; the network has "
                f"{', '.join(dict.fromkeys(name.split('.')[0] for name, _ in model.named_parameters()))}"
            )
        factor = 1.0 if prefix is None else config.learning_rates[prefix] / config.learning_rate
        matrices = [weight for weight in weights if weight.ndim > 1]
        vectors = [weight for weight in weights if weight.ndim <= 1]
        groups.append({"params": matrices, "weight_decay": config.weight_decay, "rate_factor": factor})
        groups.append({"params": vectors, "weight_decay": 0.0, "rate_factor": factor})
    return [group for group in groups if group["params"]]
