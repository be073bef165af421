"""`gsocc index ddad` and `gsocc doctor ddad`."""

import shutil
from pathlib import Path

import pytest
import typer
from dgp_files import write_dgp_root

from gsocc.app.commands import doctor, index
from gsocc.datasets.ddad_health import inspect_ddad
from gsocc.datasets.health import Finding
from gsocc.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dgp_root(tmp_path / "ddad")


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_commands_build_check_and_exit_with_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the index there is nothing to train with; after it, all that is required is there."""
    with pytest.raises(typer.Exit) as stopped:
        doctor.ddad(root, frames=1)
    assert stopped.value.exit_code == 1
    index.ddad(root)
    assert "gsocc_index_ddad.npz: 6 key frames of 2 scenes, 36 images" in capsys.readouterr().out
    doctor.ddad(root, frames=1)
    assert "everything that training needs is here" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match="expected lidar, got sweeps"):
        index.ddad(root, skip=["sweeps"])


def test_what_is_there_is_counted(root: Path) -> None:
    """Masks and labels come from elsewhere, so that their absence is no fault; each has a remedy."""
    index.ddad(root)
    found = by_name(inspect_ddad(root))
    assert found["scene files"].detail == "train 1, val 1"
    assert found["index"].detail == "key frames: train 3, val 3, all 6"
    assert found["images"].detail == "all 36" and found["LiDAR scans"].detail == "all 6"
    assert found["contents"].detail == "4 of 6 key frames read whole"
    absent = {"self-occlusion masks": "none of 12", "semantic labels": "none of 36", "depth files": "none of 36"}
    assert {name: finding.detail for name, finding in found.items() if not finding.good} == absent
    assert not any(found[name].required or not found[name].fix for name in absent)


def test_what_is_missing_corrupt_or_stale_is_named(root: Path, tmp_path: Path) -> None:
    """One after the other: an image cut short, a scan away, a scene changed, its file away, the list away."""
    index.ddad(root)
    image = root / "000000/rgb/CAMERA_01/15569195900000000.png"
    image.write_bytes(image.read_bytes()[:-20])
    found = by_name(inspect_ddad(root))["contents"]
    assert found.detail.startswith("1 of 4 key frames cannot be read") and str(image) in found.detail
    (root / "000000/point_cloud/LIDAR/15569195900000000.npz").unlink()
    found = by_name(inspect_ddad(root))["LiDAR scans"]
    assert found.required and found.detail == "1 of 6 missing: 000000/point_cloud/LIDAR/15569195900000000.npz"
    scene = root / "000001" / "scene_1.json"
    scene.write_text(scene.read_text() + " ")
    stale = by_name(inspect_ddad(root))["index"]
    assert "out of date: 000001/scene_1.json has" in stale.detail and stale.fix == f"gsocc index ddad {root}"
    scene.unlink()
    assert "1 of 2 missing" in by_name(inspect_ddad(root))["scene files"].detail
    (root / "ddad.json").unlink()
    assert "expected one ddad.json" in by_name(inspect_ddad(root))["scene files"].detail
    shutil.rmtree(root)
    with pytest.raises(DataError, match="does not exist"):
        inspect_ddad(root)
