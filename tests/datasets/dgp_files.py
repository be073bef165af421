"""A dataset in DGP format of a few kilobytes, whose every number can be worked out by hand.

A vehicle drives along world x at 10 m/s and records ten times a second; the cameras trigger 5 ms after each other, the
first with the LiDAR. Every image is a flat grey of its own.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CAMERAS = ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
YAWS_DEG = dict(zip(CAMERAS, (0.0, 60.0, 120.0, 180.0, -120.0, -60.0), strict=True))
SIZE = (8, 12)  # H, W
FOCAL_PX = 6.0
CAMERA_HEIGHT_M = 1.5
SPEED_M_S = 10.0
STEP_S = 0.1
FIRST_TICK = 15_569_195_900_000_000  # of 100 ns; what DDAD writes as microseconds of the year 2463
POINTS_LIDAR = ((20.2, 0.1, 1.4, 0.5), (10.2, 0.1, 1.4, 0.5), (-8.0, 0.1, 1.4, 0.5))  # the first two on one ray, nearly

Parts = dict[str, Any]


def stamp(tick: int) -> str:
    """Return ticks of 100 ns as DDAD writes them: as if they were microseconds."""
    seconds, micro = divmod(tick, 1_000_000)
    return f"{np.datetime64(seconds, 's')}.{micro:06d}Z"


def pose(position: Sequence[float], quaternion: Sequence[float]) -> Parts:
    """Return a pose as JSON has it; the quaternion is (w, x, y, z)."""
    return {
        "translation": dict(zip("xyz", map(float, position), strict=True)),
        "rotation": dict(zip(("qw", "qx", "qy", "qz"), map(float, quaternion), strict=True)),
    }


def looking(yaw_deg: float) -> np.ndarray:
    """Return (w, x, y, z) of a camera that looks along a direction of the vehicle: z forward, x right, y down."""
    half = np.radians(yaw_deg) / 2
    w, z = np.cos(half), np.sin(half)
    a, b, c, d = 0.5, -0.5, 0.5, -0.5  # ahead
    return np.array([w * a - z * d, w * b - z * c, w * c + z * b, w * d + z * a])


def at_m(sample: int, camera: int = 0) -> float:
    """Return the x of the vehicle when a camera of a sample takes its image; the LiDAR goes with the first."""
    return SPEED_M_S * (STEP_S * sample + 0.005 * camera) + 400.0


def grey(scene: int, sample: int, camera: int) -> int:
    """Return the colour of an image."""
    return 40 * scene + 6 * sample + 30 + camera


def write_dgp_root(
    root: Path,
    splits: Parts | None = None,
    samples: int = 3,
    change: Callable[[str, Parts], None] = lambda scene, parts: None,
) -> Path:
    """Write scenes with six cameras and a LiDAR.

    Args:
        root: Where to; `ddad.json` lies in it.
        splits: Numbers of the scenes by the format's number of the split; one to train on and one to validate.
        samples: Of each scene.
        change: Sees the JSON of each scene ("scene" and "calibration") before it is written.
    """
    splits = splits or {"0": [0], "1": [1]}
    numbers = sorted({number for listed in splits.values() for number in listed})
    for number in numbers:
        _write_scene(root / f"{number:06d}", number, samples, change)
    listed = {key: {"filenames": [f"{n:06d}/scene_{n}.json" for n in values]} for key, values in splits.items()}
    (root / "ddad.json").write_text(json.dumps({"scene_splits": listed}))
    return root


def _write_scene(folder: Path, number: int, samples: int, change: Callable[[str, Parts], None]) -> None:
    data, records = [], []
    (folder / "point_cloud" / "LIDAR").mkdir(parents=True)
    for sample in range(samples):
        tick = FIRST_TICK + number * 10**9 + sample * round(STEP_S * 1e7)
        keys = []
        for view, camera in enumerate(CAMERAS):
            name = f"rgb/{camera}/{tick}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), np.full((*SIZE, 3), grey(number, sample, view), dtype=np.uint8))
            place = pose((at_m(sample, view), 0.0, CAMERA_HEIGHT_M), looking(YAWS_DEG[camera]))
            image = {"filename": name, "height": SIZE[0], "width": SIZE[1], "pose": place}
            keys.append(f"{sample}{camera}")
            data.append(_datum(keys[-1], camera, tick + view * 50_000, {"image": image}))
        cloud = {
            "filename": f"point_cloud/LIDAR/{tick}.npz",
            "point_format": ["X", "Y", "Z", "INTENSITY"],
            "pose": pose((at_m(sample), 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
        }
        np.savez(folder / cloud["filename"], data=np.array(POINTS_LIDAR))
        keys.append(f"{sample}LIDAR")
        data.append(_datum(keys[-1], "LIDAR", tick, {"point_cloud": cloud}))
        records.append({"id": {"timestamp": stamp(tick)}, "datum_keys": keys, "calibration_key": "c"})
    lens = {"fx": FOCAL_PX, "fy": FOCAL_PX, "cx": SIZE[1] / 2, "cy": SIZE[0] / 2}
    mountings = [pose((0.0, 0.0, CAMERA_HEIGHT_M), looking(YAWS_DEG[camera])) for camera in CAMERAS]
    parts: Parts = {
        "scene": {"samples": records, "data": data},
        "calibration": {
            "names": ["LIDAR", *CAMERAS],
            "intrinsics": [{}, *[lens] * len(CAMERAS)],
            "extrinsics": [{}, *mountings],
        },
    }
    change(folder.name, parts)
    (folder / "calibration").mkdir()
    (folder / "calibration" / "c.json").write_text(json.dumps(parts["calibration"]))
    (folder / f"scene_{number}.json").write_text(json.dumps(parts["scene"]))


def _datum(key: str, name: str, tick: int, content: Parts) -> Parts:
    return {"id": {"name": name, "timestamp": stamp(tick)}, "key": key, "datum": content}
