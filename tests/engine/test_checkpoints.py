"""Checkpoint folders: whole or absent, strict about names and shapes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gsocc.engine import load_checkpoint, load_into, save_checkpoint
from gsocc.engine.checkpoints import load_training_state
from gsocc.errors import CheckpointError, OutputError


def linear(inputs: int = 2, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))


def saved(folder: Path, model: nn.Module, step: int = 1) -> Path:
    save_checkpoint(folder, model.state_dict(), "name: a\n", {"step": step}, {"step": step, "optimizer": {}})
    return folder


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    model, other = linear(), linear()
    checkpoint = load_checkpoint(saved(tmp_path / "last", model))
    load_into(other, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert (checkpoint.config_yaml, checkpoint.meta) == ("name: a\n", {"step": 1})
    assert load_training_state(tmp_path / "last")["step"] == 1


def test_tied_weights_are_saved_twice_and_load(tmp_path: Path) -> None:
    """Safetensors refuses tensors that share memory."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    load_into(model, load_checkpoint(saved(tmp_path / "last", model)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(2, 3)), ["unexpected: 1.bias, 1.num_batches_tracked"]),
        (nn.Sequential(*linear(), nn.Linear(3, 1)), ["missing: 2.weight, 2.bias"]),
        (linear(2, 4), ["of another shape: 0.weight (model (4, 2), checkpoint (3, 2))"]),
    ],
)
def test_a_checkpoint_of_another_architecture_names_what_differs(
    tmp_path: Path, model: nn.Module, words: list[str]
) -> None:
    checkpoint = load_checkpoint(saved(tmp_path / "last", linear()))
    with pytest.raises(CheckpointError) as caught:
        load_into(model, checkpoint)
    assert "another architecture or grid" in str(caught.value)
    assert str(tmp_path / "last") in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_a_missing_checkpoint_says_which_there_are(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "checkpoints" / "last", linear())
    with pytest.raises(CheckpointError, match=r"expected a checkpoint folder .*; there is .*checkpoints/last"):
        load_checkpoint(tmp_path / "run")
    with pytest.raises(CheckpointError, match="train one first, or check the path"):
        load_checkpoint(tmp_path / "elsewhere" / "last")


@pytest.mark.parametrize("keep_bytes", [0, 60])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, keep_bytes: int) -> None:
    folder = saved(tmp_path / "last", linear())
    for name in ("model.safetensors", "training_state.pt"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"training_state\.pt: damaged"):
        load_training_state(folder)


def test_code_in_a_training_state_is_not_run(tmp_path: Path) -> None:
    """A pickle can name any callable; only tensors and plain values may come back."""
    folder = saved(tmp_path / "last", linear())
    torch.save({"step": Path("/")}, folder / "training_state.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(folder)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path / "last", linear(), step=1)
    with pytest.raises(TypeError):
        save_checkpoint(folder, linear().state_dict(), "", {"step": object()})
    assert load_checkpoint(folder).meta["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_a_process_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    """That moment is the only one in which `last` has no folder: the old one lies under its hidden name."""
    saved(tmp_path / "last", linear(), step=4).rename(tmp_path / ".last.replaced")
    assert load_checkpoint(tmp_path / "last").meta["step"] == 4


def test_a_file_in_the_way_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*run/last: a file is in the way"):
        saved(tmp_path / "run" / "last", linear())
