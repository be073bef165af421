"""The nuScenes tables of a world: thirteen of the devkit and lidarseg."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gsocc.datasets.world.categories import ATTRIBUTES, LIDARSEG_CATEGORIES, LIDARSEG_INDEX, VISIBILITY
from gsocc.datasets.world.naming import logfile, recording_path, sample_data_token, sample_token, token
from gsocc.datasets.world.scene import WorldScene
from gsocc.datasets.world.sensors import CAMERAS, LIDAR, cameras, lidar_to_ego
from gsocc.datasets.world.spec import WorldSpec

Record = dict[str, Any]
Counts = dict[tuple[int, int], dict[str, list[int]]]  # (scene, key frame) -> object row -> [points, visibility]

TABLE_NAMES: tuple[str, ...] = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility", "lidarseg",
)  # fmt: skip
CHANNELS = (*CAMERAS, LIDAR)


@dataclass
class Tables:
    """Builds the tables scene by scene."""

    spec: WorldSpec
    rows: dict[str, list[Record]] = field(default_factory=lambda: {name: [] for name in TABLE_NAMES})

    def add_fixed(self) -> None:
        """Add what does not depend on the scenes."""
        self.rows["attribute"] = [
            {"token": token(self.spec, "attribute", name), "name": name, "description": text}
            for name, text in ATTRIBUTES.items()
        ]
        self.rows["category"] = [
            {"token": self._category(name), "name": name, "description": "", "index": LIDARSEG_INDEX[name]}
            for name in LIDARSEG_CATEGORIES
        ]
        self.rows["visibility"] = [
            {"token": name, "level": level, "description": f"visibility of whole object is {level[1:]} percent"}
            for name, level in VISIBILITY.items()
        ]
        self.rows["sensor"] = [
            {"token": self._sensor(c), "channel": c, "modality": "lidar" if c == LIDAR else "camera"} for c in CHANNELS
        ]

    def add_scene(self, scene: int, world: WorldScene, counts: Counts, map_file: str) -> None:
        """Add one scene with its log, map, calibration, samples, recordings and boxes."""
        spec, name = self.spec, self.spec.scene_name(scene)
        log, keyframes = token(spec, "log", name), range(spec.keyframes)
        self.rows["log"].append(
            {
                "token": log, "logfile": logfile(spec, scene), "vehicle": "world", "date_captured": "2020-09-13",
                "location": f"synthetic-{spec.preset}",
            }
        )  # fmt: skip
        self.rows["map"].append(
            {
                "token": token(spec, "map", name), "category": "semantic_prior", "filename": map_file,
                "log_tokens": [log],
            }
        )  # fmt: skip
        samples = [sample_token(spec, scene, k) for k in keyframes]
        self.rows["scene"].append(
            {
                "token": token(spec, "scene", name), "log_token": log, "name": name, "nbr_samples": spec.keyframes,
                "first_sample_token": samples[0], "last_sample_token": samples[-1],
                "description": f"Synthetic {spec.preset} world, seed {spec.seed}",
            }
        )  # fmt: skip
        for k in keyframes:
            self.rows["sample"].append(
                {
                    "token": samples[k], "timestamp": spec.start_us(scene) + spec.offset_us(k),
                    "prev": samples[k - 1] if k else "", "next": samples[k + 1] if k + 1 < spec.keyframes else "",
                    "scene_token": token(spec, "scene", name),
                }
            )  # fmt: skip
        self._add_recordings(scene, world)
        self._add_boxes(scene, world, counts)

    def _add_recordings(self, scene: int, world: WorldScene) -> None:
        """Add calibration, sample_data, ego poses and the lidarseg records."""
        spec, name = self.spec, self.spec.scene_name(scene)
        height, width = spec.image_size
        mounts = {camera.name: camera.cam_to_ego for camera in cameras(spec.image_size)} | {LIDAR: lidar_to_ego()}
        lenses = {camera.name: camera.intrinsics.tolist() for camera in cameras(spec.image_size)} | {LIDAR: []}
        for channel in CHANNELS:
            calibration = token(spec, "calibrated_sensor", name, channel)
            self.rows["calibrated_sensor"].append(
                {
                    "token": calibration, "sensor_token": self._sensor(channel),
                    "translation": mounts[channel][:3, 3].tolist(), "rotation": quaternion(mounts[channel][:3, :3]),
                    "camera_intrinsic": lenses[channel],
                }
            )  # fmt: skip
            frames = list(_recordings(spec, channel))
            tokens = [sample_data_token(spec, scene, channel, offset) for offset, _, _ in frames]
            for i, (offset, keyframe, is_key) in enumerate(frames):
                timestamp = spec.start_us(scene) + offset
                camera = channel != LIDAR
                self.rows["sample_data"].append(
                    {
                        "token": tokens[i], "sample_token": sample_token(spec, scene, keyframe),
                        "ego_pose_token": tokens[i], "calibrated_sensor_token": calibration, "timestamp": timestamp,
                        "fileformat": "jpg" if camera else "pcd", "is_key_frame": is_key,
                        "height": height if camera else 0, "width": width if camera else 0,
                        "filename": recording_path(spec, scene, channel, offset, key=is_key),
                        "prev": tokens[i - 1] if i else "", "next": tokens[i + 1] if i + 1 < len(tokens) else "",
                    }
                )  # fmt: skip
                x, y, yaw = to_map(world, world.ego.pose(offset * 1e-6))
                self.rows["ego_pose"].append(
                    {
                        "token": tokens[i], "timestamp": timestamp, "rotation": yaw_quaternion(yaw),
                        "translation": [x, y, 0.0],
                    }
                )  # fmt: skip
                if not camera:
                    file = f"lidarseg/{spec.version}/{tokens[i]}_lidarseg.bin"
                    self.rows["lidarseg"].append({"token": tokens[i], "sample_data_token": tokens[i], "filename": file})

    def _add_boxes(self, scene: int, world: WorldScene, counts: Counts) -> None:
        """Add a track for every object that was annotated at least once."""
        spec, name = self.spec, self.spec.scene_name(scene)
        for row, item in enumerate(world.objects):
            frames = [k for k in range(spec.keyframes) if str(row) in counts[scene, k]]
            if not frames:
                continue
            instance = token(spec, "instance", name, row)
            boxes = [token(spec, "annotation", name, row, k) for k in frames]
            self.rows["instance"].append(
                {
                    "token": instance, "category_token": self._category(item.blueprint.category),
                    "nbr_annotations": len(frames), "first_annotation_token": boxes[0],
                    "last_annotation_token": boxes[-1],
                }
            )  # fmt: skip
            length, width, height = item.blueprint.size_m
            for i, k in enumerate(frames):
                x, y, yaw = to_map(world, item.pose_at(spec.offset_us(k) * 1e-6))
                points, visibility = counts[scene, k][str(row)]
                attributes = [token(spec, "attribute", item.attribute)] if item.attribute else []
                self.rows["sample_annotation"].append(
                    {
                        "token": boxes[i], "sample_token": sample_token(spec, scene, k), "instance_token": instance,
                        "visibility_token": str(visibility), "attribute_tokens": attributes,
                        "translation": [x, y, height / 2], "size": [width, length, height],
                        "rotation": yaw_quaternion(yaw), "prev": boxes[i - 1] if i else "",
                        "next": boxes[i + 1] if i + 1 < len(boxes) else "", "num_lidar_pts": points, "num_radar_pts": 0,
                    }
                )  # fmt: skip

    def _sensor(self, channel: str) -> str:
        return token(self.spec, "sensor", channel)

    def _category(self, name: str) -> str:
        return token(self.spec, "category", name)


def to_map(world: WorldScene, pose: np.ndarray) -> tuple[float, float, float]:
    """Return x, y and heading on the scene's map, whose corner is the origin of the ground's rasters."""
    x, y = pose[:2] - world.bare_ground.origin
    return float(x), float(y), float(pose[2])


def yaw_quaternion(yaw_rad: float) -> list[float]:
    """Return (w, x, y, z) of a turn about z."""
    return [float(np.cos(yaw_rad / 2)), 0.0, 0.0, float(np.sin(yaw_rad / 2))]


def quaternion(rotation: np.ndarray) -> list[float]:
    """Return (w, x, y, z) of a rotation matrix, w not negative; the largest component is found first."""
    m = rotation
    squares = np.array([1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2],
                        1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2]])  # fmt: skip
    outer = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]],
        ]
    )
    q = outer[int(np.argmax(squares))]
    q = q / np.linalg.norm(q) * (-1.0 if q[0] < 0 else 1.0)
    return [float(v) for v in q]


def _recordings(spec: WorldSpec, channel: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (time since the first key frame in us, key frame it belongs to, whether it is one) in order of time.

    As in nuScenes, a sweep belongs to the key frame that follows it; those after the last belong to the last.
    """
    for k in range(spec.keyframes):
        for step in spec.sweep_steps(k) if channel != LIDAR else (0,):
            owner = min(k + 1, spec.keyframes - 1) if step > 0 else k
            yield spec.offset_us(k, step), owner, step == 0
