"""Weights with a learning rate of their own."""

import pytest
import torch
from small_training import small_config, small_model

from gsocc.errors import ConfigError


def test_a_first_step_of_adam_is_as_long_as_the_rate_of_its_weights(train) -> None:
    """Adam's first step moves every weight by its learning rate, whatever the gradient: here 0.01 and 0.1 for layer 3.

    The constant schedule has no warm-up, and nothing decays.
    """
    config = small_config(
        steps=1, warmup_steps=0, schedule="constant", weight_decay=0.0, clip_norm=None, learning_rates={"3": 0.1}
    )
    before = small_model().state_dict()
    model, _, _ = train(config=config)
    moved = {name: (value - before[name]).abs().max().item() for name, value in model.named_parameters()}
    assert moved["0.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["3.weight"] == pytest.approx(0.1, rel=1e-3)
    assert moved["3.bias"] == pytest.approx(0.1, rel=1e-3)


def test_own_rates_survive_a_resume(train) -> None:
    """Five steps and five more end where ten do."""
    changes = {"learning_rates": {"3": 0.03}, "schedule": "constant"}
    whole, _, _ = train("whole", config=small_config(**changes))
    train("parts", config=small_config(steps=5, **changes))
    parts, _, _ = train("parts", config=small_config(**changes), resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_rate_for_weights_that_are_not_there_is_refused(train) -> None:
    """A misspelt name would train with the common rate and say nothing."""
    with pytest.raises(ConfigError, match="no trained weight's name starts with 'decodr'; the network has 0, 1, 3"):
        train(config=small_config(learning_rates={"decodr": 0.1}))
