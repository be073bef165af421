"""A folder of images of a made-up rig, small enough to write in a test."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

CAMERAS = ("front", "left", "rear")
SIZE = (24, 32)


def rig_description(**changes: Any) -> dict[str, Any]:
    """Return what `rig.yaml` says: three cameras with headings of 0, 120 and -120 degrees, 1 m above the ground."""
    cameras = {
        name: {
            "images": f"{{scene}}/{name}",
            "image_size": list(SIZE),
            "intrinsics": [16.0, 16.0, 16.0, 12.0],
            "cam_to_ego": {"position_m": [0.5, 0.1 * i, 1.0], "heading_deg": heading},
        }
        for i, (name, heading) in enumerate(zip(CAMERAS, (0.0, 120.0, -120.0), strict=True))
    }
    plain = {
        "cameras": cameras,
        "splits": {"train": ["a"], "val": ["b"]},
        "time": {"unit_s": 0.001, "tolerance_s": 0.02},
        "ego_poses": "{scene}/poses.csv",
        "lidar": {"scans": "{scene}/lidar", "lidar_to_ego": {"position_m": [0, 0, 2], "heading_deg": 90.0}},
    }
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def write_rig(root: Path, *, frames: int = 4, lag_ms: int = 5, **changes: Any) -> Path:
    """Write two scenes at 10 Hz, time in milliseconds; the vehicle drives 1 m between moments, to its left."""
    for scene in ("a", "b"):
        for i, camera in enumerate(CAMERAS):
            for frame in range(frames):
                write_image(root / scene / camera / f"img_{100 * frame + lag_ms * i:06d}.png", SIZE)
        (root / scene / "lidar").mkdir(parents=True)
        for frame in range(frames):
            # The LiDAR looks to the left: its x is ego y. One point 7 m ahead of the front camera, half a pixel of it
            # to the right of and below its axis.
            half = 0.5 * 7.0 / 16.0
            np.save(root / scene / "lidar" / f"{100 * frame}.npy", np.array([[-half, -7.5, -1 - half]], np.float32))
        lines = ["time, x, y, z, qw, qx, qy, qz"]
        lines += [f"{t}, 0, {t / 100}, 0, 1, 0, 0, 0" for t in range(0, 100 * frames, 50)]
        (root / scene / "poses.csv").write_text("\n".join(lines) + "\n")
    write_rig_file(root, **changes)
    return root


def write_rig_file(root: Path, **changes: Any) -> None:
    """Write `rig.yaml` alone."""
    (root / "rig.yaml").write_text(yaml.safe_dump(rig_description(**changes), sort_keys=False))


def write_image(path: Path, size: tuple[int, int]) -> None:
    """Write a grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), 99, np.uint8))
