"""The objective of stage 2 on a scene that is known exactly."""

import math

import pytest
import torch
from torch import Tensor, nn

from gsocc.labels import FREE, OCC3D_ID
from gsocc.structures import SurroundBatch, VoxelGrid
from occ_stage.config import ObjectiveConfig, RendererConfig
from occ_stage.model import FieldRenderer
from occ_stage.objective import OccObjective

GRID = VoxelGrid((0.0, -16.0, -10.0), (20, 32, 20), (1.0, 1.0, 1.0))
IDS = [OCC3D_ID["manmade"], OCC3D_ID["car"]]
SIZE = (24, 40)
WALL_M = 10.5  # centre of voxel layer 10 along x


class _Wall(nn.Module):
    """A solid wall in voxel layer `layer`, of class channel 0."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        logits = torch.full((1, 3, *GRID.shape), 8.0)
        logits[:, 1] = -8.0
        logits[:, 2, layer] = -8.0
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor, intrinsics: Tensor, cam_to_ego: Tensor) -> Tensor:
        return self.logits


def _batch(label: int = OCC3D_ID["manmade"]) -> SurroundBatch:
    """A camera at the origin looks at a textured wall 10.5 m ahead, and saw it from 1 m to either side."""
    focal = 20.0
    k = torch.tensor([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1]])
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    u = torch.arange(SIZE[1]) + 0.5
    images, motions = [], []
    for sideways in (0.0, -1.0, 1.0):
        x = (u - SIZE[1] / 2) * WALL_M / focal + sideways  # where on the wall each column looks
        row = 0.5 + 0.3 * torch.sin(1.7 * x) + 0.2 * torch.cos(0.6 * x)
        images.append(row.expand(3, *SIZE))
        motion = torch.eye(4)
        motion[0, 3] = -sideways
        motions.append(motion)
    stacked = torch.stack(images)[None, :, None]
    return SurroundBatch(
        tokens=("a",),
        scenes=("s",),
        timestamps_s=(0.0,),
        frame_ids=(0, -1, 1),
        images=stacked,
        network_images=stacked[:, 0],
        intrinsics=k[None, None],
        cam_to_ego=pose[None, None],
        cam_motion=torch.stack(motions)[None, :, None],
        frame_valid=torch.ones(1, 3, 1, dtype=torch.bool),
        semantic_labels=torch.full((1, 1, *SIZE), label),
    )


def _objective(renderer: str = "splat_cpu", **weights: float | bool) -> OccObjective:
    options: dict[str, object] = {"sampling": "cells", "interpolation": "nearest"} if renderer == "volume_cpu" else {}
    config = RendererConfig(name=renderer, size=SIZE, scale_fraction=(0.8, 0.8, 0.8), options=options)
    return OccObjective(ObjectiveConfig(**weights), GRID, FieldRenderer(config), IDS)


@pytest.mark.parametrize("renderer", ["splat_cpu", "volume_cpu"])
def test_the_wall_where_it_stands_explains_the_neighbours_best(renderer: str) -> None:
    """Of walls at 5.5 to 15.5 m the photometric term is smallest for the true one, whichever renderer draws it."""
    objective = _objective(renderer, semantic=0.0, smoothness=0.0, total_variation=0.0, automask=False)
    losses = {layer: objective(_Wall(layer), _batch()).total.item() for layer in (5, 7, 9, 10, 11, 13, 15)}
    assert min(losses, key=losses.__getitem__) == 10
    assert losses[10] < 0.3 * losses[7]


def test_the_total_is_the_sum_of_its_weighted_terms() -> None:
    """And a weight scales its term alone."""
    batch, model = _batch(), _Wall(9)
    report = _objective(semantic=0.3, entropy=0.1)(model, batch)
    torch.testing.assert_close(report.total, torch.stack(list(report.terms.values())).sum())
    doubled = _objective(semantic=0.6, entropy=0.1)(model, batch)
    torch.testing.assert_close(doubled.terms["semantic"], 2 * report.terms["semantic"])
    torch.testing.assert_close(doubled.terms["photometric"], report.terms["photometric"])


def test_the_right_class_costs_less_than_a_wrong_one_and_an_absent_one_nothing() -> None:
    """Pedestrian is no class of this model: its pixels carry no loss."""
    objective = _objective(photometric=0.0, smoothness=0.0, total_variation=0.0, semantic=1.0)
    right, wrong, absent = (
        objective(_Wall(10), _batch(OCC3D_ID[name])).terms["semantic"].item()
        for name in ("manmade", "car", "pedestrian")
    )
    assert right < 0.1 < 1.0 < wrong
    assert absent == 0.0


def test_every_voxel_of_the_wall_is_pulled_and_gradients_are_finite() -> None:
    """The loss reaches the free-space logits through the renderer."""
    model = _Wall(8)
    _objective(semantic=0.3)(model, _batch()).total.backward()
    assert model.logits.grad is not None
    assert bool(torch.isfinite(model.logits.grad).all())
    assert model.logits.grad[:, 2, 8].abs().max() > 0


def test_masked_sky_does_not_count() -> None:
    """With every pixel labelled sky, no pixel is compared."""
    objective = _objective(semantic=0.0, smoothness=0.0, total_variation=0.0, mask_sky=True)
    assert objective(_Wall(10), _batch(FREE)).terms["photometric"].item() == 0.0


def test_a_semantic_term_without_labels_is_refused() -> None:
    """Nothing is left out silently."""
    batch = _batch()
    bare = SurroundBatch(**{**batch.__dict__, "semantic_labels": None})
    with pytest.raises(ValueError, match="no semantic labels"):
        _objective(semantic=0.1)(_Wall(10), bare)


def test_entropy_of_an_undecided_field_is_ln2() -> None:
    """Free logits of 0."""
    model = _Wall(10)
    with torch.no_grad():
        model.logits[:, 2] = 0.0
    weights = {"photometric": 0.0, "smoothness": 0.0, "total_variation": 0.0, "semantic": 0.0}
    report = _objective(**weights, entropy=1.0)(model, _batch())
    assert report.total.item() == pytest.approx(math.log(2), rel=1e-4)
