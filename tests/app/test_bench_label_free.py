"""Scores without labels against the true ones."""

from pathlib import Path

import numpy as np
import pytest

from gsocc.app.benchmark.label_free import DAMAGES, markdown, spearman, validate_label_free
from gsocc.app.commands.bench_label_free import label_free
from gsocc.errors import UserError
from gsocc.files import read_json


def test_rank_correlation_of_four_values_by_hand() -> None:
    """Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6; equal values share their mean rank."""
    assert spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([20.0, 1.0, 40.0, 39.0])) == pytest.approx(0.6)
    assert spearman(np.array([5.0, 5.0, 7.0]), np.array([1.0, 1.0, 9.0])) == pytest.approx(1.0)


def test_damages_do_what_they_are_called() -> None:
    """Counts of a made-up volume: nothing but the named change."""
    rng = np.random.default_rng(0)
    volume = np.full((20, 20, 16), 17, np.uint8)
    volume[..., 2] = 11
    occupied = {
        name: int((damage(volume, rng) != 17).sum()) for name, damage in DAMAGES.items() if "ground" not in name
    }
    assert occupied["truth"] == occupied["shift by 3"] == occupied["jitter by 3"] == occupied["confuse 30 %"] == 400
    assert occupied["lose 60 %"] < occupied["lose 10 %"] < 400 < occupied["invent 5 %"]
    assert occupied["thicken by 1"] == 800


@pytest.mark.slow
def test_scores_without_labels_put_damaged_truth_in_the_order_of_the_true_scores(tiny_world: Path) -> None:
    """Geometry by `lidar/scan:iou`; and only consistency between frames sees that frames jitter one by one."""
    names = ("truth", "lose 30 %", "lose 60 %", "invent 1 %", "invent 5 %", "shift by 1", "jitter by 3")
    result = validate_label_free(tiny_world, names=names)
    rows = result["rows"]
    assert result["agreement"]["lidar/scan:iou"]["occ3d/camera:iou"] > 0.7
    assert result["agreement"]["lidar/scan:ray_abs_rel"]["occ3d/ray/17:rayiou"] > 0.7
    assert rows["truth"]["lidar/scan:hit_recall"] > 0.9
    assert rows["truth"]["lidar/scan:free_violation"] < 0.05
    assert rows["jitter by 3"]["static/next:matched"] < rows["shift by 1"]["static/next:matched"]
    assert rows["truth"]["static/next:matched"] > 0.9
    assert "| `lidar/scan:iou` |" in markdown(result)


def test_too_few_or_unknown_damages_are_refused(tmp_path: Path) -> None:
    """Before anything is read: a rank correlation of two values says nothing."""
    with pytest.raises(UserError, match=r"expected some of truth, lose 10 %.* got 'burn'"):
        validate_label_free(tmp_path, names=("truth", "burn"))
    with pytest.raises(UserError, match="expected 3 or more, whose order can be compared, got 2"):
        validate_label_free(tmp_path, names=("truth", "shift by 1", "truth"))


def test_a_folder_without_an_index_is_named_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gsocc bench label-free FOLDER`, at the command line; the folder of the documentation is written unasked."""
    with pytest.raises(UserError, match=r"no index; build it: gsocc index nuscenes"):
        label_free(tmp_path)
    monkeypatch.chdir(tmp_path)
    written: list[Path] = []
    monkeypatch.setattr("gsocc.app.benchmark.label_free.prepare_label_free_world", written.append)
    with pytest.raises(UserError, match=r"data/label_free: the data root does not exist"):
        label_free()
    assert written == [Path("data/label_free")]


@pytest.mark.slow
def test_the_command_writes_its_tables_into_a_page(
    tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = tmp_path / "metrics.md", tmp_path / "figures.json"
    names = ["truth", "lose 60 %", "invent 5 %"]
    label_free(tiny_world, split="val", damage=names, json=figures, markdown=page)
    rows = [line for line in page.read_text().splitlines() if line.startswith(tuple(f"| {name} |" for name in names))]
    assert len(rows) == len(names)
    assert "<!-- begin bench label-free -->" in page.read_text()
    assert list(read_json(figures)["rows"]) == names
    assert "rank correlation with" in capsys.readouterr().out
