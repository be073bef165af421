"""LiDAR depth images written to files: what the readers find there is what a scan projects to."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dgp_files import SIZE, SPEED_M_S, write_dgp_root

from gsocc.app.commands import index, label
from gsocc.datasets.ddad import DdadDataset
from gsocc.datasets.ddad_health import inspect_ddad
from gsocc.datasets.derived.depth import RECORD, DepthRule, export_depth, released_rule
from gsocc.datasets.derived.layout import open_derived_index
from gsocc.datasets.dgp_format import open_scene_dataset
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.errors import DataError, OutputError, UserError
from gsocc.files import read_json


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root)
    return root


def depth_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_what_is_written_is_what_the_reader_projects(root: Path) -> None:
    """10.2 m ahead, and 8 m behind, which the camera that fires 15 ms later sees 0.15 m further away."""
    label.depth("ddad", root, workers=0)
    files = depth_files(root / "depth")
    assert len(files) == 36
    assert {finding.name: finding for finding in inspect_ddad(root)}["depth files"].good
    assert files[0].relative_to(root).as_posix() == "depth/000000/depth/CAMERA_01/15569195900000000.npy"
    options = {"root": root, "split": "all", "image_size": SIZE, "parts": ["lidar_depth"], "frame_ids": (0,)}
    scans, read = DdadDataset(**options), DdadDataset(**options, depth_from="files")
    for number in range(len(scans)):
        np.testing.assert_array_equal(read[number].lidar_depth_m, scans[number].lidar_depth_m)
    first = read[0].lidar_depth_m
    assert first is not None
    assert float(first[0].max()) == pytest.approx(10.2) and float(first[3].max()) == pytest.approx(
        8.0 + 0.015 * SPEED_M_S, abs=1e-5
    )


def test_released_files_are_those_of_the_format_s_own_reader(root: Path) -> None:
    """Truncated pixels and the last point of the file, through the two sensors' poses: an independent way there."""
    label.depth("ddad", root, released=True, workers=0)
    sample = open_scene_dataset(root, "val").scenes[0].samples[1]
    for camera in ("CAMERA_01", "CAMERA_09"):
        stored = np.load(root / "depth/000001/depth" / camera / "15569196901000000.npy")
        projected = sample.project_lidar_depth(camera, "LIDAR", rounding="truncate", collisions="last")
        assert stored.dtype == np.float32 and (stored > 0).any()
        np.testing.assert_allclose(stored, projected, atol=1e-5)
    assert read_json(root / "depth" / RECORD) == {
        "dataset": "ddad", "rounding": "truncate", "collisions": "last", "min_depth_m": 0.0,
    }  # fmt: skip


def test_nuscenes_files_lie_where_its_reader_looks(mini_root: Path, tmp_path: Path) -> None:
    """A point 10 m ahead on row 12, column 20; of two on one pixel the released rule keeps the later, 20 m away."""
    label.depth("nuscenes", mini_root, out=tmp_path / "ours", workers=0)
    options = {"root": mini_root, "split": "all", "image_size": (24, 40), "parts": ["lidar_depth"], "frame_ids": (0,)}
    read = NuScenesDataset(**options, depth_from="files", depth_root=tmp_path / "ours")
    for number in range(len(read)):
        np.testing.assert_array_equal(read[number].lidar_depth_m, NuScenesDataset(**options)[number].lidar_depth_m)
    label.depth("nuscenes", mini_root, out=tmp_path / "theirs", released=True, workers=0)
    depth = NuScenesDataset(**options, depth_from="files", depth_root=tmp_path / "theirs")[0].lidar_depth_m
    assert depth is not None and depth[0].max() == 20.0


def test_a_run_that_was_stopped_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole files stay as they are; what is missing, cut short or older than the record is drawn again."""
    label.depth("ddad", root, workers=0)
    kept, gone, cut, old, *_ = files = depth_files(root / "depth")[::7]
    before = [file.read_bytes() for file in files]
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    os.utime(old, ns=(1, 1))
    capsys.readouterr()
    label.depth("ddad", root, workers=0)
    assert "18 depth images written, 18 were there" in capsys.readouterr().out  # whole key frames, of six images each
    assert [file.read_bytes() for file in files] == before
    assert kept.stat().st_mtime_ns == stamp or gone.parent == kept.parent


def test_processes_and_ranks_share_the_work(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks of torchrun write each a half; two worker processes write what one does."""
    label.depth("ddad", root, out=tmp_path / "whole", workers=0)
    label.depth("ddad", root, out=tmp_path / "workers", workers=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        label.depth("ddad", root, out=tmp_path / "ranks", workers=0)
        assert len(depth_files(tmp_path / "ranks")) == 18 * (int(rank) + 1)
    for folder in ("workers", "ranks"):
        for file in depth_files(tmp_path / "whole"):
            assert (tmp_path / folder / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


def test_files_of_another_rule_are_not_mixed(root: Path) -> None:
    """Floor and round differ by half a pixel, which no reader could see; nor are files of others taken for ours."""
    label.depth("ddad", root, workers=0)
    with pytest.raises(UserError, match=r"were drawn as .*rounding floor.*asked for is .*rounding round.*--overwrite"):
        label.depth("ddad", root, rounding="round", workers=0)
    label.depth("ddad", root, rounding="round", workers=0, overwrite=True)
    assert read_json(root / "depth" / RECORD)["rounding"] == "round"
    (root / "depth" / RECORD).unlink()
    with pytest.raises(OutputError, match="something else wrote them"):
        label.depth("ddad", root, workers=0)


def test_what_cannot_be_drawn_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another data set, no index, no LiDAR, a scan that is away (seen from a worker too), a full disk."""
    with pytest.raises(DataError, match=r"expected one of nuscenes, ddad.*got 'kitti'"):
        label.depth("kitti", root)
    with pytest.raises(DataError, match="there is no index; build it: gsocc index ddad"):
        label.depth("ddad", tmp_path)
    with pytest.raises(DataError, match="expected an index of nuscenes, got one of ddad"):
        label.depth("nuscenes", root, index=root / "gsocc_index_ddad.npz")
    scan = root / "000000/point_cloud/LIDAR/15569195900000000.npz"
    scan.unlink()
    with pytest.raises(DataError, match=str(scan)):
        label.depth("ddad", root, workers=1)
    index.ddad(root, skip=["lidar"])
    with pytest.raises(DataError, match="built without LiDAR; build it again: gsocc index ddad"):
        label.depth("ddad", root)
    opened = open_derived_index("ddad", write_indexed(tmp_path / "other"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OutputError, match=r"6 key frames need 0.0 GB of depth images, 0.0 GB are free"):
        export_depth(opened, tmp_path / "other", tmp_path / "out", range(6), released_rule("ddad"))
    with pytest.raises(UserError, match="expected at least 0 m"):
        DepthRule(min_depth_m=-1.0)


def write_indexed(root: Path) -> Path:
    write_dgp_root(root)
    index.ddad(root)
    return root
