"""`gsocc index nuscenes` and `gsocc doctor nuscenes`."""

import shutil
from pathlib import Path

import pytest
import typer

from gsocc.app.cli import main
from gsocc.app.commands import doctor, index
from gsocc.datasets.health import Finding
from gsocc.datasets.nuscenes_health import inspect_nuscenes
from gsocc.errors import DataError

VERSION = "v1.0-trainval"


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_whole_root_is_found_whole(mini_root: Path) -> None:
    found = by_name(inspect_nuscenes(mini_root))
    assert [name for name, finding in found.items() if not finding.good] == ["depth files"]
    assert found["index"].detail == "key frames: train 3, val 2, mini_train 3, mini_val 2, all 5"
    assert found["key-frame images"].detail == "all 30" and found["sweep images"].detail == "all 18"
    assert found["Occ3D labels"].detail == "all 5" and found["semantic labels"].detail == "all 30"
    assert not found["depth files"].required


def test_what_is_missing_is_counted_and_has_a_remedy(mini_root: Path, broken_root: Path) -> None:
    shutil.copy(mini_root / f"gsocc_index_{VERSION}.npz", broken_root)
    shutil.rmtree(broken_root / "gts")
    shutil.rmtree(broken_root / "samples" / "LIDAR_TOP")
    next((broken_root / "samples" / "CAM_BACK").iterdir()).unlink()
    found = by_name(inspect_nuscenes(broken_root))
    assert found["key-frame images"].detail.startswith("1 of 30 missing: samples/CAM_BACK/")
    assert found["LiDAR scans"].detail == "none of 5" and found["LiDAR scans"].required
    assert found["Occ3D labels"].detail == "none of 5" and not found["Occ3D labels"].required
    assert all(finding.fix for finding in found.values() if not finding.good)


def test_a_stale_missing_or_damaged_index_names_the_command_that_builds_it(mini_root: Path, broken_root: Path) -> None:
    path = broken_root / f"gsocc_index_{VERSION}.npz"
    command = f"gsocc index nuscenes {broken_root} --version {VERSION}"
    assert by_name(inspect_nuscenes(broken_root))["index"].fix == command
    path.write_bytes(b"")
    assert by_name(inspect_nuscenes(broken_root))["index"].fix == command
    shutil.copy(mini_root / path.name, path)
    (broken_root / VERSION / "ego_pose.json").write_text("[]")
    stale = by_name(inspect_nuscenes(broken_root))["index"]
    assert stale.detail.startswith("out of date: ego_pose.json has 2 bytes") and stale.fix == command


def test_missing_tables_and_maps_are_found(broken_root: Path, tmp_path: Path) -> None:
    (broken_root / "maps" / "map.png").unlink()
    assert by_name(inspect_nuscenes(broken_root))["maps"].detail == "none of 1"
    (broken_root / VERSION / "map.json").write_text("{}")
    assert "expected a list of map records" in by_name(inspect_nuscenes(broken_root))[f"tables {VERSION}"].detail
    (broken_root / VERSION / "map.json").unlink()
    assert by_name(inspect_nuscenes(broken_root))[f"tables {VERSION}"].detail == "1 of 13 missing: map.json"
    with pytest.raises(DataError, match="does not exist"):
        inspect_nuscenes(tmp_path / "nowhere")
    (broken_root / "v1.0-mini").mkdir()
    with pytest.raises(DataError, match=r"tables of v1.0-mini, v1.0-trainval; choose by --version"):
        inspect_nuscenes(broken_root)


def test_the_commands_build_check_and_exit_with_one(broken_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped:
        doctor.nuscenes(broken_root)
    assert stopped.value.exit_code == 1
    index.nuscenes(broken_root, skip=["sweeps"])
    out = capsys.readouterr().out
    assert f"gsocc_index_{VERSION}.npz: 5 key frames of 2 scenes, 30 images" in out
    doctor.nuscenes(broken_root)
    assert "everything that training needs is here" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match="expected any of sweeps, lidar, got radar"):
        index.nuscenes(broken_root, skip=["radar"])


def test_the_command_line_gives_one_message_and_exit_code_one(
    broken_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (broken_root / VERSION / "sample.json").unlink()
    monkeypatch.setattr("sys.argv", ["gsocc", "index", "nuscenes", str(broken_root)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == [
        f"error: {broken_root / VERSION}: tables are missing: sample.json; copy the nuScenes metadata again"
    ]
