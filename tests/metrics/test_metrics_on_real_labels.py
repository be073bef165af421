from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.metrics import LabelPrior, OccupancySuite, all_occupied, ground_level_m
from gsocc.structures import OccupancyLabels

FRAME = "occ3d_labels/gts/scene-1077/29796060110c4163b07f06eff4af0753/labels.npz"


@pytest.fixture(scope="module")
def labels(real_data_root: Path) -> OccupancyLabels:
    path = real_data_root / FRAME
    if not path.is_file():
        pytest.skip(f"no Occ3D label at {path}")
    with np.load(path, allow_pickle=False) as data:
        arrays = {k: torch.from_numpy(data[k])[None] for k in ("semantics", "mask_camera", "mask_lidar")}
    return OccupancyLabels(arrays["semantics"], arrays["mask_camera"].bool(), arrays["mask_lidar"].bool())


def test_the_truth_scores_one_against_itself(labels: OccupancyLabels) -> None:
    suite = OccupancySuite()
    suite.update(labels.semantics, (labels.semantics != 17).float(), labels)
    scores = suite.compute().metrics
    assert scores["occ3d/camera:iou"] == 1.0
    assert scores["occ3d/camera/present:miou"] == 1.0
    assert scores["occ3d/camera/16m/0.8m:above_ground_f1"] == 1.0


def test_everything_occupied_has_the_iou_of_the_counts_in_the_readme(labels: OccupancyLabels) -> None:
    """22,864 of the 43,355 voxels that cameras saw are occupied."""
    suite = OccupancySuite()
    suite.update(*all_occupied().batch(1), labels)
    assert suite.compute().metrics["occ3d/camera:iou"] == pytest.approx(22864 / 43355)


def test_the_street_of_the_real_label_lies_in_the_lowest_layer(labels: OccupancyLabels) -> None:
    """All driveable surface of this frame is in layer 0 (centre -0.8 m): why a flat plane must take its height."""
    prior = LabelPrior()
    prior.update(labels)
    assert ground_level_m(prior.guess()) == pytest.approx(-0.8)
