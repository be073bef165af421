"""Writing the recordings of one sample in DDAD's format: six images and a scan, and the truth behind them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from gsocc.datasets.world.ddad_rig import LIDAR, LIDAR_RANGE_M, ddad_cameras, ddad_pulses
from gsocc.datasets.world.ddad_spec import DdadSpec
from gsocc.datasets.world.ddad_vehicle import with_own_car
from gsocc.datasets.world.presets import BUILDERS
from gsocc.datasets.world.render import Rays, View, echoes_of, mask_rays, render_view, voxel_labels
from gsocc.datasets.world.saving import save_arrays, save_classes, save_image
from gsocc.datasets.world.scene import Snapshot, WorldScene
from gsocc.datasets.world.sensors import Camera

REACH_M = 270.0  # beyond the LiDAR's range
GROUND_REACH_M = 400.0
STREET_AROUND_M = (150.0, 250.0)  # behind and ahead of the drive


@lru_cache(maxsize=2)
def build_ddad_scene(spec: DdadSpec, scene: int) -> WorldScene:
    """Return a scene of a world, the ego's own car being its last object; the last two are remembered."""
    seed = spec.scene_seed(scene)
    bare = BUILDERS[spec.preset](np.random.default_rng(seed), spec.duration_s, STREET_AROUND_M)
    return with_own_car(bare, seed)


def image_path(spec: DdadSpec, camera: str, stamp: int) -> str:
    """Return the path of an image below its scene's folder."""
    return f"rgb/{camera}/{stamp}.{spec.image_format}"


def scan_path(stamp: int) -> str:
    """Return the path of a point cloud below its scene's folder."""
    return f"point_cloud/{LIDAR}/{stamp}.npz"


def write_sample(spec: DdadSpec, root: Path, scene: int, frame: int) -> dict[str, list[int]]:
    """Write the files of a sample.

    Returns:
        Nothing: what describes the scene follows from the arguments alone.
    """
    world, rig, folder = (
        build_ddad_scene(spec, scene),
        ddad_cameras(spec.image_size, spec.scene_seed(scene)),
        spec.folder(scene),
    )
    own_car = len(world.objects) - 1
    scan_stamp, image_stamp = spec.stamps(scene, frame)
    seen = world.snapshot(spec.time_s(scene, image_stamp), REACH_M, GROUND_REACH_M)
    for camera in rig:
        view = render_view(seen, camera)
        save_image(root / folder / image_path(spec, camera.name, image_stamp), view.image)
        save_classes(root / "ddad_semantic" / folder / camera.name / f"{image_stamp}_mask.bin", view.labels)
        if frame == 0:
            _save_own_mask(root / "truth" / "mask" / camera.name / folder / "mask.png", view, own_car)
        if spec.exact:
            truth = {"depth_m": view.depth_m, "labels": view.labels, "owners": view.owners}
            save_arrays(root / "truth" / "views" / folder / camera.name / f"{image_stamp}.npz", truth)
    scanned = world.snapshot(spec.time_s(scene, scan_stamp), REACH_M, GROUND_REACH_M)
    noise = np.random.default_rng([*spec.scene_seed(scene), 5, frame])
    save_arrays(
        root / folder / scan_path(scan_stamp), {"data": scan_points(scanned, own_car, spec.lidar_noise_m, noise)}
    )
    if spec.exact:
        token = f"{folder}_{image_stamp}"  # what the index calls the sample
        save_arrays(root / "truth" / "gts" / folder / token / "labels.npz", _occupancy(seen, own_car, rig))
    return {}


def scan_points(snapshot: Snapshot, own_car: int, noise_m: float, rng: np.random.Generator) -> np.ndarray:
    """Return the merged cloud of all scanners in the vehicle frame, (N, 4) float64: x, y, z and intensity in 0..1.

    Echoes of the ego's own car are left out, as scanners do.
    """
    clouds = []
    for pulses in ddad_pulses():
        echoes = echoes_of(snapshot, pulses.origin, pulses.directions, LIDAR_RANGE_M, noise_m, rng)
        points = pulses.origin + echoes.distance_m[:, None] * pulses.directions[echoes.ray]
        intensity = np.round(255.0 * np.minimum(echoes.brightness, 1.0)) / 255.0
        clouds.append(np.concatenate([points, intensity[:, None]], -1)[echoes.owners != own_car])
    return np.concatenate(clouds)


def _save_own_mask(path: Path, view: View, own_car: int) -> None:
    """Write which pixels see the world (0) and which the ego's own car (255), as masks of DDAD are published.

    The car does not move in its images: one mask is good for the scene.
    """
    save_image(path, np.where(view.owners == own_car, 255, 0).astype(np.uint8))


def _occupancy(snapshot: Snapshot, own_car: int, rig: tuple[Camera, ...]) -> dict[str, np.ndarray]:
    """Return Occ3D's grid at the instant of the images, in the vehicle frame; the ego's own car leaves no trace.

    The masks are what the cameras see past their own car, and what a scan at that instant would reach.
    """
    masks = {
        "mask_lidar": [_past_own_car(snapshot, own_car, (p.origin, p.directions)) for p in ddad_pulses()],
        "mask_camera": [_past_own_car(snapshot, own_car, mask_rays(camera)) for camera in rig],
    }
    return voxel_labels(snapshot.without(own_car), masks)


def _past_own_car(snapshot: Snapshot, own_car: int, rays: Rays) -> Rays:
    origin, directions = rays
    triangle = snapshot.caster.cast(origin, directions).triangle
    blocked = (triangle >= 0) & (snapshot.owners[triangle] == own_car)
    return origin, np.ascontiguousarray(directions[~blocked])
