"""The program of one process that writes key frames; see `gsocc.datasets.world.workers`."""

import json
import sys
from pathlib import Path

from gsocc.datasets.world.frames import write_keyframe
from gsocc.datasets.world.spec import WorldSpec
from gsocc.errors import UserError, describe
from gsocc.files import output_errors


def main() -> int:
    """Read a job from stdin, write its key frames, and report each as a line of JSON on stdout."""
    job = json.load(sys.stdin)
    spec, out = WorldSpec.from_json(job["spec"]), Path(job["out"])
    try:
        for scene, keyframe in job["tasks"]:
            with output_errors(out):
                objects = write_keyframe(spec, out, scene, keyframe)
            _say({"task": [scene, keyframe], "objects": objects})
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
