"""What the world writes agrees with itself: images, depth, LiDAR, voxels and poses are one scene."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gsocc.datasets.world import WorldSpec
from gsocc.datasets.world.naming import recording, recording_path, sample_token
from gsocc.datasets.world.presets import BUILDERS
from gsocc.datasets.world.render import GRID_MIN_M, VOXEL_M, occupancy_labels, render_view, scan_lidar
from gsocc.datasets.world.scene import Snapshot, WorldScene
from gsocc.datasets.world.sensors import LIDAR, Camera, cameras, lidar_to_ego
from gsocc.kernels.world_shade import shade_point
from gsocc.labels import FREE, OCC3D_15, RAW_TO_OCC3D


def sample_image(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear values at image points; pixel centres are at half-integers."""
    return cv2.remap(image.astype(np.float32), (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), 1)


def reproject(
    source: Snapshot, source_camera: Camera, target: Snapshot, target_camera: Camera, depth_factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of the source's pixels, and those found in the target through exact depth and poses.

    Only pixels inside static surfaces that the target sees too, away from its edges.
    """
    a, b = render_view(source, source_camera), render_view(target, target_camera)
    rays = source_camera.centre_rays().reshape(*source_camera.image_size, 3)
    points = source_camera.cam_to_ego[:3, 3] + (a.depth_m * depth_factor)[..., None] * rays
    local = points @ _ego_to_local(source)[:3, :3].T + _ego_to_local(source)[:3, 3]
    local_to_cam = np.linalg.inv(_ego_to_local(target) @ target_camera.cam_to_ego)
    there = local @ local_to_cam[:3, :3].T + local_to_cam[:3, 3]
    depth = np.maximum(there[..., 2], 1e-3)
    fx, fy, cx, cy = target_camera.lens
    u, v = there[..., 0] / depth * fx + cx, there[..., 1] / depth * fy + cy
    height, width = target_camera.image_size
    static = np.array([not o.moves for o in source.scene.objects] + [True])[a.owners]
    use = static & (a.depth_m > 0) & (there[..., 2] > 0.5) & (u > 1) & (u < width - 1) & (v > 1) & (v < height - 1)
    if depth_factor == 1.0:
        use &= np.abs(sample_image(b.depth_m, u, v) - depth) < 0.02 * depth
        use &= sample_image(b.owners, u, v) == a.owners
    return a.image[use].astype(float), sample_image(b.image, u, v)[use]


def _ego_to_local(snapshot: Snapshot) -> np.ndarray:
    x, y, c, s = snapshot.pose
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]])


def voxel_of(points_ego: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3) voxel indices and which points lie in the grid."""
    index = np.floor((points_ego - GRID_MIN_M) / VOXEL_M).astype(int)
    return index, ((index >= 0) & (index < [200, 200, 16])).all(-1)


def test_lidar_points_meet_the_exact_depth(town: WorldScene) -> None:
    """A point in an image lies on the surface that a ray through it meets, or behind: never in front."""
    snapshot = town.snapshot(1.0)
    scan = scan_lidar(snapshot)
    mount = lidar_to_ego()
    points = scan.points_lidar @ mount[:3, :3].T + mount[:3, 3]
    for camera in cameras((48, 80))[:2]:
        centre = camera.cam_to_ego[:3, 3]
        local = (points - centre) @ camera.cam_to_ego[:3, :3]
        front = local[:, 2] > 0.5
        uv = local[front, :2] / local[front, 2:] * camera.lens[:2] + camera.lens[2:]
        inside = ((uv > 0) & (uv < [80, 48])).all(-1)
        hits = snapshot.caster.cast(centre, camera.rays(*uv[inside].T))
        gap = local[front][inside][:, 2] - hits.distance
        assert inside.sum() > 1000
        assert gap.min() > -0.01  # metres; points are stored in single precision
        # The LiDAR sits higher and sees a little of what is hidden from the camera.
        assert (np.abs(gap) < 0.01).mean() > 0.85


def test_depth_files_meet_the_exact_depth(town_root: Path, town_spec: WorldSpec) -> None:
    """A LiDAR pixel's depth is that of the pixel's centre up to the slope within one pixel."""
    name = recording(town_spec, 0, "CAM_FRONT", 0)
    sparse = np.load(town_root / "depth/samples/CAM_FRONT" / f"{name}.npy")
    exact = np.load(town_root / "truth/samples/CAM_FRONT" / f"{name}.npz")["depth_m"]
    assert sparse.dtype == np.float32 and sparse.shape == (48, 80)
    both = (sparse > 0) & (exact > 0)
    assert both.sum() > 500
    assert np.median(np.abs(sparse - exact)[both] / exact[both]) < 0.02
    assert (np.abs(sparse - exact)[both] < 0.1 * exact[both]).mean() > 0.8


def test_semantic_files_hold_the_seeds_raw_ids(town_root: Path, town_spec: WorldSpec) -> None:
    """Raw int8, one per pixel; translated to Occ3D ids they equal the exact classes, sky being 17."""
    name = recording(town_spec, 1, "CAM_BACK", 500_000)
    raw = np.fromfile(town_root / "nuscenes_semantic/samples/CAM_BACK" / f"{name}_mask.bin", np.int8)
    exact = np.load(town_root / "truth/samples/CAM_BACK" / f"{name}.npz")["labels"]
    assert raw.shape == (48 * 80,)
    np.testing.assert_array_equal(RAW_TO_OCC3D[raw].reshape(48, 80), exact)
    assert (raw == 16).any() and (raw == 11).any()


def test_scan_files_hold_what_the_devkit_reads(town_root: Path, town_spec: WorldSpec) -> None:
    """Five float32 a point: x, y, z, intensity 0..255, ring 0..31; one lidarseg byte each."""
    scan = np.fromfile(town_root / recording_path(town_spec, 0, LIDAR, 0, key=True), np.float32).reshape(-1, 5)
    labels = next((town_root / "lidarseg" / town_spec.version).iterdir()).read_bytes()
    assert len(scan) > 15_000
    assert set(np.unique(scan[:, 4])) <= set(range(32))
    assert scan[:, 3].min() >= 0 and scan[:, 3].max() <= 255
    assert max(labels) < 32


@pytest.mark.parametrize("preset", ["full", "moderate"])
def test_occ3d_voxels_meet_the_geometry(preset: str) -> None:
    """Surfaces that the sensors hit lie in occupied voxels of their class.

    Not all: a voxel that a surface only clips, with less than 0.02 m2 inside, stays free, and where two classes
    share one it takes the larger.
    """
    snapshot = BUILDERS[preset](np.random.default_rng(9), 4.0).snapshot(2.0)
    rig = cameras((48, 80))
    labels = occupancy_labels(snapshot, rig)
    scan, mount = scan_lidar(snapshot), lidar_to_ego()
    index, inside = voxel_of(scan.points_lidar @ mount[:3, :3].T + mount[:3, 3])
    found = labels["semantics"][tuple(index[inside].T)]
    assert inside.sum() > 10_000
    assert (found != FREE).mean() > 0.985
    assert (found == scan.labels[inside]).mean() > 0.94
    for camera in rig:
        view = render_view(snapshot, camera)
        points = camera.cam_to_ego[:3, 3] + view.depth_m.reshape(-1, 1) * camera.centre_rays()
        index, inside = voxel_of(points)
        inside &= view.depth_m.ravel() > 0
        cells = tuple(index[inside].T)
        found = labels["semantics"][cells]
        assert (found != FREE).mean() > 0.97
        assert (found == view.labels.ravel()[inside]).mean() > 0.92
        # A ray may meet a neighbour first that the surface only just enters: a look at the surroundings finds it.
        near = np.pad(labels["mask_camera"], 1)
        around = [near[i : i + 200, j : j + 200, k : k + 16] for i in range(3) for j in range(3) for k in range(3)]
        assert np.max(around, 0)[cells].mean() > 0.85


def test_masks_end_at_surfaces(winding_street: WorldScene) -> None:
    """Nothing below the ground is seen, and what is seen and free is more than what is seen and occupied."""
    labels = occupancy_labels(winding_street.snapshot(3.0), cameras((48, 80)))
    assert labels["mask_camera"].dtype == labels["semantics"].dtype == np.uint8
    for mask in (labels["mask_camera"], labels["mask_lidar"]):
        assert set(np.unique(mask)) == {0, 1}
        assert mask[:, :, :2].sum() == 0  # z below -0.2 m
        seen = labels["semantics"][mask == 1]
        assert 0.02 < (seen != FREE).mean() < 0.2
    assert (labels["semantics"][:, :, :2] == FREE).all()
    assert np.isin(labels["semantics"][:, :, 2], [4, 7, 10, 11, 13, 14, 15, 16]).all()


def test_the_full_world_has_every_scored_class(town_root: Path, town_spec: WorldSpec) -> None:
    """The 15 classes of the self-supervised tables stand near the start, in labels and in LiDAR alike."""
    for scene in range(2):
        folder = town_root / "gts" / town_spec.scene_name(scene) / sample_token(town_spec, scene, 0)
        with np.load(folder / "labels.npz") as labels:
            assert set(np.unique(labels["semantics"])) == {*OCC3D_15, FREE}


def test_the_moderate_world_stays_below_the_top_of_the_grid(winding_street: WorldScene) -> None:
    """Nothing is higher than 5.4 m, and there are at most nine classes."""
    for item in winding_street.objects:
        assert item.blueprint.mesh.vertices[:, 2].max() < 5.4
    assert len({*winding_street.materials[1:, 1], 11, 13, 14}) <= 9


@pytest.mark.parametrize("pair", ["sweep", "camera"])
def test_reprojecting_by_exact_depth_finds_the_same_colour(town: WorldScene, pair: str) -> None:
    """Colour belongs to the surface: the same point looks alike from the next frame and from the next camera.

    With a depth that is 30 % off it does not, so textures are rich enough to tell.
    """
    at = 0.5  # while the ego drives at full speed
    now, then = town.snapshot(at), town.snapshot(at + (1 / 12 if pair == "sweep" else 0.0))
    rig = cameras((96, 160))
    target = rig[0] if pair == "sweep" else rig[1]
    true_a, true_b = reproject(now, rig[0], then, target)
    wrong_a, wrong_b = reproject(now, rig[0], then, target, depth_factor=1.3)
    error, wrong = np.abs(true_a - true_b).mean(-1), np.abs(wrong_a - wrong_b).mean(-1)
    assert len(error) > (4000 if pair == "sweep" else 300)
    assert np.median(error) < 6.0  # of 255; the footprints differ a little between the views
    assert np.mean(wrong) > 2.0 * np.mean(error)


def test_movers_carry_their_texture(town: WorldScene) -> None:
    """A point of a moving object's surface has the same colour a second later, wherever it has gone."""
    before, after = town.snapshot(1.0), town.snapshot(2.0)
    compared = 0
    for row, item in enumerate(town.objects):
        pair = [np.flatnonzero(s.owners == row) for s in (before, after)]
        if not item.moves or not len(pair[0]) or len(pair[0]) != len(pair[1]):
            continue
        for a, b in list(zip(*pair, strict=True))[::25]:
            colours = [
                shade_point(tuple(s.corners[t].mean(0)), int(t), s.surfaces, 0.03) for s, t in ((before, a), (after, b))
            ]
            np.testing.assert_allclose(colours[0], colours[1], atol=1e-6)
            compared += 1
    assert compared > 50


def test_images_on_disk_are_the_rendered_ones(town_root: Path, town_spec: WorldSpec) -> None:
    """JPEG at quality 95 without chroma subsampling stays within a few grey levels."""
    scene = BUILDERS["full"](np.random.default_rng(town_spec.scene_seed(0)), town_spec.duration_s)
    image = render_view(scene.snapshot(0.5), cameras((48, 80))[0]).image
    stored = cv2.imread(str(town_root / recording_path(town_spec, 0, "CAM_FRONT", 500_000, key=True)))[..., ::-1]
    assert stored.shape == (48, 80, 3)
    assert np.abs(stored.astype(float) - image).mean() < 3.0


def test_stored_poses_are_those_of_the_drive(town_root: Path, town_spec: WorldSpec) -> None:
    """ego_pose holds the drive at each recording's own time, on the map; z is 0 and only the heading turns."""
    tables = {
        n: json.loads((town_root / town_spec.version / f"{n}.json").read_text()) for n in ("ego_pose", "sample_data")
    }
    scene = BUILDERS["full"](np.random.default_rng(town_spec.scene_seed(0)), town_spec.duration_s)
    poses = {p["token"]: p for p in tables["ego_pose"]}
    front = [d for d in tables["sample_data"] if "/CAM_FRONT/" in d["filename"] and "scene-0001" in d["filename"]]
    assert len(front) == 6
    for record in front:
        pose = poses[record["ego_pose_token"]]
        time_s = (record["timestamp"] - town_spec.start_us(0)) * 1e-6
        x, y, yaw = scene.ego.pose(time_s)
        np.testing.assert_allclose(pose["translation"][:2] + scene.bare_ground.origin, [x, y], atol=1e-9)
        assert pose["translation"][2] == 0.0
        w, a, b, z = pose["rotation"]
        assert a == b == 0.0
        assert np.exp(1j * (2 * np.arctan2(z, w) - yaw)) == pytest.approx(1.0)


def test_lidar_noise_moves_points_along_their_rays(town: WorldScene) -> None:
    """With noise of 5 cm the range error has that standard deviation, and the direction none."""
    snapshot = town.snapshot(0.0)
    exact, noisy = scan_lidar(snapshot), scan_lidar(snapshot, 0.05, np.random.default_rng(0))
    a, b = (np.linalg.norm(s.points_lidar, axis=-1) for s in (exact, noisy))
    assert np.std(b - a) == pytest.approx(0.05, rel=0.05)
    np.testing.assert_allclose(exact.points_lidar / a[:, None], noisy.points_lidar / b[:, None], atol=1e-4)
