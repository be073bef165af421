"""The training loop: what it learns, writes, keeps and survives."""

import json
import math
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from small_training import Points, collate, objective, small_config, small_model
from torch import nn
from torch.utils.data import DataLoader

from gsocc.engine import LossReport, TrainingDiverged, load_checkpoint
from gsocc.engine.config import learning_rate
from gsocc.errors import ConfigError, OutputError


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_a_line_is_learnt(train) -> None:
    """A net with eight hidden units fits y = 2x + 2 to well below the variance of y, which is 4/3."""
    _, result, run = train(config=small_config(steps=200, learning_rate=0.03))
    assert result.steps == 200
    assert result.history[-1]["total"] < 0.2
    assert run.finished()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(train) -> None:
    a, _, _ = train("a")
    b, _, _ = train("b")
    assert_same_weights(a, b)


def test_a_resumed_run_equals_one_that_was_never_stopped(train) -> None:
    """Step 5 ends a batch inside the second epoch, and schedule, optimiser, noise and order all have to go on."""
    whole, _, _ = train("whole")

    def stop_at_7(step: list[int] = [0]) -> None:  # noqa: B006  (a counter)
        step[0] += 1
        if step[0] == 7:
            raise OutputError("pulled the plug")

    with pytest.raises(OutputError, match="pulled the plug"):
        train("parts", health_check=stop_at_7)
    parts, result, _ = train("parts", resume=True)
    assert_same_weights(whole, parts)
    assert [record["step"] for record in result.history] == [2, 4, 6, 8, 10]


def test_a_resumed_run_does_not_depend_on_validation_or_pictures(train) -> None:
    """What a step draws follows from (seed, process, step), not from what was drawn in between."""
    plain, _, _ = train("plain")

    def validate(model: nn.Module) -> dict[str, float]:
        return {"score": float(torch.rand(()))}

    watched, _, _ = train("watched", validate=validate, config=small_config(val_every_steps=3))
    assert_same_weights(plain, watched)


def test_resuming_works_for_any_loader_with_a_length(train) -> None:
    def loader() -> Any:
        return DataLoader(Points(), batch_size=4, shuffle=True, collate_fn=collate)

    whole, _, _ = train("whole", train_loader=loader())
    train("parts", train_loader=loader(), config=small_config(steps=5, schedule="constant"))
    parts, _, _ = train("parts", train_loader=loader(), resume=True, config=small_config(schedule="constant"))
    constant, _, _ = train("constant", train_loader=loader(), config=small_config(schedule="constant"))
    assert_same_weights(constant, parts)
    assert not torch.equal(whole[0].weight, parts[0].weight)  # the schedule matters, so the test can fail


def test_resuming_a_finished_run_does_nothing_and_keeps_its_timings(train) -> None:
    _, first, run = train()
    before = (run.path / "metrics.json").read_bytes()
    _, again, _ = train(resume=True)
    assert again.steps == 10
    assert again.seconds_per_step == first.seconds_per_step
    assert (run.path / "metrics.json").read_bytes() == before


def test_the_best_checkpoint_is_the_one_of_the_best_validation(train) -> None:
    scores = iter([0.1, 0.9, math.nan, 0.5, 0.2])
    _, result, run = train(
        validate=lambda model: {"score": next(scores)}, config=small_config(val_every_steps=2, best_metric="score")
    )
    assert (result.best_step, result.best_value) == (4, 0.9)
    assert load_checkpoint(run.best).meta["step"] == 4
    assert load_checkpoint(run.last).meta["step"] == 10


def test_lower_is_better_where_the_config_says_so(train) -> None:
    scores = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    config = small_config(val_every_steps=2, best_metric="error", best_mode="min")
    _, result, _ = train(validate=lambda model: {"error": next(scores)}, config=config)
    assert (result.best_step, result.best_value) == (4, 1.0)


def test_an_unknown_best_metric_names_those_that_exist(train) -> None:
    config = small_config(val_every_steps=2, best_metric="scor")
    with pytest.raises(ConfigError, match=r"training\.best_metric: expected one of the validation metrics score"):
        train(validate=lambda model: {"score": 1.0}, config=config)


def test_validation_sees_evaluation_mode_and_training_goes_on_in_training_mode(train) -> None:
    modes = []

    def validate(model: nn.Module) -> dict[str, float]:
        modes.append((model.training, torch.is_grad_enabled()))
        return {"score": 0.0}

    def watching(model: nn.Module, batch: Any) -> LossReport:
        assert model.training
        return objective(model, batch)

    train(validate=validate, objective=watching, config=small_config(val_every_steps=5))
    assert modes == [(False, False), (False, False)]


def test_a_loss_that_is_not_finite_stops_with_step_term_and_tokens(train) -> None:
    def breaks(model: nn.Module, batch: Any, step: list[int] = [0]) -> LossReport:  # noqa: B006  (a counter)
        step[0] += 1
        report = objective(model, batch)
        bad = report.terms["error"] * (math.nan if step[0] == 4 else 0.0)
        return LossReport(report.total + bad, {**report.terms, "photometric": bad})

    model = small_model()
    with pytest.raises(TrainingDiverged) as caught:
        train(objective=breaks, model=model)
    message = str(caught.value)
    assert "step 4" in message
    assert "'photometric' is nan" in message
    assert message.count("point") == 4 + message.count("checkpoint")
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_gradient_that_is_not_finite_names_the_weight(train) -> None:
    """The square root has value 0 and slope infinity at 0, which a look at the loss alone would miss."""

    def breaks(model: nn.Module, batch: Any) -> LossReport:
        error = (next(model.parameters()).sum() * 0).sqrt()
        return LossReport(error, {"error": error})

    with pytest.raises(TrainingDiverged, match=r"step 1: the gradient of '0\.weight' is nan"):
        train(objective=breaks)


def test_the_gradient_is_clipped_to_the_norm_and_logged_before(train) -> None:
    def steep(model: nn.Module, batch: Any) -> LossReport:
        loss = 1e4 * objective(model, batch).terms["error"]
        return LossReport(loss, {"error": loss})

    norms = []
    model = small_model()

    def look() -> None:
        norms.append(0)

    _, result, _ = train(objective=steep, model=model, health_check=look, config=small_config(clip_norm=1.0))
    assert result.history[0]["gradient_norm"] > 100
    assert len(norms) == 10


def test_mixed_precision_on_the_cpu_is_refused(train) -> None:
    with pytest.raises(ConfigError, match=r"training\.precision: expected 32-true on the CPU, got '16-mixed'"):
        train(config=small_config(precision="16-mixed"))


def test_an_interrupt_finishes_the_step_saves_and_resumes_exactly(train) -> None:
    whole, _, _ = train("whole")

    def interrupted(model: nn.Module, batch: Any, step: list[int] = [0]) -> LossReport:  # noqa: B006  (a counter)
        step[0] += 1
        if step[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return objective(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train("parts", objective=interrupted)
    parts, result, _ = train("parts", resume=True)
    assert result.steps == 10
    assert_same_weights(whole, parts)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_in_the_middle_of_a_save_keeps_the_old_checkpoint(train, monkeypatch) -> None:
    import gsocc.engine.checkpoints as checkpoints

    real = checkpoints.write_json
    saves = []

    def twice(path: Any, value: Any) -> None:
        saves.append(path)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        real(path, value)

    monkeypatch.setattr(checkpoints, "write_json", twice)
    with pytest.raises(KeyboardInterrupt):
        train()
    monkeypatch.undo()
    _, _, run = train(resume=True, config=small_config(steps=5))
    assert load_checkpoint(run.last).meta["step"] == 5
    assert sorted(p.name for p in run.last.parent.iterdir()) == ["last"]


def test_a_full_disk_is_one_message_and_keeps_the_old_checkpoint(train, monkeypatch) -> None:
    import gsocc.engine.checkpoints as checkpoints

    real = checkpoints.save_safetensors
    saves = []

    def full(state: Any) -> bytes:
        saves.append(1)
        if len(saves) == 2:
            raise OSError(28, "No space left on device")
        return real(state)

    monkeypatch.setattr(checkpoints, "save_safetensors", full)
    with pytest.raises(OutputError, match=r"checkpoints/last: the disk is full; free some space"):
        train()
    monkeypatch.undo()
    _, result, _ = train(resume=True)
    assert result.steps == 10


def test_scalars_pictures_and_summary_are_written(train) -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    config = small_config(panel_every_steps=5, val_every_steps=5)
    _, result, run = train(validate=lambda m: {"val": 1.0}, panels=lambda m, b: {"a/view": image}, config=config)
    assert sorted(p.name for p in run.panels.iterdir()) == ["0000005-a-view.png", "0000010-a-view.png"]
    assert list(run.tensorboard.glob("events*"))
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in lines if record["kind"] == "val"] == [5, 10]
    assert {"total", "error", "noise", "gradient_norm", "learning_rate"} <= set(lines[0])
    summary = json.loads((run.path / "metrics.json").read_text())
    assert summary["finished"]
    assert summary["last_validation"]["val"] == 1.0
    assert result.seconds_per_step > 0
    assert 0 <= result.data_wait_share <= 1


def test_the_time_per_step_leaves_out_compilation_and_validation(train) -> None:
    """The first step and each validation sleep for 0.2 s; a step of this model takes a few milliseconds."""
    import time

    def slow_start(model: nn.Module, batch: Any, step: list[int] = [0]) -> LossReport:  # noqa: B006  (a counter)
        step[0] += 1
        time.sleep(0.2 if step[0] == 1 else 0)
        return objective(model, batch)

    def validate(model: nn.Module) -> dict[str, float]:
        time.sleep(0.2)
        return {}

    _, result, _ = train(objective=slow_start, validate=validate, config=small_config(steps=12, val_every_steps=6))
    assert result.seconds_per_step < 0.1


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 99, 1.0),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("step", 74, 1.0),
        ("step", 75, 0.1),
        ("cosine", 4, 5 / 11),
    ],
)
def test_the_learning_rate_by_hand(schedule: str, step: int, expected: float) -> None:
    """Warm-up over 10 steps reaches the full rate at step 10; the cosine is half-way at step 55 of 10..100."""
    config = small_config(steps=100, warmup_steps=10, learning_rate=1.0, schedule=schedule)
    assert learning_rate(config, step) == pytest.approx(expected)


@pytest.mark.slow
def test_loading_in_worker_processes_changes_nothing(train) -> None:
    here, _, _ = train("here", config=small_config(workers=0))
    there, _, _ = train("there", config=small_config(workers=2))
    assert_same_weights(here, there)


def test_weights_of_a_run_are_those_in_memory(train) -> None:
    model, _, run = train()
    state = load_checkpoint(run.last).state
    assert all(torch.equal(state[name], value) for name, value in weights_of(model).items())
