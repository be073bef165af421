"""What the command lines of both stages share: options of a training, and what they come to.

Heavy imports happen inside, so that help stays quick.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from gsocc.errors import UserError

if TYPE_CHECKING:
    from gsocc.config import Config

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file that describes the run.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Change a key, as training.steps=100; repeatable.")]
Checkpoint = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint folder in it.")]
RunFolder = Annotated[Path | None, typer.Option(help="Run directory; default runs/<name of the run>.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the run directory.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the run that the directory holds.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved run and stop.")]

Policy = Literal["new", "resume", "overwrite"]
RunConfig = TypeVar("RunConfig", bound="Config")


def resolve_run(model: type[RunConfig], config: Path, overrides: Sequence[str], print_config: bool) -> RunConfig | None:
    """Read the run that a command line asks for; None where it was to be printed, which is done."""
    from gsocc.config import load_config, to_yaml

    run = load_config(config, model, overrides)
    if not print_config:
        return run
    typer.echo(to_yaml(run), nl=False)
    return None


def policy_of(resume: bool, overwrite: bool) -> Policy:
    """Return what to do with a run directory that is not empty.

    Raises:
        UserError: Where both are asked for.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    return "resume" if resume else "overwrite" if overwrite else "new"
