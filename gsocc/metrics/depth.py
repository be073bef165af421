"""Depth against LiDAR or exact truth, per camera and mean, without and with median scaling."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from gsocc.metrics.names import metric_name

DEPTH_SCORES: tuple[str, ...] = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")


def depth_errors(predicted_m: Float[Tensor, " N"], true_m: Float[Tensor, " N"]) -> Float[Tensor, "7"]:
    """Return the errors of one image in the order of `DEPTH_SCORES`; both depths positive, N at least 1.

    `sq_rel` and `rmse` are in metres, `a1` to `a3` are shares of pixels within a factor 1.25, 1.25^2, 1.25^3.
    """
    difference = predicted_m - true_m
    log_ratio = predicted_m.log() - true_m.log()
    factor = torch.maximum(predicted_m / true_m, true_m / predicted_m)
    return torch.stack(
        [
            (difference.abs() / true_m).mean(),
            (difference.square() / true_m).mean(),
            difference.square().mean().sqrt(),
            log_ratio.square().mean().sqrt(),
            *((factor < 1.25**power).to(predicted_m.dtype).mean() for power in (1, 2, 3)),
        ]
    )


class DepthMetric(Metric):
    """The seven depth scores of the surround-view tables.

    Averaged as the published evaluators do: over the pixels of an image, over the images of a camera that
    hold any truth, then plainly over cameras. States are sums per camera, so the numbers do not depend on how
    frames fall on ranks.

    Pixels count where `min_m < truth < max_m`; the prediction is clamped to [min_m, max_m]. A prediction of
    another size than the truth is resized to it bilinearly. With median scaling each image's prediction is
    first multiplied by median(truth) / median(prediction); `scale_ratio` is the mean of that factor, 1 for a
    metric prediction.

    Names: `depth/nuscenes/80m:abs_rel` (mean over cameras), `depth/nuscenes/80m:abs_rel/CAM_FRONT`, and
    `depth/nuscenes/80m/median:abs_rel` with scaling. NaN where no image had truth.
    """

    sums: Tensor
    ratios: Tensor
    images: Tensor
    full_state_update = False
    higher_is_better = False

    def __init__(
        self,
        camera_names: Sequence[str],
        min_m: float = 0.1,
        max_m: float = 80.0,
        protocol: str = "depth/nuscenes/80m",
    ) -> None:
        super().__init__()
        if not 0 < min_m < max_m:
            raise ValueError(f"DepthMetric: expected 0 < min_m < max_m, got {min_m} and {max_m}")
        if len(camera_names) == 0 or len(set(camera_names)) != len(camera_names):
            raise ValueError(f"DepthMetric: camera names must be distinct, got {list(camera_names)}")
        self.camera_names = tuple(camera_names)
        self.min_m, self.max_m, self.protocol = min_m, max_m, protocol
        views = len(self.camera_names)
        sums = torch.zeros(2, views, len(DEPTH_SCORES), dtype=torch.float64)  # plain and median-scaled
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("ratios", torch.zeros(views, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(views, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted_m: Float[Tensor, "B V h w"], true_m: Float[Tensor, "B V H W"]) -> None:
        """Add the images of one batch.

        Args:
            predicted_m: Depth along the optical axis in metres.
            true_m: The same, 0 where there is no truth.

        Raises:
            ValueError: Where the views do not fit the camera names.
        """
        views = len(self.camera_names)
        if predicted_m.shape[:2] != true_m.shape[:2] or true_m.shape[1] != views:
            raise ValueError(
                f"DepthMetric: expected {views} views of the same batch, got predictions of shape "
                f"{tuple(predicted_m.shape)} and truth of shape {tuple(true_m.shape)}"
            )
        if predicted_m.shape[-2:] != true_m.shape[-2:]:
            predicted_m = F.interpolate(predicted_m.float(), true_m.shape[-2:], mode="bilinear", align_corners=False)
        for sample_predicted, sample_true in zip(predicted_m, true_m, strict=True):
            for view in range(views):
                self._add_image(view, sample_predicted[view], sample_true[view])

    def compute(self) -> dict[str, float]:
        """Return every score under its full name, per camera and mean."""
        means = self.sums / self.images[:, None]  # (2, V, 7); 0 / 0 marks a camera without truth
        scores: dict[str, float] = {}
        for protocol, table in zip((self.protocol, f"{self.protocol}/median"), means, strict=True):
            for name, column in zip(DEPTH_SCORES, table.T, strict=True):
                scores[metric_name(protocol, name)] = float(column.nanmean())
                for camera, value in zip(self.camera_names, column.tolist(), strict=True):
                    scores[metric_name(protocol, f"{name}/{camera}")] = value
        scores[metric_name(self.protocol, "scale_ratio")] = float((self.ratios / self.images).nanmean())
        return scores

    def _add_image(self, view: int, predicted_m: Float[Tensor, "H W"], true_m: Float[Tensor, "H W"]) -> None:
        valid = (true_m > self.min_m) & (true_m < self.max_m)
        true = true_m[valid].double()
        if true.numel() == 0:
            return
        predicted = predicted_m[valid].double()
        # The median of the clamped prediction, as the released evaluators take it: a few wild pixels cannot
        # move it.
        plain = predicted.clamp(self.min_m, self.max_m)
        ratio = _median(true) / _median(plain)
        self.sums[0, view] += depth_errors(plain, true)
        self.sums[1, view] += depth_errors((predicted * ratio).clamp(self.min_m, self.max_m), true)
        self.ratios[view] += ratio
        self.images[view] += 1


def _median(values: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return the median as numpy defines it; torch's own takes the lower of two middle values."""
    ordered = values.sort().values
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
