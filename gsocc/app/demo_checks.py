"""What the demo has to show on held-out scenes, each claim with what it got."""

import math
from collections.abc import Mapping
from typing import Any

MIOU, IOU = "occ3d/camera/present:miou", "occ3d/camera:iou"
ABOVE, ABS_REL = "occ3d/camera/16m:above_ground_f1", "depth/nuscenes/80m:abs_rel"
DDAD_ABS_REL = "depth/ddad/200m:abs_rel"
NUSCENES_STAGE1 = (0.924, 0.226)
"""Scale ratio and depth AbsRel of stage 1 in `gsocc demo` on the nuScenes world, to 80 m."""
NUSCENES_STAGE2 = {"splat_stage1": 0.212, "splat": 0.201}
"""Depth AbsRel of stage 2 there, as the README has it."""

Check = dict[str, Any]


def demo_checks(report: Mapping[str, Any]) -> list[Check]:
    """Return the claims of the whole run: those of the splatted system, of stage 1, of time and memory."""
    systems = {row["name"]: row for row in report["systems"]}
    metrics = {name: row["metrics"] for name, row in systems.items()}
    metrics |= {row["name"]: row["metrics"] for row in report["baselines"]}
    layers = {round(layer["z_m"], 1): layer["occupancy"] for layer in systems["splat"]["ground_layers"]}
    plane, ours = metrics["ground_plane"], metrics["splat"]
    steps = max(row["seconds_per_step"] for row in report["systems"])
    checks = [
        at_least("mIoU over present classes, against 4 times the flat plane's", ours[MIOU], 4 * plane[MIOU]),
        at_least("mIoU over present classes", ours[MIOU], 0.20),
        at_most("depth AbsRel, against 0.7 of the best flat plane's", ours[ABS_REL], 0.7 * plane[ABS_REL]),
        at_least("above-ground F1, against 3 times all-occupied", ours[ABOVE], 3 * metrics["all_occupied"][ABOVE]),
        at_least("occupancy of the true ground layer", layers[0.0], 0.8),
        at_most("occupancy of the layer above the ground", layers[0.4], 0.3),
        at_least("geometry IoU, against 0.9 of the flat plane's", ours[IOU], 0.9 * plane[IOU]),
        at_least("geometry IoU, against the flat plane's (the goal)", ours[IOU], plane[IOU]),
        at_most("seconds per training step, the slower system", steps, 0.45),
    ]
    if "splat_stage1" in metrics:
        claim = "mIoU with stage-1 motion, against 4 times the flat plane's"
        checks.append(at_least(claim, metrics["splat_stage1"][MIOU], 4 * plane[MIOU]))
    if report.get("stage1"):
        checks += stage1_checks(report["stage1"]["rows"])
        checks.append(at_most("minutes of stage 1", report["settings"]["stage1_seconds"] / 60, 6.0))
    return [
        *checks,
        at_most("minutes in all", report["seconds_total"] / 60, 18.0),
        at_most("peak memory in GB", report["peak_memory_gb"], 6.0),
    ]


def ddad_checks(report: Mapping[str, Any]) -> list[Check]:
    """Return the claims of the run on DDAD's world: 1.25 times what the nuScenes world gives at the same steps."""
    rows = {row["name"]: row for row in report["stage1"]["rows"]}
    metrics = {row["name"]: row["metrics"] for row in [*report["systems"], *report["baselines"]]}
    gsp, weaker = rows["gsp"], rows["no_cross_view"]
    scale, abs_rel = NUSCENES_STAGE1
    checks = [
        at_most("stage 1: |log scale ratio|, against 1.25 times nuScenes'", _off(gsp), 1.25 * abs(math.log(scale))),
        at_most("stage 1: |log scale ratio|, against no cross view", _off(gsp), _off(weaker)),
        at_least("stage 1: correlation of speed", gsp["speed_correlation"], 0.93),
        at_most("stage 1: depth AbsRel, against 1.25 times nuScenes'", gsp["depth_abs_rel"], 1.25 * abs_rel),
    ]
    for name, abs_rel in NUSCENES_STAGE2.items():
        if name in metrics:
            claim = f"{name}: depth AbsRel, against 1.25 times nuScenes'"
            checks.append(at_most(claim, metrics[name][DDAD_ABS_REL], 1.25 * abs_rel))
            claim = f"{name}: mIoU over present classes, against 4 times the flat plane's"
            checks.append(at_least(claim, metrics[name][MIOU], 4 * metrics["ground_plane"][MIOU]))
    return [
        *checks,
        at_least("masks of the own car: mean IoU with the exact ones", report["settings"]["mask_iou_mean"], 0.95),
        at_most("minutes in all", report["seconds_total"] / 60, 15.0),
        at_most("peak memory in GB", report["peak_memory_gb"], 6.0),
    ]


def stage1_checks(rows: list[dict[str, Any]]) -> list[Check]:
    """Return the claims of stage 1: scale from a wrong start, speed, direction, depth; and what gives the scale."""
    by_name = {row["name"]: row for row in rows}
    gsp = by_name["gsp"]
    checks = [
        within("stage 1: median scale ratio", gsp["scale_ratio_median"], 0.88, 1.15),
        at_least("stage 1: correlation of speed", gsp["speed_correlation"], 0.93),
        at_most("stage 1: mean error of |t| in metres", gsp["translation_error_m"], 0.13),
        at_most("stage 1: direction error in degrees", gsp["direction_error_deg"], 2.0),
        within("stage 1: depth ratio", gsp["depth_ratio"], 0.88, 1.18),
        at_most("stage 1: depth AbsRel without scaling", gsp["depth_abs_rel"], 0.36),
    ]
    for weaker in ("no_cross_view", "no_mask_out"):
        claim = f"stage 1: |log scale ratio|, against {weaker.replace('_', ' ')}"
        checks.append(at_most(claim, _off(gsp), _off(by_name[weaker])))
    return checks


def at_least(claim: str, got: float | None, bound: float) -> Check:
    """Return a claim that a figure is no smaller than a bound; a figure that does not exist misses it."""
    return _check(claim, f"at least {bound:.3f}", got, bound, math.inf)


def at_most(claim: str, got: float | None, bound: float) -> Check:
    """Return a claim that a figure is no larger than a bound; a figure that does not exist misses it."""
    return _check(claim, f"at most {bound:.3f}", got, -math.inf, bound)


def within(claim: str, got: float | None, low: float, high: float) -> Check:
    """Return a claim that a figure lies between two bounds; a figure that does not exist misses it."""
    return _check(claim, f"{low:.2f} to {high:.2f}", got, low, high)


def _check(claim: str, required: str, got: float | None, low: float, high: float) -> Check:
    value = math.nan if got is None else got
    return {"claim": claim, "required": required, "got": f"{value:.3f}", "passed": bool(low <= value <= high)}


def _off(row: Mapping[str, Any]) -> float:
    ratio = row["scale_ratio_median"]
    return abs(math.log(ratio)) if ratio is not None and ratio > 0 else math.inf
