"""Meshes, roads and sensors of the world."""

import numpy as np
import pytest

from gsocc.datasets.world.blueprints import Blueprint, Factory
from gsocc.datasets.world.ground import make_ground
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.meshes import Mesh, box, bumpy_box, cylinder, ellipsoid
from gsocc.datasets.world.people import pedestrian
from gsocc.datasets.world.placing import Placer
from gsocc.datasets.world.presets import MODERATE
from gsocc.datasets.world.roads import LANE_OFFSET_M, Course, drive, straight, town_course, winding_course
from gsocc.datasets.world.scene import WorldScene
from gsocc.datasets.world.sensors import CAMERAS, cameras, lidar_rays
from gsocc.datasets.world.structures import barrier, cone
from gsocc.datasets.world.vehicles import bicycle, bus, car, excavator, motorcycle, trailer, truck
from gsocc.kernels.world_ground import ground_class, road_coordinates


def enclosed_volume(mesh: Mesh) -> float:
    """Divergence theorem: positive where faces are counter-clockwise from outside."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    ("mesh", "volume"),
    [
        (box(2.0, 3.0, 4.0, 0, z=1.0), 24.0),
        (cylinder(1.0, 2.0, 0, sides=96), 2 * np.pi),
        (cylinder(1.0, 3.0, 0, sides=96, top_radius=0.0), np.pi),
        (ellipsoid((1.0, 2.0, 3.0), 0, centre=(0.0, 0.0, 5.0), rings=40, sides=60), 8 * np.pi),
    ],
)
def test_primitives_are_closed_and_face_outwards(mesh: Mesh, volume: float) -> None:
    """Textbook volumes; the polygons of a circle fall short of it by less than one percent."""
    assert enclosed_volume(mesh) == pytest.approx(volume, rel=0.01)


def test_a_hedge_faces_outwards() -> None:
    """Four sides and a top; the open bottom lies at z = 0 and adds nothing to the integral."""
    mesh = bumpy_box(4.0, 1.0, 2.0, 0, step_m=0.5, bumps_m=0.0, rng=np.random.default_rng(0))
    assert enclosed_volume(mesh) == pytest.approx(8.0)


@pytest.mark.parametrize(
    "factory", [car, truck, bus, trailer, excavator, motorcycle, bicycle, pedestrian, barrier, cone]
)
def test_things_stand_on_the_ground_around_their_origin(factory: Factory) -> None:
    """A box annotation is centred on the origin and reaches from the ground to the top."""
    thing: Blueprint = factory(np.random.default_rng(1), MaterialTable(np.random.default_rng(2)))
    low, high = thing.mesh.vertices.min(0), thing.mesh.vertices.max(0)
    np.testing.assert_allclose(low[:2], -high[:2], atol=1e-9)
    assert abs(low[2]) < 0.2
    assert thing.size_m == pytest.approx((high[0] * 2, high[1] * 2, high[2]))


def test_roads_are_curves_by_arc_length() -> None:
    """The distance between neighbouring points is their step; the tangent is the heading."""
    for course in (
        winding_course(np.random.default_rng(0), -50.0, 200.0, (48.0, 85.0)),
        town_course(np.random.default_rng(0), -50.0, 200.0)[0],
    ):
        step = np.diff(course.xy, axis=0)
        np.testing.assert_allclose(np.linalg.norm(step, axis=-1), np.diff(course.arc_m), rtol=1e-9)
        middle = 0.5 * (course.heading_rad[1:] + course.heading_rad[:-1])
        np.testing.assert_allclose(np.stack([np.cos(middle), np.sin(middle)], -1) * 0.25, step, atol=1e-9)


def test_side_streets_begin_on_the_main_road_and_leave_it() -> None:
    """Each of the corners of a town is a street that starts on the main course."""
    course, corners = town_course(np.random.default_rng(3), -50.0, 200.0)
    assert corners
    for arc, turn in corners:
        side = straight(course.pose(arc), turn, 40.0)
        assert np.linalg.norm(course.xy - side.xy[0], axis=-1).min() < 0.2
        assert np.linalg.norm(course.xy - side.xy[-1], axis=-1).min() > 12.0


def test_the_drive_is_smooth_and_stops_once() -> None:
    """Acceleration stays below what passengers accept, and within 20 s the car stands still for a moment."""
    rng = np.random.default_rng(1)
    course = winding_course(rng, -75.0, 300.0, (48.0, 85.0))
    motion = drive(course, rng, 20.0, (6.0, 8.5))
    speed = np.gradient(motion.arcs_m, motion.times_s)
    assert 5.0 < np.median(speed) < 10.0
    assert speed.min() < 0.05 and speed.min() >= 0.0
    assert np.abs(np.gradient(speed, motion.times_s)).max() < 6.0


def test_the_ego_faces_where_it_goes(winding_street: WorldScene) -> None:
    """A car's rear axle moves along its heading: no sideways motion beyond the resolution of the course."""
    for time_s in np.arange(0.0, 18.0, 1.7):
        now, then = winding_street.ego.pose(time_s), winding_street.ego.pose(time_s + 1 / 12)
        delta = then[:2] - now[:2]
        heading = 0.5 * (now[2] + then[2])
        sideways = -np.sin(heading) * delta[0] + np.cos(heading) * delta[1]
        assert abs(sideways) < 0.004


def test_the_ego_drives_in_the_right_lane(winding_street: WorldScene) -> None:
    """The lateral offset that the ground's raster finds is the lane's, wherever the road bends."""
    for time_s in np.arange(0.0, 20.0, 0.9):
        x, y, _ = winding_street.ego.pose(time_s)
        offset, arc, half, *_ = road_coordinates(winding_street.bare_ground, x, y)
        assert offset == pytest.approx(LANE_OFFSET_M, abs=0.01)
        assert half == MODERATE.half_width
        assert arc == pytest.approx(np.interp(time_s, winding_street.ego.times_s, winding_street.ego.arcs_m), abs=0.02)


def test_ground_classes_follow_the_distance_to_a_straight_road() -> None:
    """Road to the kerb at 4 m, 2 m of sidewalk, terrain beyond, on both sides; a side street is road too."""
    arc = np.arange(-50.0, 50.0, 0.25)
    main = Course(arc, np.stack([arc, 0 * arc], -1), 0 * arc, 0 * arc)
    side = straight(main.pose(10.0), np.pi / 2, 30.0)
    ground = make_ground(main, 4.0, [(side, 3.0)], np.zeros(0), walk_m=2.0, parking_m=1.5, slot_m=6.0, seed=1)
    at = {y: ground_class(ground, -20.0, y) for y in (0.0, 3.9, -3.9, 4.1, -5.9, 6.1, -30.0)}
    assert at == {0.0: 11, 3.9: 11, -3.9: 11, 4.1: 13, -5.9: 13, 6.1: 14, -30.0: 14}
    assert [ground_class(ground, x, 20.0) for x in (10.0, 12.9, 13.1, 15.1)] == [11, 11, 13, 14]
    # The side street begins on the main road and does not go on behind it; it ends in a half circle.
    assert ground_class(ground, 10.0, -20.0) == 14
    assert [ground_class(ground, 10.0, y) for y in (31.0, 33.5, 36.0)] == [11, 13, 14]


def test_placed_objects_do_not_touch() -> None:
    """A second object at the same place is refused, one a length further on is not; nothing blocks the road."""
    arc = np.arange(-50.0, 50.0, 0.25)
    placer = Placer([Course(arc, np.stack([arc, 0 * arc], -1), 0 * arc, 0 * arc)], [4.0])
    thing = car(np.random.default_rng(0), MaterialTable(np.random.default_rng(0)))
    assert placer.try_place(thing, np.array([0.0, 6.0, 0.3]), clearance_m=0.2)
    assert not placer.try_place(thing, np.array([1.0, 6.5, -0.3]), clearance_m=0.2)
    assert placer.try_place(thing, np.array([6.0, 6.0, 0.3]), clearance_m=0.2)
    assert not placer.try_place(thing, np.array([-20.0, 4.5, 0.0]), clearance_m=0.2)
    assert len(placer.objects) == 2


def test_intrinsics_scale_with_the_image() -> None:
    """Half the size in each direction halves every entry of K but the last; the field of view stays."""
    for small, large in zip(cameras((90, 160)), cameras((180, 320)), strict=True):
        np.testing.assert_allclose(small.intrinsics * [[2], [2], [1]], large.intrinsics)


def test_cameras_look_around_with_overlap() -> None:
    """Each camera's view reaches into that of the next: headings differ by less than the mean field of view."""
    rig = cameras((90, 160))
    assert tuple(c.name for c in rig) == CAMERAS
    forward = np.stack([c.cam_to_ego[:3, 2] for c in rig])
    heading = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    fov = 2 * np.arctan([80 / c.intrinsics[0, 0] for c in rig])
    gaps = np.diff(np.append(heading, heading[0] + 2 * np.pi))
    assert (gaps > 0).all()
    assert (gaps < 0.5 * (fov + np.roll(fov, -1)) - 0.1).all()


def test_lidar_fires_every_beam_around() -> None:
    """32 beams at 1085 azimuths, unit length, ring 0 lowest."""
    rays, ring = lidar_rays()
    assert rays.shape == (32 * 1085, 3)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1.0)
    assert rays[ring == 0, 2].max() < rays[ring == 31, 2].min()
