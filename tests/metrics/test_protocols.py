"""The registry, and every protocol's numbers against a second count in plain numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction

from gsocc.errors import UserError
from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import PROTOCOLS, ProtocolSuite, parse_protocols
from gsocc.metrics.families import FAMILIES, visible_depth
from gsocc.metrics.frames import NEEDS, FramePrediction, FrameTruth
from gsocc.metrics.protocols import FILES, RUN, STREET, protocol_lines
from gsocc.metrics.selfocc import SelfOccMetric, crop_prediction
from gsocc.metrics.suite import needs_of
from gsocc.structures import OccupancyLabels

ROOT = Path(__file__).resolve().parents[2]
VOLUME = frozenset(("semantics", "labels"))


def _volumes(shape: tuple[int, int, int], seed: int) -> tuple[torch.Tensor, OccupancyLabels]:
    """Return a truth of about half free voxels, and a perturbed copy of it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 18, (2, *shape)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.5] = FREE
    noise = rng.integers(0, 18, truth.shape).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, noise)
    seen = rng.random((2, *truth.shape)) < 0.6
    labels = OccupancyLabels(torch.from_numpy(truth), torch.from_numpy(seen[0]), torch.from_numpy(seen[1]))
    return torch.from_numpy(predicted), labels


def test_names_families_and_needs_fit_together() -> None:
    """Every entry says where it comes from and counts with families that exist."""
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.used_by
        assert protocol.families
        assert set(protocol.families) <= set(FAMILIES)
        assert needs_of([name]) <= set(NEEDS)
        assert protocol.description
    assert set((*STREET, *FILES, *RUN)) <= set(PROTOCOLS)
    assert "flawed" in protocol_lines(["occ3d/camera_lidar/15/per_rank"])


@pytest.mark.parametrize("name", ["occ3d/camera/17", "occ3d/camera/15", "occ3d/camera_lidar/15", "occ3d/selfocc",
                                  "occ3d/none", "occ3d/ray/17", "occ3d/ray/15", "depth/nuscenes/80m",
                                  "depth/ddad/200m", "depth/ddad/200m/median", "depth/nuscenes/80m/round",
                                  "depth/nuscenes/80m/self_mask", "lidar/scan", "static/next"])  # fmt: skip
def test_what_the_published_tables_use_has_a_name_and_an_entry_in_the_manual(name: str) -> None:
    assert name in PROTOCOLS
    assert f"`{name}`" in (ROOT / "docs" / "metrics.md").read_text()


def test_lists_are_parsed_and_unknown_names_answered_with_near_ones() -> None:
    assert parse_protocols("occ3d/camera/15, occ3d/none,occ3d/camera/15") == ("occ3d/camera/15", "occ3d/none")
    with pytest.raises(UserError, match=r"got 'occ3d/camra/15'; did you mean occ3d/camera/15") as caught:
        parse_protocols("occ3d/none,occ3d/camra/15")
    assert all(name in str(caught.value) for name in PROTOCOLS)
    with pytest.raises(UserError, match="got ''"):
        parse_protocols("occ3d/none,")


def test_only_the_numbers_asked_for_come_back_whatever_is_counted() -> None:
    """Two protocols off one confusion matrix; the third, of the same matrix, was not asked for."""
    labels = random_labels(2, seed=0)
    suite = ProtocolSuite(("occ3d/camera/17", "occ3d/camera/ssc"), grid=TINY_GRID)
    assert suite.families == ("confusion/camera",)
    predicted = random_prediction(labels, seed=1)
    suite.update(FramePrediction(predicted, (predicted != FREE).float()), FrameTruth(labels))
    names = set(suite.compute().metrics)
    assert {name.split(":")[0] for name in names} == {"occ3d/camera/17", "occ3d/camera/ssc"}
    assert not suite.compute().ground_layers


def test_a_ground_elsewhere_shows_in_the_names_and_still_belongs_to_what_was_asked_for() -> None:
    labels = random_labels(1, seed=3)
    suite = ProtocolSuite(("occ3d/camera/16m",), grid=TINY_GRID, ground_z_m=-0.8)
    suite.update(FramePrediction(labels.semantics, (labels.semantics != FREE).float()), FrameTruth(labels))
    assert suite.compute().metrics["occ3d/camera/16m/z-0.8m:above_ground_f1"] == 1.0


def test_all_protocols_of_one_pass_equal_each_alone() -> None:
    """What is shared between protocols changes no number."""
    names = [name for name in PROTOCOLS if needs_of([name]) == VOLUME and name != "occ3d/selfocc"]
    labels = random_labels(3, seed=4)
    predicted = random_prediction(labels, seed=5)
    frame = FramePrediction(predicted, (predicted != FREE).float()), FrameTruth(labels)
    together = ProtocolSuite(names, grid=TINY_GRID)
    together.update(*frame)
    alone: dict[str, float] = {}
    for name in names:
        suite = ProtocolSuite([name], grid=TINY_GRID)
        suite.update(*frame)
        alone |= suite.compute().metrics
    assert together.compute().metrics == pytest.approx(alone, nan_ok=True)


@pytest.mark.parametrize("mask", ["camera", "camera_lidar", "none"])
def test_completion_scores_are_those_of_sets_with_absent_classes_as_zero(mask: str) -> None:
    """Of 17 classes two are removed from truth and prediction: the sum of the others is still divided by 17."""
    predicted, labels = _volumes((10, 8, 6), seed=6)
    for class_id in (3, 9):
        predicted[predicted == class_id] = FREE
        labels.semantics[labels.semantics == class_id] = FREE
    suite = ProtocolSuite((f"occ3d/{mask}/ssc",), grid=TINY_GRID)
    suite.update(FramePrediction(predicted, (predicted != FREE).float()), FrameTruth(labels))
    scores = suite.compute().metrics
    counted = {
        "camera": labels.mask_camera,
        "camera_lidar": labels.mask_camera & labels.mask_lidar,
        "none": torch.ones_like(labels.mask_camera),
    }[mask].numpy()
    p, t = predicted.numpy()[counted], labels.semantics.numpy()[counted]
    ious = [((p == c) & (t == c)).sum() / max(((p == c) | (t == c)).sum(), 1) for c in range(17)]
    assert ious[3] == ious[9] == 0
    assert scores[f"occ3d/{mask}/ssc:miou"] == pytest.approx(np.mean(ious))
    solid_p, solid_t = p != FREE, t != FREE
    assert scores[f"occ3d/{mask}/ssc:iou"] == pytest.approx((solid_p & solid_t).sum() / (solid_p | solid_t).sum())
    assert scores[f"occ3d/{mask}/ssc:precision"] == pytest.approx((solid_p & solid_t).sum() / solid_p.sum())
    assert scores[f"occ3d/{mask}/ssc:recall"] == pytest.approx((solid_p & solid_t).sum() / solid_t.sum())


def _selfocc_second_opinion(predicted: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Return (IoU, mIoU) as SelfOcc's release is described: 17 becomes 0 in the truth, then 0 is empty."""
    x, y, z = np.indices(predicted.shape[1:])
    outside = (x < 6) | (x >= predicted.shape[1] - 6) | (y < 6) | (y >= predicted.shape[2] - 6) | (z >= 12)
    occupied = (predicted != FREE) & ~outside
    label = np.where(occupied, predicted, 0)
    true = np.where(truth == FREE, 0, truth)
    iou = (occupied & (true > 0))[seen].sum() / (occupied | (true > 0))[seen].sum()
    ious = []
    for class_id in range(1, 17):
        t, p = (true == class_id)[seen], (label == class_id)[seen]
        ious.append(1.0 if not t.any() else (t & p).sum() / (t | p).sum())
    return float(iou), float(np.mean(ious))


def test_selfocc_scores_agree_with_a_second_count_of_the_described_release() -> None:
    """Crop, `others` as empty, absent classes as 1: one class is taken out of the truth to see the last."""
    predicted, labels = _volumes((20, 18, 16), seed=7)
    labels.semantics[labels.semantics == OCC3D_ID["bus"]] = FREE
    metric = SelfOccMetric()
    metric.update(predicted, labels)
    scores = metric.compute()
    iou, miou = _selfocc_second_opinion(predicted.numpy(), labels.semantics.numpy(), labels.mask_camera.numpy())
    assert scores["occ3d/selfocc:iou"] == pytest.approx(iou)
    assert scores["occ3d/selfocc:miou"] == pytest.approx(miou)
    assert scores["occ3d/selfocc:iou/bus"] == 1.0


def test_the_crop_leaves_the_inner_box_and_nothing_else() -> None:
    """On the Occ3D lattice: 188 x 188 x 12 voxels, 75.2 m wide and up to 3.8 m."""
    volume = torch.zeros((1, 200, 200, 16), dtype=torch.uint8)
    cropped = crop_prediction(volume)
    assert int((cropped == 0).sum()) == 188 * 188 * 12
    assert (cropped[0, 6:194, 6:194, :12] == 0).all()


def test_pixels_that_show_the_vehicle_are_no_truth() -> None:
    """A mask of half the size covers 2 x 2 pixels each."""
    depth_m = torch.full((1, 1, 4, 4), 7.0)
    mask = torch.tensor([[[[True, False], [True, True]]]])
    visible = visible_depth(depth_m, mask)
    assert (visible[0, 0, :2, 2:] == 0).all()
    assert int((visible == 7).sum()) == 12


@pytest.mark.parametrize(
    ("name", "limit_m"), [("depth/nuscenes/80m", 80), ("depth/ddad/200m", 200), ("depth/ddad/200m/dgp", 200)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_depth_protocols_agree_with_numpy(name: str, limit_m: int, masked: bool) -> None:
    """AbsRel of raw and median-scaled depth, from the projection and with the mask that the name says."""
    rng = np.random.default_rng(8)
    true, rounded = (rng.uniform(-60, 260, (2, 1, 6, 8)).clip(0).astype(np.float32) for _ in range(2))
    predicted = (rng.uniform(1, 220, true.shape)).astype(np.float32)
    mask = rng.random(true.shape) < 0.7
    protocol = f"{name}/self_mask" if masked else name
    suite = ProtocolSuite((protocol, f"{protocol}/median"), camera_names=("FRONT",))
    suite.update(
        FramePrediction(depth_m=torch.from_numpy(predicted)),
        FrameTruth(
            lidar_depth_m=torch.from_numpy(true),
            lidar_depth_round_m=torch.from_numpy(rounded),
            self_mask=torch.from_numpy(mask),
        ),
    )
    scores = suite.compute().metrics
    raw, scaled = [], []
    for image in range(2):
        t = (true if name.count("/") == 2 else rounded)[image].astype(np.float64)
        counted = (t > 0.1) & (t < limit_m) & (mask[image] | (not masked))
        t, p = t[counted], predicted[image].astype(np.float64)[counted]
        clipped = p.clip(0.1, limit_m)
        raw.append(np.mean(np.abs(clipped - t) / t))
        again = (p * np.median(t) / np.median(clipped)).clip(0.1, limit_m)
        scaled.append(np.mean(np.abs(again - t) / t))
    assert scores[f"{protocol}:abs_rel"] == pytest.approx(np.mean(raw))
    assert scores[f"{protocol}/median:abs_rel"] == pytest.approx(np.mean(scaled))


def test_the_real_label_scores_one_under_every_protocol_of_volumes(real_data_root: Path) -> None:
    """The truth against itself; SelfOcc's crop alone costs something, and `others` counts against it."""
    path = real_data_root / "occ3d_labels" / "gts" / "scene-1077" / "29796060110c4163b07f06eff4af0753" / "labels.npz"
    if not path.is_file():
        pytest.skip(f"no Occ3D label at {path}")
    with np.load(path) as data:
        arrays = {key: torch.from_numpy(data[key])[None] for key in data.files}
    labels = OccupancyLabels(arrays["semantics"], arrays["mask_camera"].bool(), arrays["mask_lidar"].bool())
    names = [name for name in PROTOCOLS if needs_of([name]) == VOLUME]
    suite = ProtocolSuite(names, ground_z_m=-0.8)
    suite.update(FramePrediction(labels.semantics, (labels.semantics != FREE).float()), FrameTruth(labels))
    scores = suite.compute().metrics
    for mask in ("camera", "camera_lidar", "none"):
        for metric in (":iou", ":precision", "/17:miou", "/15:miou", "/ssc:iou"):
            assert scores[f"occ3d/{mask}{metric}"] == 1.0, (mask, metric)
        present = len({int(c) for c in labels.semantics[labels.mask_camera].unique()} - {FREE})
        assert scores["occ3d/camera/ssc:miou"] == pytest.approx(present / 17)
    iou, miou = _selfocc_second_opinion(labels.semantics.numpy(), labels.semantics.numpy(), labels.mask_camera.numpy())
    assert scores["occ3d/selfocc:iou"] == pytest.approx(iou)
    assert scores["occ3d/selfocc:miou"] == pytest.approx(miou)
    assert 0.5 < scores["occ3d/selfocc:iou"] < 1.0
