"""What is written once for a data set in DDAD's format: scene files, calibration, and the list of scenes."""

import calendar
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from gsocc.datasets.world.ddad_frames import build_ddad_scene, image_path, scan_path
from gsocc.datasets.world.ddad_rig import CAMERAS, LIDAR, ddad_cameras
from gsocc.datasets.world.ddad_spec import DdadSpec
from gsocc.datasets.world.saving import save_bytes
from gsocc.datasets.world.scene import WorldScene
from gsocc.datasets.world.sensors import Camera, rigid, turn_about_z
from gsocc.datasets.world.tables import quaternion

Record = dict[str, Any]
DATASET_FILE = "ddad.json"
_SPLIT_IDS = {"train": "0", "val": "1"}
_WORLD_REACH_M = 2500.0  # how far a scene may lie from the origin of its world


def write_scene_files(spec: DdadSpec, root: Path, _results: dict[tuple[int, int], dict[str, list[int]]]) -> None:
    """Write every scene's description, then the data set's, which makes the whole readable."""
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for scene in range(spec.scenes):
        split = "train" if scene < spec.train_scenes else "val"
        splits[split].append(f"{spec.folder(scene)}/{_write_scene(spec, root / spec.folder(scene), scene)}")
    metadata = {
        "available_annotation_types": [], "creation_date": "", "creator": "", "description": "", "name": "DDAD",
        "origin": "PUBLIC", "version": "1",
    }  # fmt: skip
    scene_splits = {_SPLIT_IDS[name]: {"filenames": files} for name, files in splits.items() if files}
    save_bytes(root / DATASET_FILE, _encode({"metadata": metadata, "scene_splits": scene_splits}))


def vehicle_to_world(spec: DdadSpec, scene: int, world: WorldScene, stamp: int) -> np.ndarray:
    """Return the 4x4 pose of the vehicle at a stamp, in a world whose origin is far away and not quite level."""
    rng = np.random.default_rng([*spec.scene_seed(scene), 6])
    position = rng.uniform(-1, 1, 3) * [_WORLD_REACH_M, _WORLD_REACH_M, 20.0]
    slope, axis = np.radians(rng.uniform(0.3, 1.5)), turn_about_z(rng.uniform(-np.pi, np.pi))
    c, s = np.cos(slope), np.sin(slope)
    tilt = axis @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ axis.T
    x, y, heading = world.ego.pose(spec.time_s(scene, stamp))
    local = rigid(turn_about_z(float(heading)), (float(x), float(y), 0.0))
    return rigid(tilt @ turn_about_z(rng.uniform(-np.pi, np.pi)), position) @ local


def _write_scene(spec: DdadSpec, folder: Path, scene: int) -> str:
    """Write the calibration and the description of a scene, and return the name of the latter."""
    world, rig = build_ddad_scene(spec, scene), ddad_cameras(spec.image_size, spec.scene_seed(scene))
    calibration = _encode(_calibration(rig))
    calibration_key = _sha1(f"{spec.folder(scene)}/calibration".encode() + calibration)
    save_bytes(folder / "calibration" / f"{calibration_key}.json", calibration)
    samples, data = [], []
    for frame in range(spec.frames):
        scan_stamp, image_stamp = spec.stamps(scene, frame)
        keys = [_key(spec, scene, name, frame) for name in (LIDAR, *CAMERAS)]
        samples.append(
            {
                "calibration_key": calibration_key, "datum_keys": keys, "metadata": {},
                "id": {"index": str(frame), "log": "", "name": "", "timestamp": rfc3339(scan_stamp)},
            }
        )  # fmt: skip
        pose = vehicle_to_world(spec, scene, world, scan_stamp)
        data.append(_datum(spec, scene, frame, LIDAR, scan_stamp, {"point_cloud": _point_cloud(scan_stamp, pose)}))
        pose = vehicle_to_world(spec, scene, world, image_stamp)
        for camera in rig:
            image = _image(spec, camera, image_stamp, pose @ camera.cam_to_ego)
            data.append(_datum(spec, scene, frame, camera.name, image_stamp, {"image": image}))
    encoded = _encode(
        {"data": data, "description": "", "log": "", "metadata": {}, "name": "", "ontologies": {}, "samples": samples}
    )
    name = f"scene_{_sha1(encoded)}.json"
    save_bytes(folder / name, encoded)
    return name


def _datum(spec: DdadSpec, scene: int, frame: int, sensor: str, stamp: int, content: Record) -> Record:
    last = frame == spec.frames - 1
    return {
        "datum": content, "id": {"index": str(frame), "log": "", "name": sensor, "timestamp": rfc3339(stamp)},
        "key": _key(spec, scene, sensor, frame), "next_key": "" if last else _key(spec, scene, sensor, frame + 1),
        "prev_key": _key(spec, scene, sensor, frame - 1) if frame else "",
    }  # fmt: skip


def _image(spec: DdadSpec, camera: Camera, stamp: int, cam_to_world: np.ndarray) -> Record:
    height, width = camera.image_size
    return {
        "annotations": {}, "channels": 3, "filename": image_path(spec, camera.name, stamp), "height": height,
        "metadata": {}, "pose": _pose(cam_to_world), "width": width,
    }  # fmt: skip


def _point_cloud(stamp: int, pose: np.ndarray) -> Record:
    return {
        "annotations": {}, "filename": scan_path(stamp), "metadata": {}, "point_fields": [],
        "point_format": ["X", "Y", "Z", "INTENSITY"], "pose": _pose(pose),
    }  # fmt: skip


def _calibration(rig: tuple[Camera, ...]) -> Record:
    """Return names, intrinsics and extrinsics; the scans are in the vehicle frame already."""
    lenses = [dict.fromkeys(("fx", "fy", "cx", "cy"), 0.0)]
    lenses += [dict(zip(("fx", "fy", "cx", "cy"), map(float, camera.lens), strict=True)) for camera in rig]
    return {
        "extrinsics": [_pose(np.eye(4)), *(_pose(camera.cam_to_ego) for camera in rig)],
        "intrinsics": [{**lens, "skew": 0.0} for lens in lenses],
        "names": [LIDAR, *(camera.name for camera in rig)],
    }


def _pose(matrix: np.ndarray) -> Record:
    w, x, y, z = quaternion(matrix[:3, :3])
    translation = dict(zip("xyz", map(float, matrix[:3, 3]), strict=True))
    return {"rotation": {"qw": w, "qx": x, "qy": y, "qz": z}, "translation": translation}


def rfc3339(ticks: int) -> str:
    """Return ticks of 100 ns written as DDAD has them: as if they were microseconds, in a far year."""
    seconds, fraction = divmod(ticks, 1_000_000)
    moment = time.gmtime(seconds)
    assert calendar.timegm(moment) == seconds
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{fraction:06d}Z"


def _key(spec: DdadSpec, scene: int, sensor: str, frame: int) -> str:
    return _sha1(f"{spec.preset}/{spec.seed}/{spec.folder(scene)}/{sensor}/{frame}".encode())


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _encode(value: Record) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
