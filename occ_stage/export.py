"""What exporters take of a trained network: its Gaussians and its voxels, on its own grid."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsocc.fields.occupancy import OccupancyField
from gsocc.labels import OCC3D_ID
from gsocc.structures import Gaussians, SurroundBatch
from occ_stage.predictor import Predictor


def native_prediction(
    field: OccupancyField, ids: list[int], decision: str = "threshold"
) -> tuple[Float[Tensor, "B X Y Z"], UInt8[Tensor, "B X Y Z"]]:
    """Read a field at its own voxels, by the decision that `occ3d_prediction` takes on the lattice of Occ3D.

    Args:
        field: On any grid.
        ids: Occ3D id of each class channel.
        decision: "threshold" leaves it to one; "argmax" compares the free-space logit with those of the classes.

    Returns:
        occupancy: Probability in [0, 1]; of "argmax" 0 or 1.
        classes: Occ3D id that a voxel has if it is occupied; `others` where the network knows no classes.
    """
    occupancy = field.occupancy()
    if not ids:
        return occupancy, torch.full_like(occupancy, OCC3D_ID["others"], dtype=torch.uint8)
    logits = field.class_logits[:, : len(ids)]
    if decision == "argmax":
        occupancy = (logits.amax(1) > field.free_logits).to(occupancy.dtype)
    return occupancy, torch.tensor(ids, dtype=torch.uint8, device=logits.device)[logits.argmax(1)]


@torch.no_grad()
def drawn_gaussians(predictor: Predictor, batch: SurroundBatch) -> tuple[Gaussians, UInt8[Tensor, " N"]]:
    """Return the Gaussians that stage 2 draws of one key frame (a batch of one), and the class of each."""
    field = predictor.field(batch)
    _, classes = native_prediction(field, predictor.ids)
    return predictor.renderer.gaussians(field).to_gaussians(), classes.reshape(-1)
