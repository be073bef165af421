"""`gsocc bench reader`: every source gives samples under a clock, and the memory is told."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from dgp_files import write_dgp_root

from gsocc.app.benchmark.reader import benchmark_reader, reader_sheet
from gsocc.app.commands import bench_reader, index
from gsocc.errors import UserError
from gsocc.files import read_json


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One scene of a hand-made root, indexed; its images are PNG."""
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root)
    return root


def test_every_source_is_read_timed_and_tabled(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PNG as it is, JPEG recoded from it, and copies at the size of the samples; both writings hold all of them."""
    figures, page = tmp_path / "reader.json", tmp_path / "page.md"
    bench_reader.reader(root, samples=4, image_size="4x6", workers=0, out=tmp_path / "out", json=figures, markdown=page)
    rows = read_json(figures)["rows"]
    assert [row["source"] for row in rows] == ["jpeg", "png", "cache"]
    assert all(row["samples_per_s"] > 0 and row["samples"] == 4 for row in rows)
    recoded = list((tmp_path / "out" / "ddad" / "jpg").rglob("*.jpg"))
    assert len(recoded) == len(list(root.rglob("rgb/*/*.png"))) == 36
    source = root / recoded[0].relative_to(tmp_path / "out" / "ddad" / "jpg").with_suffix(".png")
    np.testing.assert_allclose(cv2.imread(str(recoded[0])), cv2.imread(str(source)), atol=2)  # flat greys
    assert "| PNG | 0.00 | 4 |" in page.read_text()
    assert "resized copies" in capsys.readouterr().out


def test_a_source_that_is_no_source_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--source: expected one of jpeg, png, cache, got 'webp'"):
        benchmark_reader(root, tmp_path, ["webp"], size=(4, 6), samples=1, workers=0)
    with pytest.raises(UserError, match="gsocc index ddad"):
        bench_reader.reader(tmp_path / "empty", workers=0)
    (root / "000000/rgb/CAMERA_01/15569195900000000.png").unlink()
    with pytest.raises(UserError, match=r"15569195900000000\.png: the image is missing"):
        benchmark_reader(root, tmp_path / "out", ["jpeg"], size=(4, 6), samples=1, workers=0)


@pytest.mark.slow
def test_workers_read_too(root: Path, tmp_path: Path) -> None:
    """Two processes; where the system tells the memory, theirs counts."""
    alone, helped = (
        benchmark_reader(root, tmp_path / "out", ["png"], size=(4, 6), samples=6, workers=workers)[0]
        for workers in (0, 2)
    )
    assert helped.samples_per_s > 0
    if alone.memory_gb[0] is not None and helped.memory_gb[0] is not None:
        assert helped.memory_gb[0] > alone.memory_gb[0]
    assert reader_sheet([alone, helped], (4, 6), 2).rows[1][0] == "PNG"
