"""Tokens and file names of a world: both follow from names, so that they are the same in every run."""

import hashlib

from gsocc.datasets.world.spec import WorldSpec


def token(spec: WorldSpec, *parts: str | int) -> str:
    """Return 32 hexadecimal digits that belong to a name within a world."""
    name = "/".join(str(p) for p in (spec.preset, spec.seed, *parts))
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def sample_token(spec: WorldSpec, scene: int, keyframe: int) -> str:
    """Return the token of a key frame."""
    return token(spec, "sample", spec.scene_name(scene), keyframe)


def sample_data_token(spec: WorldSpec, scene: int, channel: str, offset_us: int) -> str:
    """Return the token of a recording, which is also that of its ego pose, as in nuScenes."""
    return token(spec, "sample_data", spec.scene_name(scene), channel, offset_us)


def logfile(spec: WorldSpec, scene: int) -> str:
    """Return the name of the log of a scene; file names begin with it."""
    return f"world-{spec.preset}-{spec.seed}-{spec.scene_name(scene)}"


def recording(spec: WorldSpec, scene: int, channel: str, offset_us: int) -> str:
    """Return the base name of a recording, without its suffix."""
    return f"{logfile(spec, scene)}__{channel}__{spec.start_us(scene) + offset_us}"


def recording_path(spec: WorldSpec, scene: int, channel: str, offset_us: int, *, key: bool) -> str:
    """Return the path of an image or a scan below the root."""
    suffix = "jpg" if channel.startswith("CAM") else "pcd.bin"
    return f"{'samples' if key else 'sweeps'}/{channel}/{recording(spec, scene, channel, offset_us)}.{suffix}"
