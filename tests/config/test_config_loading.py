"""Configuration: includes, overrides, and errors that say where, what and what instead."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from gsocc.config import Config, ConfigError, load_config, to_yaml


class Splat(Config):
    name: Literal["splat_gsplat", "splat_cpu"]
    tile: int = 16


class Volume(Config):
    name: Literal["volume"]
    samples: int = Field(64, ge=1)


class Training(Config):
    steps: int
    learning_rate: float = Field(1e-4, gt=0)


class Run(Config):
    name: str = "run"
    renderer: Annotated[Splat | Volume, Field(discriminator="name")] = Splat(name="splat_cpu")
    training: Training = Training(steps=10)
    size: tuple[int, int] = (90, 160)
    root: Path = Path("data")
    extra: tuple[Training, ...] = ()
    far_m: float = float("inf")

    @model_validator(mode="after")
    def _far(self) -> "Run":
        if self.far_m < 1:
            raise ValueError(f"far_m must be at least 1, got {self.far_m}")
        return self


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def error_of(text: str, overrides: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write("occ/x.yaml", text), Run, overrides or [])
    return str(caught.value)


def test_the_including_file_wins_over_included_ones_and_later_over_earlier() -> None:
    write("base.yaml", "name: base\ntraining: {steps: 1, learning_rate: 0.5}\n")
    write("parts/fast.yaml", "training: {learning_rate: 1e-3}\nsize: [1, 2]\n")
    path = write("occ/x.yaml", "include: [../base.yaml, ../parts/fast.yaml]\ntraining: {steps: 7}\n")
    run = load_config(path, Run)
    assert (run.name, run.training, run.size) == ("base", Training(steps=7, learning_rate=1e-3), (1, 2))


def test_overrides_win_over_everything_and_are_yaml() -> None:
    path = write("x.yaml", "training: {steps: 7}\n")
    run = load_config(path, Run, ["training.steps=3", "size=[4, 5]", "training.learning_rate=2e-4", "root=/a=b"])
    assert (run.training.steps, run.size, run.training.learning_rate, run.root) == (3, (4, 5), 2e-4, Path("/a=b"))


def test_another_implementation_replaces_the_options_of_the_first() -> None:
    """Options of a splat mean nothing to a volume renderer, so a switch by name starts the block anew."""
    write("base.yaml", "name: base\nrenderer: {name: splat_cpu, tile: 8}\n")
    path = write("x.yaml", "include: base.yaml\nname: x\n")
    assert load_config(path, Run, ["renderer.name=volume", "renderer.samples=5"]).renderer == Volume(
        name="volume", samples=5
    )
    assert load_config(path, Run, ["renderer.name=splat_gsplat"]).renderer == Splat(name="splat_gsplat", tile=8)


def test_what_is_written_is_read_back_equal() -> None:
    run = Run(name="a", size=(3, 4), extra=(Training(steps=1),), renderer=Volume(name="volume"))
    assert load_config(write("x.yaml", to_yaml(run)), Run) == run


def test_a_loaded_config_cannot_be_changed() -> None:
    run = load_config(write("x.yaml", "name: a"), Run)
    with pytest.raises(ValidationError, match="frozen"):
        run.name = "b"  # type: ignore[misc]


def test_a_wrong_choice_names_file_key_options_and_the_nearest() -> None:
    message = error_of("renderer: {name: splat_cp}")
    assert message == (
        "occ/x.yaml: renderer.name: expected one of splat_gsplat, splat_cpu, volume, got 'splat_cp'; "
        "did you mean splat_cpu?"
    )


def test_a_wrong_key_names_the_keys_of_its_level_and_the_nearest() -> None:
    message = error_of("training: {stesp: 3}")
    assert (
        "occ/x.yaml: training.stesp: unknown key, expected one of steps, learning_rate; did you mean steps?" in message
    )
    assert "occ/x.yaml: training.steps: expected a value, but the key is missing" in message


def test_a_wrong_key_of_an_implementation_is_measured_against_that_one() -> None:
    message = error_of("renderer: {name: volume, sample: 3}")
    assert message == "occ/x.yaml: renderer.sample: unknown key, expected one of name, samples; did you mean samples?"


def test_an_error_in_an_included_file_names_that_file() -> None:
    write("base.yaml", "training: {steps: many}\n")
    assert error_of("include: ../base.yaml\nname: a\n").startswith(
        "base.yaml: training.steps: expected a valid integer"
    )


def test_an_error_in_an_override_names_the_override() -> None:
    message = error_of("training: {steps: 1}", ["training.learning_rate=-1"])
    assert message == "--set training.learning_rate=-1: training.learning_rate: expected greater than 0, got -1"


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("name: a\nname: b\n", [], "occ/x.yaml: name: expected once, but line 2 says it a second time"),
        ("training:\n  steps: 1\n  steps: 2\n", [], "training.steps: expected once, but line 3"),
        ("name: [1\n", [], "occ/x.yaml: line 2: not valid YAML"),
        ("- a\n- b\n", [], "occ/x.yaml: expected a mapping of keys to values, got a seq"),
        ("include: nope.yaml\n", [], "occ/x.yaml: include: expected a YAML file relative to this one, got 'nope.yaml'"),
        ("include: {a: 1}\n", [], "include: expected a path or a list of paths"),
        ("include: x.yaml\n", [], "files include each other in a circle: occ/x.yaml -> occ/x.yaml"),
        ("far_m: 0.5\n", [], "far_m must be at least 1, got 0.5"),
        ("extra: [{steps: 1}, {step: 1}]\n", [], "extra.1.step: unknown key"),
        ("renderer: {tile: 3}\n", [], "renderer.name: expected the name of an implementation"),
        ("name: a", ["training.steps"], "--set training.steps: expected key.path=value"),
        ("name: a", ["training.steps=[1"], "--set training.steps=[1: line 1: not valid YAML"),
        ("extra: [{steps: 1}]", ["extra.0.steps=2"], "extra is a list; give it whole: extra=[...]"),
        ("name: a", ["size=[1]"], "--set size=[1]: size.1: expected a value"),
    ],
)
def test_bad_input_says_where_and_what(text: str, overrides: list[str], expected: str) -> None:
    assert expected in error_of(text, overrides)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"configs/nope\.yaml: no such file"):
        load_config("configs/nope.yaml", Run)
