"""Losses and gradients as they go by: averages for the log, and a stop where one is no longer finite."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gsocc.errors import UserError

# float16 steps overflow now and then, and the scaler then halves its scale; this many in a row are no accident.
_AMP_PATIENCE = 25


class TrainingDiverged(UserError):
    """A loss or a gradient that is not finite any more."""


@dataclass(frozen=True)
class LossReport:
    """What one step's objective came to.

    Attributes:
        total: Scalar that is minimised, the sum of `terms`.
        terms: Weighted scalars by name, for the log.
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class _Pending:
    step: int
    names: tuple[str, ...]
    values: Tensor
    tokens: tuple[str, ...]


class Watch:
    """Collects losses and gradient norms without making a GPU wait, until `check` looks at all of them at once."""

    def __init__(self, scaled_gradients: bool, advice: str) -> None:
        self._scaled_gradients = scaled_gradients  # float16: single overflows are the scaler's business
        self._advice = advice
        self._losses: list[_Pending] = []
        self._gradients: list[tuple[int, Tensor, tuple[str, ...]]] = []
        self._overflows = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add_loss(self, step: int, report: LossReport, tokens: Sequence[str]) -> None:
        """Remember a step's losses."""
        values = [report.total, *report.terms.values()]
        stacked = torch.stack([v.detach().float().reshape(()).to(report.total.device) for v in values])
        self._losses.append(_Pending(step, ("total", *report.terms), stacked, tuple(tokens)))

    def add_gradient(self, step: int, norm: Tensor, tokens: Sequence[str]) -> None:
        """Remember the norm of a step's gradient, before clipping."""
        self._gradients.append((step, norm.detach(), tuple(tokens)))

    def check(self, where: Callable[[], str] | None = None) -> None:
        """Look at everything since the last check.

        Args:
            where: Names the weights whose gradient is not finite, as long as the gradients still stand.

        Raises:
            TrainingDiverged: With the step, the term and the tokens of the batch.
        """
        losses, self._losses = self._losses, []
        gradients, self._gradients = self._gradients, []
        for pending in losses:
            values = dict(zip(pending.names, pending.values.tolist(), strict=True))
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            if bad:
                terms = [name for name in bad if name != "total"] or bad
                what = " and ".join(f"the loss term '{name}' is {values[name]}" for name in terms)
                raise self._diverged(pending.step, what, pending.tokens)
            for name, value in values.items():
                self._count(name, value)
        for step, norm, tokens in gradients:
            value = float(norm)
            self._overflows = 0 if math.isfinite(value) else self._overflows + 1
            if self._overflows > (_AMP_PATIENCE if self._scaled_gradients else 0):
                raise self._diverged(step, f"the gradient{where() if where else ''} is {value}", tokens)
            if math.isfinite(value):
                self._count("gradient_norm", value)

    def averages(self) -> dict[str, float]:
        """Return the means of losses and gradient norm since the last call, and start anew."""
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        self._sums, self._counts = {}, {}
        return means

    def _count(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value
        self._counts[name] = self._counts.get(name, 0) + 1

    def _diverged(self, step: int, what: str, tokens: tuple[str, ...]) -> TrainingDiverged:
        return TrainingDiverged(f"training stopped at step {step}: {what} (batch: {', '.join(tokens)}). {self._advice}")


def non_finite_gradients(model: nn.Module) -> str:
    """Return " of 'name'" for the first weight whose gradient is not finite, "" where there is none."""
    for name, weight in model.named_parameters():
        if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
            return f" of '{name}'"
    return ""
