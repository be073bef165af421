"""Writing the files of one key frame: images, scan, and every label that belongs to it."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from gsocc.datasets.world.annotate import annotation_counts, lidarseg_labels
from gsocc.datasets.world.naming import recording, recording_path, sample_data_token, sample_token
from gsocc.datasets.world.presets import BUILDERS
from gsocc.datasets.world.render import Scan, View, occupancy_labels, render_view, scan_lidar, sparse_depth
from gsocc.datasets.world.saving import save_array, save_arrays, save_bytes, save_classes, save_image
from gsocc.datasets.world.scene import Snapshot, WorldScene
from gsocc.datasets.world.sensors import LIDAR, Camera, cameras
from gsocc.datasets.world.spec import WorldSpec


@lru_cache(maxsize=2)
def build_scene(spec: WorldSpec, scene: int) -> WorldScene:
    """Return a scene of a world; the last two are remembered."""
    return BUILDERS[spec.preset](np.random.default_rng(spec.scene_seed(scene)), spec.duration_s)


def write_keyframe(spec: WorldSpec, root: Path, scene: int, keyframe: int) -> dict[str, list[int]]:
    """Write everything that is recorded with a key frame.

    Returns:
        For every annotated object, by its row in the scene: number of LiDAR points and visibility level (1 to 4).
    """
    world, rig = build_scene(spec, scene), cameras(spec.image_size)
    counts: dict[str, list[int]] = {}
    for step in spec.sweep_steps(keyframe):
        offset = spec.offset_us(keyframe, step)
        snapshot = world.snapshot(offset * 1e-6)
        views = [render_view(snapshot, camera) for camera in rig]
        for camera, view in zip(rig, views, strict=True):
            save_image(root / recording_path(spec, scene, camera.name, offset, key=step == 0), view.image)
        if step == 0:
            scan = scan_lidar(snapshot, spec.lidar_noise_m, np.random.default_rng([*spec.scene_seed(scene), keyframe]))
            _save_labels(spec, root, scene, keyframe, views, scan, snapshot, rig)
            counts = annotation_counts(snapshot, scan, rig)
    return counts


def _save_labels(
    spec: WorldSpec, root: Path, scene: int, keyframe: int, views: list[View], scan: Scan, snapshot: Snapshot,
    rig: tuple[Camera, ...],
) -> None:  # fmt: skip
    """Write the scan and its labels, 2-D classes, sparse depth, Occ3D labels, and the exact truth where asked for."""
    offset = spec.offset_us(keyframe)
    points = np.concatenate([scan.points_lidar, scan.intensity[:, None], scan.ring[:, None]], -1)
    save_bytes(root / recording_path(spec, scene, LIDAR, offset, key=True), points.astype("<f4").tobytes())
    lidar_token = sample_data_token(spec, scene, LIDAR, offset)
    save_bytes(
        root / "lidarseg" / spec.version / f"{lidar_token}_lidarseg.bin",
        lidarseg_labels(scan, snapshot.scene.objects).tobytes(),
    )
    for camera, view in zip(rig, views, strict=True):
        name = recording(spec, scene, camera.name, offset)
        folder = root / "nuscenes_semantic" / "samples" / camera.name
        save_classes(folder / f"{name}_mask.bin", view.labels)
        save_array(root / "depth" / "samples" / camera.name / f"{name}.npy", sparse_depth(scan, camera))
        if spec.exact:
            truth = {"depth_m": view.depth_m, "labels": view.labels, "owners": view.owners}
            save_arrays(root / "truth" / "samples" / camera.name / f"{name}.npz", truth)
    folder = root / "gts" / spec.scene_name(scene) / sample_token(spec, scene, keyframe)
    save_arrays(folder / "labels.npz", occupancy_labels(snapshot, rig))
