"""Mixed precision and resuming on a GPU."""

import pytest
import torch
from small_training import small_config

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_line_is_learnt_in_every_precision(train, precision: str) -> None:
    """As on the CPU; half a percent of the error is rounding in bfloat16, which keeps 8 bits."""
    config = small_config(steps=200, learning_rate=0.03, device="cuda", precision=precision)
    _, result, _ = train(config=config)
    assert result.history[-1]["total"] < 0.2


def test_a_resumed_run_equals_one_that_was_never_stopped_up_to_rounding(train) -> None:
    """GPU sums may round differently from run to run, hence a tolerance of a few float32 ulps over ten steps."""
    config = {"device": "cuda", "schedule": "constant"}
    whole, _, _ = train("whole", config=small_config(**config))
    train("parts", config=small_config(steps=5, **config))
    parts, _, _ = train("parts", resume=True, config=small_config(**config))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-4, atol=1e-5)
