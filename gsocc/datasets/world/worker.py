"""The program of one process that writes moments of a world; see `gsocc.datasets.world.workers`."""

import json
import sys
from pathlib import Path

from gsocc.datasets.world.formats import FORMATS
from gsocc.errors import UserError, describe
from gsocc.files import output_errors


def main() -> int:
    """Read a job from stdin, write its moments, and report each as a line of JSON on stdout."""
    job = json.load(sys.stdin)
    form, out = FORMATS[job["format"]], Path(job["out"])
    spec = form.read_spec(job["spec"])
    try:
        for scene, moment in job["tasks"]:
            with output_errors(out):
                objects = form.write_moment(spec, out, scene, moment)
            _say({"task": [scene, moment], "objects": objects})
    except (OSError, UserError) as error:
        _say({"error": describe(error)})
    except KeyboardInterrupt:
        return 130
    return 0


def _say(value: dict) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
