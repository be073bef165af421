"""Writing a world as a plain folder of images with a rig file, the way anybody's own recordings lie on a disk."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from gsocc.datasets.world.presets import BUILDERS
from gsocc.datasets.world.render import mask_rays, render_view, scan_lidar, voxel_labels
from gsocc.datasets.world.rig_spec import CAMERAS, POSE_STEP_US, STEP_US, RigSpec, mounts, rig_cameras
from gsocc.datasets.world.saving import save_array, save_arrays, save_bytes, save_classes, save_image
from gsocc.datasets.world.scene import WorldScene
from gsocc.datasets.world.sensors import LIDAR_POSITION_M, LIDAR_YAW_DEG, lidar_rays, lidar_to_ego, turn_about_z

RIG_FILE = "rig.yaml"
_START_M = 120.0  # the ego's first place in the frame of its poses


@lru_cache(maxsize=2)
def build_rig_scene(spec: RigSpec, scene: int) -> WorldScene:
    """Return a scene of a world; the last two are remembered."""
    return BUILDERS[spec.preset](np.random.default_rng(spec.scene_seed(scene)), spec.duration_s)


def write_moment(spec: RigSpec, root: Path, scene: int, frame: int) -> dict[str, list[int]]:
    """Write the images, the scan and the labels of a moment; each image shows the instant at which it was taken.

    Returns:
        Nothing: what describes the scene follows from the arguments alone.
    """
    world, name = build_rig_scene(spec, scene), spec.folder(scene)
    rig = rig_cameras(spec.image_size)
    for camera in rig:
        stamp = spec.stamp_us(scene, frame, camera.name)
        view = render_view(world.snapshot(spec.time_s(scene, stamp)), camera)
        save_image(root / name / camera.name / f"{stamp}.jpg", view.image)
        save_classes(root / "semantics" / name / camera.name / f"{stamp}_mask.bin", view.labels)
    stamp = spec.stamp_us(scene, frame, "lidar")
    scan = scan_lidar(
        world.snapshot(spec.time_s(scene, stamp)),
        spec.lidar_noise_m,
        np.random.default_rng([*spec.scene_seed(scene), 6, frame]),
    )
    save_array(root / name / "lidar" / f"{stamp}.npy", scan.points_lidar)
    if spec.exact:
        stamp = spec.stamp_us(scene, frame, CAMERAS[0])
        mount = lidar_to_ego()
        rays = [(mount[:3, 3].copy(), lidar_rays()[0] @ mount[:3, :3].T)]
        masks = {"mask_lidar": rays, "mask_camera": [mask_rays(camera) for camera in rig]}
        labels = voxel_labels(world.snapshot(spec.time_s(scene, stamp)), masks)
        save_arrays(root / "truth" / "gts" / name / f"{name}_{stamp}" / "labels.npz", labels)
    return {}


def write_rig_file(spec: RigSpec, root: Path, _results: dict[tuple[int, int], dict[str, list[int]]]) -> None:
    """Write ego poses, where they are asked for, and the rig file, which makes the whole readable."""
    if spec.poses:
        for scene in range(spec.scenes):
            save_bytes(root / spec.folder(scene) / "poses.csv", _poses(spec, scene).encode())
    save_bytes(root / RIG_FILE, _rig_file(spec).encode())


def _poses(spec: RigSpec, scene: int) -> str:
    """Return the ego's way as CSV, in a world that is turned against the street and begins elsewhere."""
    world = build_rig_scene(spec, scene)
    turn = float(np.random.default_rng([*spec.scene_seed(scene), 7]).uniform(-np.pi, np.pi))
    start = spec.start_us(scene)
    lines = ["time,x,y,z,qw,qx,qy,qz"]
    for stamp in range(start, start + spec.frames * STEP_US + POSE_STEP_US, POSE_STEP_US):
        x, y, heading = (float(value) for value in world.ego.pose(spec.time_s(scene, stamp)))
        east, north, _ = turn_about_z(turn) @ np.array([x, y, 0.0]) + [_START_M, -_START_M, 0.0]
        half = 0.5 * (heading + turn)
        values = (east, north, 0.0, np.cos(half), 0.0, 0.0, np.sin(half))
        lines.append(f"{stamp}," + ",".join(f"{value:.9f}" for value in values))
    return "\n".join(lines) + "\n"


def _rig_file(spec: RigSpec) -> str:
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for scene in range(spec.scenes):
        splits["train" if scene < spec.train_scenes else "val"].append(spec.folder(scene))
    lines = ["# Four cameras, unequal in lens, size and height, that are not triggered together.", "cameras:"]
    places = mounts()
    for camera in rig_cameras(spec.image_size):
        position, heading, pitch = places[camera.name]
        lens = ", ".join(f"{float(value):.6f}" for value in camera.lens)
        lines += [
            f"  {camera.name}:",
            f'    images: "{{scene}}/{camera.name}"',
            f"    image_size: [{camera.image_size[0]}, {camera.image_size[1]}]",
            f"    intrinsics: [{lens}]",
            f"    cam_to_ego: {{position_m: {list(position)}, heading_deg: {heading}, pitch_deg: {pitch}}}",
        ]
    lines += [
        "splits:",
        *(f"  {name}: [{', '.join(scenes)}]" for name, scenes in splits.items()),
        "time: {unit_s: 1.0e-6, tolerance_s: 0.02}",
        *(['ego_poses: "{scene}/poses.csv"'] if spec.poses else []),
        "lidar:",
        '  scans: "{scene}/lidar"',
        f"  lidar_to_ego: {{position_m: {list(LIDAR_POSITION_M)}, heading_deg: {LIDAR_YAW_DEG}}}",
    ]
    return "\n".join(lines) + "\n"
