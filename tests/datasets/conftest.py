"""A nuScenes root of a few kilobytes, whose every number can be worked out by hand.

Two scenes on a straight road, three and two key frames 0.5 s apart with one sweep between; the vehicle drives along
global x at 10 m/s, and the six cameras trigger 10 ms after each other. Every image is a flat grey of its own.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gsocc.datasets.nuscenes_index import CAMERAS, TABLES, build_index

VERSION = "v1.0-trainval"
IMAGE_SIZE = (24, 40)
FOCAL_PX = 20.0
CENTER_PX = (20.5, 12.5)  # (u, v), the centre of pixel (20, 12)
SPEED_M_S = 10.0
CAMERA_HEIGHT_M = 1.5
LIDAR_HEIGHT_M = 2.0
YAWS_DEG = (0.0, 60.0, 120.0, 180.0, -120.0, -60.0)
SCENES = {"scene-0061": 3, "scene-0103": 2}  # of the official splits train and val
POINTS_LIDAR = ((10.0, 0.0, -0.5), (20.0, 0.0, -0.5), (-8.0, 0.0, -0.5))  # the first two lie behind each other


def quaternion(yaw_deg: float) -> np.ndarray:
    """Return (w, x, y, z) of a turn about z."""
    half = np.radians(yaw_deg) / 2
    return np.array([np.cos(half), 0.0, 0.0, np.sin(half)])


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of two quaternions."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.array([w, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])


def write_mini_root(root: Path) -> None:
    """Write tables, images, scans and labels."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    tables["log"].append(
        {"token": "log", "logfile": "n", "vehicle": "n", "date_captured": "2018-01-01", "location": "boston-seaport"}
    )
    tables["map"].append({"token": "map", "log_tokens": ["log"], "category": "prior", "filename": "maps/map.png"})
    (root / "maps").mkdir(parents=True)
    (root / "maps" / "map.png").write_bytes(b"")
    _add_sensors(tables)
    for number, (name, count) in enumerate(SCENES.items()):
        _add_scene(root, tables, name, count, 1_000_000_000 * (number + 1))
    (root / VERSION).mkdir()
    for name, rows in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows))
    (root / "self_masks").mkdir()
    for camera in CAMERAS:
        mask = np.full((*IMAGE_SIZE, 4), 255, dtype=np.uint8)
        if camera == "CAM_BACK":
            mask[-4:, :, :3] = 0
        cv2.imwrite(str(root / "self_masks" / f"{camera}_mask.png"), mask)


def _add_sensors(tables: dict[str, list[dict[str, Any]]]) -> None:
    to_optical = np.array([0.5, -0.5, 0.5, -0.5])  # x right, y down, z forward, for a camera that looks along ego x
    intrinsic = [[FOCAL_PX, 0.0, CENTER_PX[0]], [0.0, FOCAL_PX, CENTER_PX[1]], [0.0, 0.0, 1.0]]
    for camera, yaw_deg in zip(CAMERAS, YAWS_DEG, strict=True):
        rotation = multiply(quaternion(yaw_deg), to_optical).tolist()
        tables["sensor"].append({"token": camera, "channel": camera, "modality": "camera"})
        tables["calibrated_sensor"].append(
            {"token": camera, "sensor_token": camera, "translation": [0.0, 0.0, CAMERA_HEIGHT_M]}
            | {"rotation": rotation, "camera_intrinsic": intrinsic}
        )
    tables["sensor"].append({"token": "LIDAR_TOP", "channel": "LIDAR_TOP", "modality": "lidar"})
    tables["calibrated_sensor"].append(
        {"token": "LIDAR_TOP", "sensor_token": "LIDAR_TOP", "translation": [0.0, 0.0, LIDAR_HEIGHT_M]}
        | {"rotation": [1.0, 0.0, 0.0, 0.0], "camera_intrinsic": []}
    )


def _add_scene(root: Path, tables: dict[str, list[dict[str, Any]]], name: str, count: int, start_us: int) -> None:
    tokens = [f"{name}-key{i}" for i in range(count)]
    tables["scene"].append(
        {"token": name, "log_token": "log", "nbr_samples": count, "name": name, "description": ""}
        | {"first_sample_token": tokens[0], "last_sample_token": tokens[-1]}
    )
    for i, token in enumerate(tokens):
        tables["sample"].append(
            {"token": token, "timestamp": start_us + 500_000 * i, "scene_token": name}
            | {"prev": tokens[i - 1] if i else "", "next": tokens[i + 1] if i + 1 < count else ""}
        )
        _write_labels(root, name, token)
    for number, channel in enumerate((*CAMERAS, "LIDAR_TOP")):
        data = [f"{name}-{channel}-{step}" for step in range(2 * count - 1)]  # key frames at even steps
        for step, data_token in enumerate(data):
            delay_us = 10_000 * number if channel != "LIDAR_TOP" else 0
            time_us = start_us + 250_000 * step + delay_us
            travelled_m = SPEED_M_S * (time_us - start_us) / 1e6
            folder = "samples" if step % 2 == 0 else "sweeps"
            suffix = "jpg" if channel != "LIDAR_TOP" else "pcd.bin"
            file = f"{folder}/{channel}/{name}__{channel}__{time_us}.{suffix}"
            _write_datum(root, file, number, step)
            tables["ego_pose"].append(
                {"token": data_token, "timestamp": time_us, "rotation": [1.0, 0.0, 0.0, 0.0]}
                | {"translation": [100.0 + travelled_m, 50.0, 0.0]}
            )
            image = channel != "LIDAR_TOP"
            tables["sample_data"].append(
                {"token": data_token, "sample_token": tokens[(step + 1) // 2], "ego_pose_token": data_token}
                | {"calibrated_sensor_token": channel, "timestamp": time_us, "fileformat": suffix}
                | {"is_key_frame": step % 2 == 0, "filename": file}
                | {"height": IMAGE_SIZE[0] if image else 0, "width": IMAGE_SIZE[1] if image else 0}
                | {"prev": data[step - 1] if step else "", "next": data[step + 1] if step + 1 < len(data) else ""}
            )


def grey(camera: int, step: int) -> int:
    """Return the grey value of the image of a camera at a step (two steps per key frame)."""
    return 20 + 30 * step + 10 * (camera % 3)


def _write_datum(root: Path, file: str, camera: int, step: int) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        points = np.zeros((len(POINTS_LIDAR), 5), dtype=np.float32)
        points[:, :3] = POINTS_LIDAR
        points.tofile(path)
        return
    cv2.imwrite(str(path), np.full((*IMAGE_SIZE, 3), grey(camera, step), dtype=np.uint8))
    if file.startswith("samples/"):
        labels = root / "nuscenes_semantic" / file
        labels.parent.mkdir(parents=True, exist_ok=True)
        raw = np.full(IMAGE_SIZE, 2, dtype=np.int8)  # highway
        raw[: IMAGE_SIZE[0] // 2] = 16  # sky
        raw[:, 0] = -1
        raw.tofile(labels.with_name(f"{path.stem}_mask.bin"))


def _write_labels(root: Path, scene: str, token: str) -> None:
    folder = root / "gts" / scene / token
    folder.mkdir(parents=True)
    semantics = np.full((200, 200, 16), 17, dtype=np.uint8)
    semantics[:, :, 2] = 11
    camera = np.zeros_like(semantics)
    camera[100:] = 1
    np.savez_compressed(
        folder / "labels.npz", semantics=semantics, mask_lidar=np.ones_like(semantics), mask_camera=camera
    )


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole miniature root with its index; tests must not change it."""
    root = tmp_path_factory.mktemp("nuscenes") / "root"
    write_mini_root(root)
    build_index(root, VERSION)
    return root


@pytest.fixture
def broken_root(mini_root: Path, tmp_path: Path) -> Path:
    """Return a copy of the miniature root, without an index, to be damaged."""
    root = tmp_path / "root"
    shutil.copytree(mini_root, root)
    (root / f"gsocc_index_{VERSION}.npz").unlink()
    return root


@pytest.fixture
def edit_table() -> Callable[[Path, str, Callable[[list[dict[str, Any]]], None]], None]:
    """Return a function that changes the records of a table in place."""

    def edit(root: Path, table: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
        path = root / VERSION / f"{table}.json"
        rows = json.loads(path.read_text())
        change(rows)
        path.write_text(json.dumps(rows))

    return edit
