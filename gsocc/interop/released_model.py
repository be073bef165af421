"""A published checkpoint as one object: images in, voxel logits, lattice logits and renderings out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gsocc.interop.released_files import ImportReport
from gsocc.interop.released_lattice import occ3d_logits
from gsocc.interop.released_network import System, Voxels, load_released_network
from gsocc.interop.released_rendering import render_released
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.structures import ContractedGrid, RenderOutput

Size = tuple[int, int]  # H, W

_SEMANTIC_RATIO = 0.25  # of every released configuration that renders along rays: one sample of semantics for four


@dataclass(frozen=True)
class VoxelOutput:
    """What the network says of a batch.

    Attributes:
        voxel_logits: As the release gives them: 17 class scores in the order of Occ3D and, last, the logit of being
            free; of a network without semantics one channel, the logit of being solid.
    """

    voxel_logits: Float[Tensor, "B L X Y Z"]


class ReleasedModel(nn.Module):
    """A network with published weights, in evaluation mode.

    Args:
        net: The network.
        system: Whose it is.
        image_size: (H, W) of the images that it will see.
        render_size: (H, W) of its renderings.
        report: What became of each key of the files.
    """

    def __init__(
        self, net: OccupancyNet, system: System, *, image_size: Size, render_size: Size, report: ImportReport
    ) -> None:
        super().__init__()
        self.net = net
        self.system = system
        self.image_size, self.render_size = image_size, render_size
        self.report = report

    @property
    def grid(self) -> ContractedGrid:
        """Where the voxels are."""
        assert isinstance(self.net.grid, ContractedGrid)  # the releases have no other
        return self.net.grid

    def forward(
        self,
        images: Float[Tensor, "B V 3 H W"],
        intrinsics: Float[Tensor, "B V 3 3"],
        cam_to_ego: Float[Tensor, "B V 4 4"],
    ) -> VoxelOutput:
        """Return the voxel logits of a batch.

        Args:
            images: RGB in [0, 1] at `image_size`.
            intrinsics: K in pixels of `images`.
            cam_to_ego: Camera poses, metres.

        Raises:
            ValueError: For images of another size.
        """
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(
                f"ReleasedModel: expected images of {self.image_size} (H, W), got {tuple(images.shape[-2:])}; "
                "load the checkpoint with that image_size"
            )
        logits = self.net(images, intrinsics, cam_to_ego)
        return VoxelOutput(logits if logits.shape[1] > 1 else -logits)

    def occ3d_logits(self, voxel_logits: Float[Tensor, "B L X Y Z"]) -> Float[Tensor, "B L 200 200 16"]:
        """Return the logits on the lattice of Occ3D, as the release's evaluation samples them.

        Of 18 channels the argmax is the Occ3D label, 17 meaning free.
        """
        return occ3d_logits(voxel_logits, self.grid)

    def render(
        self,
        voxel_logits: Float[Tensor, "B L X Y Z"],
        intrinsics: Float[Tensor, "B V 3 3"],
        cam_to_ego: Float[Tensor, "B V 4 4"],
        renderer: str = "volume",
        **options: Any,
    ) -> RenderOutput:
        """Draw the logits into cameras at `render_size`; a splat before a background of zeros, see `render_released`.

        Args:
            voxel_logits: From `forward`.
            intrinsics: K in pixels of images of `image_size`.
            cam_to_ego: Camera poses, metres.
            renderer: "volume", the releases' rule 'prob', or a splat: "splat_cpu", "splat_gsplat", "splat_torch".
            **options: See `ReleasedOptions`; the semantic ratio of "volume" is 0.25, as configured in the releases.
        """
        if renderer == "volume":
            options = {"semantic_ratio": _SEMANTIC_RATIO, **options}
        return render_released(
            voxel_logits,
            self.grid,
            intrinsics,
            cam_to_ego,
            self.image_size,
            self.render_size,
            renderer,
            **options,
        )


def load_released(
    folder: Path,
    system: System,
    *,
    voxels_zyx: Voxels,
    image_size: Size,
    render_size: Size,
    backbone: str,
    parity: bool,
) -> ReleasedModel:
    """Load a published folder; see `load_gaussianocc`."""
    options: dict[str, Any] = {"voxels_zyx": voxels_zyx, "backbone": backbone, "parity": parity}
    net, report, _ = load_released_network(folder, system, **options)
    return ReleasedModel(net, system, image_size=image_size, render_size=render_size, report=report)
