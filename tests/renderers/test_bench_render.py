"""`gsocc bench render`: what it writes, what it compares, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gsocc.app.benchmark.contenders import Contender, Settings, choose_contenders, contenders
from gsocc.app.benchmark.render import Case, Row, benchmark, cases
from gsocc.app.benchmark.render_tables import compare, sheets
from gsocc.app.benchmark.scenes import SCENES, benchmark_grid, make_field, surround_rig
from gsocc.app.benchmark.stopwatch import PeakMemory, bounded_memory, out_of_memory, race
from gsocc.app.benchmark.tables import markdown, write_markdown
from gsocc.app.commands import bench
from gsocc.errors import UserError
from gsocc.files import read_json
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians

ROW = {"renderer", "grid", "size", "scene", "forward_s", "forward_backward_s", "peak_memory_gb"}
TINY: dict[str, Any] = {"device": "cpu", "grid": ["2x6x6"], "scene": ["street"], "channels": 2, "repeats": 1}


def test_every_renderer_is_measured_on_the_same_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.render(**TINY, size=["4x6"], scale=[0.3, 0.5], json=out, markdown=tmp_path / "page.md", place="here")
    report = read_json(out)
    rows = report["rows"]
    assert [(row["renderer"], row["scale_fraction"]) for row in rows] == [
        ("splat_cpu_cached", 0.3),
        ("splat_cpu_cached", 0.5),
        ("splat_cpu", 0.3),
        ("splat_cpu", 0.5),
        ("volume_cpu", None),
        ("volume_cpu_cells", None),
        ("volume", None),
    ]
    for row in rows:
        assert set(row) >= ROW
        assert (row["grid"], row["size"], row["scene"]) == ("2x6x6", "4x6", "street")
        assert row["forward_s"] > 0.0
        assert row["forward_backward_s"] > 0.0
        assert (row["build_s"] is not None) == (row["cache_gb"] is not None) == (row["renderer"] == "splat_cpu_cached")
    assert report["device"]
    assert report["threads"] >= 1
    volume = next(r for r in report["ratios"] if r["row"]["renderer"] == "volume")
    assert volume["forward"] == rows[-1]["forward_s"] / rows[0]["forward_s"]
    printed = capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("<!-- begin here -->")
    assert all(row["renderer"] in text for row in rows for text in (printed, page))


def test_scaled_images_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.render(**TINY, size=["8x12"], scale_down=2, renderer=["splat_cpu"], forward_only=True, json=out)
    assert "images 4x6 (divided by 2)" in capsys.readouterr().out
    report = read_json(out)
    assert report["scale_down"] == 2
    assert report["rows"][0]["size"] == "4x6"
    assert report["rows"][0]["forward_backward_s"] is None


def test_a_cache_that_is_too_small_is_a_row_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal names its figure; the other renderers are measured all the same."""
    names = ["splat_cpu_cached", "splat_cpu"]
    bench.render(**TINY, size=["40x60"], renderer=names, cache_max_gb=1e-5, forward_only=True)
    printed = capsys.readouterr().out
    assert "cache_max_gb is 1e-05" in printed
    rows = _rows(replace(Settings(), cache_max_gb=1e-5, channels=1, repeats=1), names)
    assert rows[0].forward_s is None
    assert rows[0].error is not None
    assert rows[0].error.startswith("refused: splat_cpu: the voxel lists of one rig")
    assert rows[1].forward_s is not None


def test_running_out_of_memory_is_a_row_that_says_so() -> None:
    class Greedy:
        def render(self, *_: Any) -> Any:
            return torch.empty(1 << 50)

    greedy = Contender(name="greedy", build=Greedy, usual_on=("cpu",))
    with pytest.raises(RuntimeError), bounded_memory("cpu"):
        torch.empty(1 << 50)
    row = benchmark([Case((1, 2, 2), (1, 1), "early")], [greedy], Settings(channels=1, repeats=1))[0]
    assert row.error is not None
    assert row.error.startswith("out of memory")
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_a_compiler_that_fails_is_a_row_and_a_bug_is_not() -> None:
    class Broken:
        def render(self, *_: Any) -> Any:
            raise RuntimeError("no kernel for you")

    case, settings = Case((1, 2, 2), (1, 1), "early"), Settings(channels=1, repeats=1)
    compiled = Contender(name="compiled", build=Broken, compiled=True, usual_on=("cpu",))
    assert benchmark([case], [compiled], settings)[0].error == "RuntimeError: no kernel for you"
    with pytest.raises(RuntimeError, match="no kernel"):
        benchmark([case], [replace(compiled, compiled=False)], settings)


def test_rounds_go_in_turn_and_the_slow_sit_out() -> None:
    calls: list[str] = []
    race({name: lambda name=name: calls.append(name) for name in "abc"}, "cpu", 2, 60.0)
    assert calls == list("abcabc")
    calls.clear()
    race({name: lambda name=name: calls.append(name) for name in "ab"}, "cpu", 3, 0.0)
    assert calls == list("ab")


def test_ratios_growth_and_threads_are_quotients_of_rows() -> None:
    """Numbers small enough to divide in the head."""
    splat = Row("splat_cpu_cached", "2x6x6", "4x6", "street", 1.0, 2.0, scale_fraction=0.3, threads=2)
    rows = [
        splat,
        replace(splat, scale_fraction=0.5, forward_s=2.0),
        replace(splat, threads=1, forward_s=1.75),
        replace(splat, size="8x12", forward_s=4.0),
        replace(splat, renderer="splat_cpu", forward_s=5.0),
        replace(splat, renderer="volume", scale_fraction=None, forward_s=20.0, forward_backward_s=50.0),
        replace(splat, renderer="volume_cpu", forward_s=None, forward_backward_s=None, error="refused"),
    ]
    found = {(c.kind, c.row.renderer, c.against.scale_fraction): c for c in compare(rows)}
    assert found.keys() == {
        ("renderer", "splat_cpu", 0.3),
        ("renderer", "volume", 0.3),
        ("renderer", "volume", 0.5),
        ("threads", "splat_cpu_cached", 0.3),
        ("growth", "splat_cpu_cached", 0.3),
    }
    assert found["renderer", "volume", 0.3].forward == 20.0
    assert found["renderer", "volume", 0.3].forward_backward == 25.0
    assert found["renderer", "volume", 0.5].forward == 10.0
    assert found["threads", "splat_cpu_cached", 0.3].forward == 1.75
    assert found["growth", "splat_cpu_cached", 0.3].forward == 4.0
    text = markdown(sheets(rows, 1, "cpu"))
    assert "| volume | 20.0x |" in text
    assert "volume_cpu 0.3: refused" in text


def test_the_page_is_changed_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin it -->\nold\n<!-- end it -->\nafter\n")
    write_markdown(page, "it", "new")
    assert page.read_text() == "before\n<!-- begin it -->\n\nnew\n\n<!-- end it -->\nafter\n"
    with pytest.raises(UserError, match=r"--markdown: .* no lines <!-- begin other -->"):
        write_markdown(page, "other", "new")
    write_markdown(tmp_path / "fresh.md", "it", "new")
    assert "new" in (tmp_path / "fresh.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"grid": ["16x200"]}, "--grid: expected ZxYxX like 16x200x200, got '16x200'"),
        ({"size": ["0x4"]}, "--size: expected HxW like 180x320, got '0x4'"),
        ({"scene": ["fog"]}, "--scene: expected one of untrained, early, street, got 'fog'"),
        ({"renderer": ["gsplat"]}, "--renderer: expected one of splat_cpu_cached"),
        ({"renderer": ["splat_gsplat"], "device": "cpu"}, "--renderer: splat_gsplat runs on cuda alone"),
        ({"scale": [0.3, -1.0]}, "--scale: expected a positive number, got -1"),
        ({"threads": 10_000}, "--threads: numba may use"),
        ({"device": "tpu"}, "--device: expected cpu or cuda, got 'tpu'"),
        ({"full": True, "grid": ["2x2x2"]}, "--full: stands for every --grid and --size"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        bench.render(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(UserError, match="--device: torch finds no CUDA device"):
        bench.render(device="cuda")


def test_the_gpu_runs_its_own_renderers() -> None:
    """The reference of the ratios comes first on either device."""
    on_cuda = [one.name for one in choose_contenders(None, Settings(device="cuda"))]
    assert on_cuda == ["splat_gsplat_cached", "splat_gsplat", "gsplat_rasterization", "volume", "volume_compiled"]
    assert choose_contenders(None, Settings())[0].name == "splat_cpu_cached"
    assert set(contenders(Settings())) >= {*on_cuda, "splat_cpu", "volume_cpu", "volume_cpu_cells"}


def test_the_plain_call_of_gsplat_draws_the_same_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments, read as gsplat's documentation has them and given to the oracle, give the oracle's picture."""

    class Oracle:
        def rasterization(self, **a: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
            assert (a["near_plane"], a["eps2d"], a["render_mode"]) == (0.2, 0.3, "RGB+D")
            names = ("means", "quats", "scales", "opacities", "colors")
            rig = CameraRig(a["Ks"][None], a["viewmats"].inverse()[None], (a["height"], a["width"]))
            out = build_renderer("splat_torch").render(Gaussians(*(a[name][None] for name in names)), rig)
            parts = torch.cat([out.features[0], out.depth_sum_m[0, :, None]], 1)
            return parts.movedim(1, -1), out.opacity[0, ..., None], {}

    monkeypatch.setattr("gsocc.app.benchmark.contenders.import_gsplat", Oracle)
    voxels, rig = make_field("street", benchmark_grid((2, 4, 4)), 3).to_gaussians((0.3,) * 3), surround_rig((6, 9))
    expected = build_renderer("splat_torch").render(voxels, rig)
    plain = contenders(Settings(device="cuda"))["gsplat_rasterization"].build()
    for _ in range(2):
        out = plain.render(voxels, rig)
        torch.testing.assert_close(out.features, expected.features)
        torch.testing.assert_close(out.depth_m, expected.depth_m, atol=1e-4, rtol=1e-4)


@pytest.mark.cuda
def test_a_gpu_is_measured_with_its_own_renderers(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    bench.render(**{**TINY, "device": "cuda"}, size=["16x24"], json=out)
    rows = [row for row in read_json(out)["rows"] if row["renderer"] != "volume_compiled"]
    assert rows[0]["renderer"] == "splat_gsplat_cached"
    for row in rows:
        assert row["error"] is None
        assert row["forward_s"] > 0.0
        assert row["forward_backward_s"] > 0.0


@pytest.mark.parametrize("scene", SCENES)
def test_scenes_are_what_they_are_called(scene: str) -> None:
    """Occupancy of untrained 0.5, early 0.05; a street is empty but for a road that is solid everywhere."""
    occupancy = make_field(scene, benchmark_grid((8, 50, 50)), 1).occupancy()[0]
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


def test_memory_above_the_start_is_measured() -> None:
    with PeakMemory("cpu") as memory:
        torch.ones(25_000_000).sum()  # more than what malloc would take from memory that it kept
    assert memory.gb is None or 0.08 < memory.gb < 0.2


def _rows(settings: Settings, names: list[str]) -> list[Row]:
    todo = cases([(2, 6, 6)], [(40, 60)], ["street"], 1)
    return benchmark(todo, choose_contenders(names, settings), settings)
