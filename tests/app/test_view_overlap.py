"""`gsocc view overlap`: does a rig share enough to give scale?"""

from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from gsocc.app.cli import app
from gsocc.app.overlap import OverlapRequest, draw_overlap
from gsocc.datasets.nuscenes_index import build_index
from gsocc.errors import UserError


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["view", "overlap", *arguments])


@pytest.mark.slow
def test_the_six_neighbouring_pairs_of_the_world_are_named_and_drawn(tiny_world: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"name: any\ndata:\n  root: {tiny_world}\n  image_size: [24, 40]\ngsp:\n  erosion_px: 1\n")
    out = tmp_path / "rig.png"
    result = command("--config", str(config), "--out", str(out), "--width", "640")
    assert result.exit_code == 0
    assert result.output.count(" of its pixels") == 2 * 6
    assert "CAM_FRONT 2" in result.output and "CAM_FRONT_LEFT" in result.output
    assert cv2.imread(str(out)).shape[1] == 640


@pytest.mark.slow
def test_rays_that_end_before_the_next_camera_share_nothing_and_the_reason_is_given(
    tiny_world: Path, tmp_path: Path
) -> None:
    """Up to 0.2 m no camera of the rig sees what its neighbour sees; the picture is written all the same."""
    out = tmp_path / "rig.png"
    with pytest.raises(UserError, match="cannot give metric scale"):
        draw_overlap(OverlapRequest(root=tiny_world, image_size=(24, 40), max_depth_m=0.2), out, 640)
    assert out.is_file()


def test_a_rig_must_be_named_once(tmp_path: Path) -> None:
    for request in (OverlapRequest(), OverlapRequest(config=tmp_path / "a.yaml", root=tmp_path)):
        with pytest.raises(UserError, match="say which rig"):
            draw_overlap(request, tmp_path / "rig.png")


def test_a_size_of_another_form_is_refused(tmp_path: Path) -> None:
    result = command(str(tmp_path), "--image-size", "big")
    assert isinstance(result.exception, UserError)
    assert "expected HxW" in str(result.exception)


def test_every_camera_of_real_nuscenes_shares_something_with_both_neighbours(
    real_data_root: Path, tmp_path: Path
) -> None:
    """The narrowest overlap, between the back camera and the back left one, is 5 to 8 % of their pixels."""
    root = real_data_root / "nuscenes_mini_subset"
    index = build_index(root, "v1.0-mini", tmp_path / "index.npz")
    masks = real_data_root / "self_masks" / "nuscenes_mask"
    request = OverlapRequest(root=root, index=index, image_size=(90, 160), erode_px=2, self_masks=masks)
    lines = draw_overlap(request, tmp_path / "rig.png", 640)
    assert len(lines) == 6
    shares = [int(part.split(" % of its pixels")[0].split()[-1]) for line in lines for part in line.split(" and ")]
    assert len(shares) == 12
    assert 4 <= min(shares) < 10 < max(shares) < 25
