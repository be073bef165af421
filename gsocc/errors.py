"""Errors that a user can cause and fix, and the one place that reports them on a terminal."""

import os
import sys
import traceback
from collections.abc import Callable

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # what shells report for a process that Ctrl-C ended


class UserError(Exception):
    """What the user can cause and fix; the message says what was expected, what came, what to do."""


class DataError(UserError, ValueError):
    """A data set, file or array that does not hold what its format promises."""


class ConfigError(UserError):
    """A configuration that cannot be read or does not fit its model."""


class CheckpointError(UserError):
    """A checkpoint that is damaged, or that belongs to another architecture or grid."""


class OutputError(UserError):
    """A place that cannot be written to."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency that is not installed; the message holds the command that installs it."""


def run_reporting_errors(function: Callable[[], object], *, debug: bool = False) -> int:
    """Run a program's body and turn what it raises into a message and an exit code.

    A `UserError`, and any `OSError` (a missing file, a full disk), becomes one message on stderr without a
    traceback. Anything else is a mistake of ours: its traceback is shown, with a hint to report it.

    Args:
        function: The body; what it returns is ignored.
        debug: Show the traceback of user errors too. The environment variable GSOCC_DEBUG=1 does the same.

    Returns:
        Exit code: 0, 1 after an error, 130 after Ctrl-C; a `SystemExit` keeps its own.
    """
    try:
        function()
    except KeyboardInterrupt:
        _write("interrupted", "yellow")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`gsocc ... | head`); Python would complain again in its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except (UserError, OSError) as error:
        if debug or os.environ.get("GSOCC_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        _write(f"error: {describe(error)}", "red")
        return EXIT_ERROR
    except Exception:
        traceback.print_exc()
        _write(
            "this is a bug in gsocc: please report it with the lines above and the command that you ran",
            "red",
        )
        return EXIT_ERROR
    return 0


def describe(error: Exception) -> str:
    """Return the message of an error, with the file name where the system names one."""
    if isinstance(error, OSError) and not isinstance(error, UserError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def _write(message: str, colour: str) -> None:
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        code = {"red": 31, "yellow": 33}[colour]
        message = f"\x1b[{code}m{message}\x1b[0m"
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
