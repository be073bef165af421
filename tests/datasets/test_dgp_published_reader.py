"""Our reader of DGP scenes against TRI's own package, where it is installed and its sample lies beside the project."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsocc.datasets.dgp_format import Sample, open_scene_dataset


@pytest.fixture(scope="module")
def pairs(real_data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Sample, dict[str, Any]]]:
    """Samples of both scenes with what dgp gives of them: recordings by the names of their sensors in lower case."""
    root = real_data_root / "ddad_scenes" / "test_scene"
    if not root.is_dir():
        pytest.skip("the sample has no DDAD scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGP_PATH", str(tmp_path_factory.mktemp("dgp")))  # it writes there when it is imported
        # PyPI has an unrelated package of that name, and some builds of the right one fail beside a newer protobuf.
        published = pytest.importorskip("dgp.datasets", reason="needs TRI's dgp", exc_type=Exception)
        scenes = published.SynchronizedSceneDataset(
            str(root / "scene_dataset_v1.0.json"),
            split="train",
            datum_names=["lidar", "CAMERA_01", "CAMERA_05", "CAMERA_06"],
            backward_context=0,
            forward_context=0,
            generate_depth_from_datum="lidar",
        )
        theirs = [{datum["datum_name"].lower(): datum for datum in scenes[number][0]} for number in range(len(scenes))]
    ours = [sample for scene in open_scene_dataset(root).scenes for sample in scene.samples]
    return list(zip(ours, theirs, strict=True))


def _recordings(pairs: list[tuple[Sample, dict[str, Any]]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for sample, datums in pairs:
        for name, datum in datums.items():
            yield sample.point_cloud(name) if name == "lidar" else sample.image(name), datum


def test_poses_lenses_stamps_and_points_are_those_of_dgp(pairs: list[tuple[Sample, dict[str, Any]]]) -> None:
    """TRI's reader keeps poses and intrinsics in float32, worth less than a millimetre 500 m from the origin."""
    for ours, theirs in _recordings(pairs):
        assert ours.ticks == theirs["timestamp"]
        np.testing.assert_allclose(ours.sensor_to_world, theirs["pose"].matrix, atol=1e-3)
        np.testing.assert_allclose(ours.calibration.sensor_to_vehicle, theirs["extrinsics"].matrix, atol=1e-5)
        if ours.calibration.intrinsics is None:
            np.testing.assert_allclose(ours.points, theirs["point_cloud"][:, :3], atol=1e-12)
        else:
            np.testing.assert_allclose(ours.intrinsics, theirs["intrinsics"], rtol=1e-6)
            assert ours.size == theirs["rgb"].size[::-1]


def test_depth_drawn_as_dgp_draws_it_is_that_of_dgp(pairs: list[tuple[Sample, dict[str, Any]]]) -> None:
    """Truncated pixels, the last point stays; float32 poses move a few points in a thousand over a pixel's border."""
    for sample, datums in pairs:
        for camera in ("CAMERA_01", "CAMERA_05", "CAMERA_06"):
            ours = sample.project_lidar_depth(camera, "LIDAR", rounding="truncate", collisions="last")
            theirs = datums[camera.lower()]["depth"]
            assert ours.shape == theirs.shape
            same = (ours > 0) == (theirs > 0)
            assert (~same).sum() <= 0.005 * (theirs > 0).sum()
            both = (ours > 0) & (theirs > 0)
            assert (np.abs(ours - theirs)[both] < 1e-2).mean() > 0.99
