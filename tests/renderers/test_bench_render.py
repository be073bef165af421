"""`gsocc bench render`: what it writes, and what it refuses."""

from pathlib import Path

import pytest
import torch

from gsocc.app.commands import bench
from gsocc.app.render_benchmark import SCENES, Settings, contenders, make_field, surround_rig
from gsocc.errors import UserError
from gsocc.files import read_json
from gsocc.structures import VoxelGrid

ROW = {"renderer", "grid", "size", "scene", "forward_s", "forward_backward_s", "peak_memory_gb"}


def test_every_renderer_is_measured_on_the_same_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.render(grid=["2x6x6"], size=["4x6"], scene=["street"], channels=2, repeats=1, json=out)
    report = read_json(out)
    names = list(contenders(Settings()))
    assert [row["renderer"] for row in report["rows"]] == names
    for row in report["rows"]:
        assert set(row) >= ROW
        assert (row["grid"], row["size"], row["scene"]) == ("2x6x6", "4x6", "street")
        assert row["forward_s"] > 0.0
        assert row["forward_backward_s"] > 0.0
    assert report["device"]
    assert report["threads"] >= 1
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"grid": ["16x200"]}, "--grid: expected ZxYxX like 16x200x200, got '16x200'"),
        ({"size": ["0x4"]}, "--size: expected HxW like 180x320, got '0x4'"),
        ({"scene": ["fog"]}, "--scene: expected one of untrained, early, street, got 'fog'"),
        ({"renderer": ["gsplat"]}, "--renderer: expected one of splat_cpu_cached"),
        ({"threads": 10_000}, "--threads: numba may use"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        bench.render(**arguments)


@pytest.mark.parametrize("scene", SCENES)
def test_scenes_are_what_they_are_called(scene: str) -> None:
    """Occupancy of untrained 0.5, early 0.05; a street is empty but for a road that is solid everywhere."""
    grid = VoxelGrid((-40.0, -40.0, -1.0), (50, 50, 8), (1.6, 1.6, 0.8))
    occupancy = make_field(scene, grid, 1).occupancy()[0]
    if scene == "street":
        assert (occupancy[:, :, 0] > 0.8).all()
        assert 0.001 < occupancy[:, :, 4:].median() < 0.03
        assert 0.0 < (occupancy[:, :, 2:] > 0.5).float().mean() < 0.1
    else:
        torch.testing.assert_close(occupancy.mean(), torch.tensor({"untrained": 0.5, "early": 0.05}[scene]))


def test_the_rig_is_rigid_and_looks_around() -> None:
    """Front camera along x, left ones to y, back along -x; all upright."""
    rig = surround_rig((9, 16)).validate()
    forward = rig.cam_to_ego[0, :, :3, 2]
    torch.testing.assert_close(forward[0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(forward[3], torch.tensor([-1.0, 0.0, 0.0]), atol=1e-6, rtol=0.0)
    assert (forward[1:3, 1] > 0.5).all()
    torch.testing.assert_close(rig.cam_to_ego[0, :, 2, 1], -torch.ones(6))
