"""The formats that a world can be written in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsocc.datasets.world.ddad_frames import write_sample
from gsocc.datasets.world.ddad_root import write_scene_files
from gsocc.datasets.world.ddad_spec import DdadSpec
from gsocc.datasets.world.frames import write_keyframe
from gsocc.datasets.world.nuscenes_root import write_tables
from gsocc.datasets.world.rig_folder import write_moment, write_rig_file
from gsocc.datasets.world.rig_spec import RigSpec
from gsocc.datasets.world.spec import WorldSpec

Spec = WorldSpec | DdadSpec | RigSpec
Result = dict[str, list[int]]
Results = dict[tuple[int, int], Result]  # by scene and moment


@dataclass(frozen=True)
class Format:
    """How a world of one format is written.

    Attributes:
        unit: What a moment is called.
        read_spec: Reads what the spec's `as_json` returns.
        write_moment: Writes what is recorded at one moment (spec, root, scene, moment), and returns what the end
            needs to know of it.
        finish: Writes what describes the whole (spec, root, results of all moments).
    """

    unit: str
    read_spec: Callable[[dict[str, Any]], Spec]
    write_moment: Callable[[Any, Path, int, int], Result]
    finish: Callable[[Any, Path, Results], None]


FORMATS: dict[str, Format] = {
    "nuscenes": Format("key frame", WorldSpec.from_json, write_keyframe, write_tables),
    "ddad": Format("sample", DdadSpec.from_json, write_sample, write_scene_files),
    "rig": Format("moment", RigSpec.from_json, write_moment, write_rig_file),
}
