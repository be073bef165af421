"""`gsocc doctor rig`: mistakes in a calibration are named, by numbers, by motion, and by what cameras share."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from gsocc.app.commands import doctor
from gsocc.app.rig_check.axes import check_axes
from gsocc.app.rig_check.motion import CameraMotion, camera_direction, check_motion
from gsocc.app.rig_check.pairs import PairMatches, check_pair
from gsocc.app.rig_check.picture import ground_picture
from gsocc.app.rig_check.report import _excused, check_rig
from gsocc.app.rig_check.views import View
from gsocc.datasets.health import Finding
from gsocc.datasets.rig_index import build_index
from gsocc.datasets.world.rig_spec import RigSpec, rig_cameras
from gsocc.datasets.world.writer import write_world

NAMES = ("front", "left", "rear", "right")


def cameras(size: tuple[int, int] = (96, 160)) -> list[View]:
    """Return the world's four cameras, their images grey."""
    return [
        View(c.name, np.full((*c.image_size, 3), 90, np.uint8), c.intrinsics, c.cam_to_ego, np.eye(4))
        for c in rig_cameras(size)
    ]


def moving(rig: list[View], direction_ego: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> list[CameraMotion]:
    """Return what cameras see of a vehicle that drives in a direction."""
    return [CameraMotion(c.name, c.cam_to_ego[:3, :3].T @ np.array(direction_ego), 1.0, 5) for c in rig]


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.required and not finding.good]


def test_a_good_calibration_passes() -> None:
    rig = cameras()
    findings = [*check_axes(rig), *check_motion(rig, moving(rig))]
    assert all(finding.good for finding in findings)
    assert len(findings) == 3 + 4


def test_poses_the_wrong_way_round_are_recognised() -> None:
    """ego_to_cam instead of cam_to_ego: inverted, all cameras stand upright."""
    rig = [replace(c, cam_to_ego=np.linalg.inv(c.cam_to_ego)) for c in cameras()]
    [finding] = wrong(check_axes(rig))
    assert finding.name == "axes of cam_to_ego" and "invert them" in finding.fix


def test_rotations_of_a_body_instead_of_a_camera_are_recognised() -> None:
    """A heading alone, x forward and z up: the optical axis then points at the sky."""
    rig = cameras()
    axes = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    for i, camera in enumerate(rig):
        pose = camera.cam_to_ego.copy()
        pose[:3, :3] = pose[:3, :3] @ axes.T
        rig[i] = replace(camera, cam_to_ego=pose)
    [finding] = wrong(check_axes(rig))
    assert "x forward, y left, z up" in finding.fix and "from the right" in finding.fix


def test_intrinsics_of_larger_images_are_recognised_by_their_principal_point() -> None:
    rig = cameras()
    rig[1] = replace(rig[1], intrinsics=np.diag([2.0, 2.0, 1.0]) @ rig[1].intrinsics)
    [finding] = wrong(check_axes(rig))
    assert "left" in finding.detail and "about 192x320 (HxW)" in finding.detail
    rig[1] = replace(rig[1], intrinsics=np.diag([0.75, 1.0, 1.0]) @ np.diag([0.8, 1.0, 1.0]) @ cameras()[1].intrinsics)
    assert len(wrong(check_axes(rig))) == 1


def test_a_rig_whose_origin_is_on_the_roof_is_told_so() -> None:
    rig = cameras()
    for i, camera in enumerate(rig):
        pose = camera.cam_to_ego.copy()
        pose[2, 3] -= 1.6
        rig[i] = replace(camera, cam_to_ego=pose)
    finding = next(f for f in check_axes(rig) if f.name == "heights of cameras")
    assert not finding.good and not finding.required and "on the ground" in finding.fix


def test_swapped_cameras_are_named_by_the_way_they_move() -> None:
    """The left camera's images drive backwards where the right one hangs, and the other way round."""
    rig = cameras()
    motions = moving(rig)
    motions[1], motions[3] = motions[3], motions[1]
    [finding] = wrong(check_motion(rig, motions))
    assert finding.name == "swapped cameras"
    assert "images of left fit where right hangs; images of right fit where left hangs" in finding.detail
    assert "exchange their folders" in finding.fix and "y of the vehicle's frame" in finding.fix
    three = [motions[0], motions[1], motions[3], motions[2]]
    [finding] = wrong(check_motion(rig, three))
    assert "images of rear fit" in finding.detail or "images of right fit" in finding.detail


def test_a_vehicle_frame_turned_aside_is_named_by_the_axis_it_drives_along() -> None:
    rig = cameras()
    [finding] = wrong(check_motion(rig, moving(rig, (0.0, 1.0, 0.0))))
    assert finding.name == "axes of the vehicle" and "along its y axis" in finding.detail
    [finding] = wrong(check_motion(rig, moving(rig, (-1.0, 0.0, 0.0))))
    assert "along its -x axis" in finding.detail


@pytest.mark.parametrize(("axis", "words"), [(2, "20.0 degrees to the"), (1, "20.0 ")])
def test_one_camera_turned_by_twenty_degrees_is_the_one_that_is_named(axis: int, words: str) -> None:
    rig = cameras()
    motions = moving(rig)
    angle = math.radians(20.0)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[[i, i, j, j], [i, j, i, j]] = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    pose = rig[0].cam_to_ego.copy()
    pose[:3, :3] = turn @ pose[:3, :3]
    rig[0] = replace(rig[0], cam_to_ego=pose)
    [finding] = wrong(check_motion(rig, motions))
    assert finding.name == "driving direction, front" and words in finding.detail


def test_few_pairs_of_images_give_no_verdict() -> None:
    rig = cameras()
    motions = [replace(m, pairs=1) for m in moving(rig)]
    motions[0] = replace(motions[0], direction_cam=np.array([0.6, 0.0, 0.8]))
    findings = check_motion(rig, motions)
    assert not wrong(findings)
    assert "too few pairs" in next(f for f in findings if not f.good).fix
    at_rest = [replace(m, pairs=0) for m in motions]
    [finding] = check_motion(rig, at_rest)
    assert not finding.required and "at rest" in finding.detail


def matches(scale: float = 1.0, noise: float = 0.0, moments: int = 4) -> PairMatches:
    """Return points that two cameras, 1 m apart and turned by 60 degrees, see; the first one's lens is `scale` off."""
    rng = np.random.default_rng(0)
    angle = math.radians(60)
    pose = np.eye(4)
    pose[:3, :3] = [[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]]
    pose[:3, 3] = [0.4, 0.8, 0.3]
    points = np.stack([rng.uniform(3, 8, 60), rng.uniform(-2, 2, 60), rng.uniform(4, 9, 60)], -1)
    others = points @ pose[:3, :3].T + pose[:3, 3]
    first, second = points / points[:, 2:], others / others[:, 2:]
    first[:, :2] *= scale
    first[:, :2] += noise * rng.standard_normal((60, 2))
    number = np.arange(60) % moments
    return PairMatches(first, second, np.broadcast_to(pose, (60, 4, 4)), number, focal_px=300.0, near_px=2.0)


def test_residuals_vanish_for_exact_matches_and_equal_distances_to_lines() -> None:
    """Sampson's distance is, to first order, how far both points must move to lie on each other's lines."""
    assert matches().residuals_px().max() < 1e-9
    noisy = matches(noise=0.003)
    residuals = noisy.residuals_px()
    rotation, t = noisy.first_to_second[0, :3, :3], noisy.first_to_second[0, :3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    for n in (0, 7, 31):
        line = cross @ rotation @ noisy.first[n]
        back = (cross @ rotation).T @ noisy.second[n]
        to_second = abs(noisy.second[n] @ line) / np.hypot(*line[:2])
        to_first = abs(noisy.second[n] @ line) / np.hypot(*back[:2])
        both = 300.0 / math.sqrt(1 / to_second**2 + 1 / to_first**2)
        assert residuals[n] == pytest.approx(both, rel=1e-9)


def test_a_focal_length_of_another_size_is_named() -> None:
    """Rays too flat by 1.5 come from a focal length of two thirds: 1.5 times as long would agree."""
    good = check_pair("front", "left", matches())
    assert good.good and "100 % of 60" in good.detail
    finding = check_pair("front", "left", matches(scale=1.5))
    assert finding.required and not finding.good
    assert "100 % if that of front was 1.50 times as long" in finding.detail
    assert "too few to tell" in check_pair("front", "left", matches(scale=1.5, moments=60)).detail
    assert not check_pair("front", "left", matches(scale=1.5, moments=2)).required


def test_what_two_trusted_cameras_disagree_on_is_excused() -> None:
    good, bad = Finding("a", True, "", True), Finding("b", False, "", True)
    kept = _excused({(0, 1): good, (1, 2): bad, (2, 3): good})
    assert not kept[1].required
    kept = _excused({(0, 1): good, (1, 2): bad, (2, 3): bad})
    assert kept[1].required and kept[2].required


def test_the_horizon_is_drawn_where_level_cameras_have_it() -> None:
    """A level camera sees the horizon in the row of its principal point; red in the picture, below the heading."""
    rig = cameras((300, 480))[:1]
    picture = ground_picture(rig, moving(rig), "one")
    red = (picture[..., 0] > 200) & (picture[..., 1] < 110) & (picture[..., 2] < 110)
    rows = red.sum(1)
    offset = picture.shape[0] - 300
    assert abs(int(rows.argmax()) - offset - 150) <= 1
    assert rows.max() > 240


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a world of the four cameras: one scene of seven moments at 120x200."""
    spec = RigSpec(scenes=1, frames=7, seed=0, image_size=(120, 200), val_scenes=0)
    root = write_world(spec, tmp_path_factory.mktemp("check") / "rig", workers=1)
    build_index(root)
    return root


def respell(world: Path, root: Path, change: dict[str, dict]) -> Path:
    """Return a root with the world's files and another rig file."""
    root.mkdir()
    for path in world.iterdir():
        if path.name not in ("rig.yaml", "gsocc_index_rig.npz", "world.json"):
            (root / path.name).symlink_to(path, target_is_directory=path.is_dir())
    description = yaml.safe_load((world / "rig.yaml").read_text())
    for name, keys in change.items():
        description["cameras"][name] |= keys
    (root / "rig.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    build_index(root)
    return root


@pytest.mark.slow
def test_a_world_is_found_right_and_its_motion_straight(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    doctor.rig(world, frames=7, pictures=tmp_path)
    said = capsys.readouterr().out
    assert "everything that training needs is here" in said
    assert "front and left" in said
    assert {p.name for p in tmp_path.iterdir()} == {"ground.png", "overlap.png"}


@pytest.mark.slow
def test_folders_exchanged_in_a_world_are_named(world: Path, tmp_path: Path) -> None:
    change = {"left": {"images": "{scene}/right"}, "right": {"images": "{scene}/left"}}
    root = respell(world, tmp_path / "swapped", change)
    report = check_rig(root, root / "gsocc_index_rig.npz", tmp_path / "pictures", frames=7)
    assert "swapped cameras" in [finding.name for finding in wrong(report.findings)]
    with pytest.raises(typer.Exit) as stopped:
        doctor.rig(root, frames=7, pictures=tmp_path / "pictures")
    assert stopped.value.exit_code == 1


@pytest.mark.slow
def test_a_heading_that_is_thirty_degrees_off_is_named(world: Path, tmp_path: Path) -> None:
    description = yaml.safe_load((world / "rig.yaml").read_text())
    mount = description["cameras"]["left"]["cam_to_ego"] | {"heading_deg": 118.0}
    root = respell(world, tmp_path / "turned", {"left": {"cam_to_ego": mount}})
    report = check_rig(root, root / "gsocc_index_rig.npz", tmp_path / "pictures", frames=7)
    assert next(finding.name for finding in wrong(report.findings)) == "driving direction, left"


def test_a_camera_at_rest_or_without_features_says_nothing() -> None:
    rig = cameras()
    assert camera_direction(rig[0], rig[0]) is None
    textured = replace(rig[0], image=np.random.default_rng(0).integers(0, 255, rig[0].image.shape).astype(np.uint8))
    assert camera_direction(textured, textured) is None


def test_what_is_missing_stops_the_doctor_before_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(typer.Exit):
        doctor.rig(tmp_path)
    assert "there is no rig file" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddad", "nuscenes"])
def test_real_rigs_are_found_right(name: str, real_data_root: Path, tmp_path: Path) -> None:
    """Three moments each of DDAD and nuScenes, whose calibrations are known to be good: nothing is called wrong."""
    if name == "ddad":
        from gsocc.datasets.ddad_index import build_index as build

        root = real_data_root / "ddad_scenes" / "test_scene"
        index = build(root / "scene_dataset_v1.0.json", tmp_path / "index.npz")
    else:
        pytest.importorskip("nuscenes", reason="the index is built with the devkit")
        from gsocc.datasets.nuscenes_index import build_index as build_tables

        root = real_data_root / "nuscenes_mini_subset"
        index = build_tables(root, "v1.0-mini", tmp_path / "index.npz")
    findings = check_rig(root, index, tmp_path).findings
    assert not wrong(findings)
    pairs = [finding for finding in findings if finding.name.startswith("epipolar lines")]
    assert len(pairs) == 6
    assert sum(finding.good for finding in pairs) >= (6 if name == "ddad" else 4)
    if name == "ddad":
        motion = [finding.detail for finding in findings if finding.name.startswith("driving direction")]
        assert max(float(detail.split("drives ")[1].split()[0]) for detail in motion) < 6.0
