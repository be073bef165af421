"""What the releases of GaussianOcc and OccNeRF do otherwise: one named switch each, and presets of them.

A switch that is off is the behaviour that this library documents. docs/differences.md holds, for each, what it does to
the numbers.
"""

from dataclasses import dataclass
from typing import Literal

from gsocc.config import Config

Parity = Literal["gaussianocc_release", "occnerf_release"]


@dataclass(frozen=True)
class Switch:
    """A behaviour of a release.

    Attributes:
        meaning: What the release does, in one sentence.
        instead: What happens here while it is off.
        presets: Which values of `parity:` turn it on.
    """

    meaning: str
    instead: str
    presets: tuple[Parity, ...]


_BOTH: tuple[Parity, ...] = ("gaussianocc_release", "occnerf_release")
_GAUSSIANOCC: tuple[Parity, ...] = ("gaussianocc_release",)

SWITCHES: dict[str, Switch] = {
    "unlabelled_as_sky": Switch(
        "Pixels without a label are trained as sky: the raw -1 wraps around to the table's last entry.",
        "They carry no loss.",
        _BOTH,
    ),
    "top_left_labels": Switch(
        "Labels are shrunk by taking the top left pixel of each block.",
        "The pixel under the centre of the small one is taken.",
        _BOTH,
    ),
    "jitter_per_image": Switch(
        "Colour jitter is drawn anew for every camera and time.",
        "One draw serves all images of a sample.",
        _BOTH,
    ),
    "mixed_align_corners": Switch(
        "Lifting scales pixels as for corner-aligned sampling and then samples edge-aligned: right at the left edge "
        "of a feature map, one feature pixel off at the right.",
        "Sampling follows the pixel convention up to the border.",
        _BOTH,
    ),
    "squeezed_footprint": Switch(
        "The vertical field of view of the rasteriser is computed from the horizontal one, which squeezes footprints "
        "by (H / W)(fx / fy).",
        "Footprints follow the intrinsics.",
        _GAUSSIANOCC,
    ),
    "accumulated_depth": Switch(
        "The depth that losses see is sum(w z), not normalised, so that thin matter reads as near.",
        "Light that passes everything comes from objective.far_m.",
        _BOTH,
    ),
    "integer_pixel_warp": Switch(
        "The photometric warp takes pixel centres at integers, rendering at half-integers.",
        "Pixel centres are at half-integers everywhere.",
        _BOTH,
    ),
    "unmasked_warp": Switch(
        "Points behind a camera or outside of the neighbouring image are compared with its border.",
        "They are left out.",
        _BOTH,
    ),
    "pose_batch_statistics": Switch(
        "The frozen pose network runs in training mode: batch statistics of the sample, and drifting averages.",
        "It runs in evaluation mode.",
        _GAUSSIANOCC,
    ),
    "sparsity_of_top_slice": Switch(
        "objective.sparsity pushes all channels of the uppermost voxel layer towards empty.",
        "It pushes the free-space logit of every voxel.",
        _BOTH,
    ),
    "jittered_pose_images": Switch(
        "In training the frozen pose network sees the colour-jittered images.",
        "It always sees the clean ones.",
        _GAUSSIANOCC,
    ),
    "tie_noise": Switch(
        "Normal noise of 1e-5 is added to the errors of unwarped images, which breaks ties of the auto-mask.",
        "Rounding breaks them.",
        _BOTH,
    ),
    "masked_as_zero_error": Switch(
        "Pixels that show the vehicle itself are errors of zero, and count in the mean.",
        "They are left out.",
        _GAUSSIANOCC,
    ),
    "clamp_at_80_m": Switch(
        "The depth of Gaussians is clamped to [0.1, 80] m, in losses and in scores, whatever range is scored.",
        "objective.depth_range_m clamps it in losses, nothing does in scores.",
        _GAUSSIANOCC,
    ),
    "stale_background": Switch(
        "The rasteriser reads a background of 3 channels as one per channel: from the fourth on, training adds what "
        "light is left times memory that nobody set.",
        "The background is zero.",
        _GAUSSIANOCC,
    ),
    "flow_channel_opacity": Switch(
        "Without classes, the opacity of Gaussians is read from the last of three more outputs, of a head for flow.",
        "There are no more outputs than needed.",
        _GAUSSIANOCC,
    ),
    "inverted_opacity": Switch(
        "The opacity of Gaussians is one minus the sigmoid of the last channel also where that is the logit of being "
        "solid (model.last_channel: solid).",
        "It is the sigmoid there.",
        _GAUSSIANOCC,
    ),
    "half_precision_rays": Switch(
        "Rays, sample depths, voxel logits, weights and their sums are float16.",
        "They are float32.",
        (),
    ),
}


class Switches(Config):
    """Each switch: true, false, or null to follow `parity:`."""

    unlabelled_as_sky: bool | None = None
    top_left_labels: bool | None = None
    jitter_per_image: bool | None = None
    mixed_align_corners: bool | None = None
    squeezed_footprint: bool | None = None
    accumulated_depth: bool | None = None
    integer_pixel_warp: bool | None = None
    unmasked_warp: bool | None = None
    pose_batch_statistics: bool | None = None
    sparsity_of_top_slice: bool | None = None
    jittered_pose_images: bool | None = None
    tie_noise: bool | None = None
    masked_as_zero_error: bool | None = None
    clamp_at_80_m: bool | None = None
    stale_background: bool | None = None
    flow_channel_opacity: bool | None = None
    inverted_opacity: bool | None = None
    half_precision_rays: bool | None = None

    def on(self, name: str, parity: Parity | None) -> bool:
        """Return whether a switch is on: by itself, else by the preset."""
        given: bool | None = getattr(self, name)
        return parity in SWITCHES[name].presets if given is None else given
