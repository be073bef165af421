"""`gsocc doctor rig`: files, numbers, motion and overlap of a rig, with pictures to judge by eye."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gsocc.app.rig_check.axes import check_axes
from gsocc.app.rig_check.motion import check_motion, measure_motion
from gsocc.app.rig_check.pairs import check_pair, match_pair
from gsocc.app.rig_check.picture import ground_picture
from gsocc.app.rig_check.views import View, read_views
from gsocc.datasets.health import Finding
from gsocc.datasets.index import ALL_SCENES, SurroundIndex, open_index, pose_matrix
from gsocc.geometry.overlap import overlap_masks
from gsocc.progress import note
from gsocc.structures import CameraRig
from gsocc.viewer.drawing import resize, save_png
from gsocc.viewer.overlap import overlap_picture, overlapping_pairs

_MASK_HEIGHT = 108  # overlap is a matter of degrees, not of pixels
_OVERLAP_M = 80.0


@dataclass(frozen=True)
class RigReport:
    """What was found, and the pictures that were written."""

    findings: list[Finding]
    pictures: list[Path]


def check_rig(root: Path, index: Path, pictures: Path, *, split: str = ALL_SCENES, frames: int = 24) -> RigReport:
    """Check the calibration of a rig against some of its images.

    Args:
        root: The data root.
        index: Its index.
        pictures: Folder for `ground.png` and `overlap.png`.
        split: Which key frames are taken.
        frames: How many, evenly spread.

    Raises:
        DataError: Where the index is missing or stale, the split is empty, or an image cannot be read.
    """
    opened = open_index(index, root)
    rows = opened.split_rows(split)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, frames).round().astype(int))]
    moments = [read_views(root, opened, row) for row in rows.tolist()]
    cameras = moments[len(moments) // 2]
    note(f"following features in {len(rows)} moments of {len(cameras)} cameras")
    motions = measure_motion(root, opened, rows.tolist())
    findings = [*check_axes(cameras), *_poses(opened), *check_motion(cameras, motions)]
    findings += _overlaps(moments, pictures / "overlap.png")
    save_png(pictures / "ground.png", ground_picture(cameras, motions, _title(findings, root)))
    return RigReport(findings, [pictures / "ground.png", pictures / "overlap.png"])


def _poses(index: SurroundIndex) -> list[Finding]:
    """Say whether ego poses drive forwards too: their axes may be other ones than those of the mountings."""
    name = "ego poses"
    if "poses" in index.source.skipped:
        detail = "none: stage 1 gives the motion, and nothing scores it"
        return [Finding(name, True, detail, False)]
    poses = index.image_ego_to_global[index.key_image[:, 0]]
    has = index.sample_next >= 0
    way = poses[index.sample_next[has], 4:] - poses[has, 4:]
    local = np.einsum("nji,nj->ni", pose_matrix(poses[has])[:, :3, :3], way)  # in the vehicle's frame
    lengths = np.linalg.norm(local, axis=1)
    moving = lengths > 0.05
    if not moving.any():
        return [
            Finding(name, False, "the vehicle never moves by 5 cm from one moment to the next", False, "check them")
        ]
    mean = local[moving].sum(0) / lengths[moving].sum()
    steps = f"{np.median(lengths[moving]):.2f} m from moment to moment"
    if lengths[moving].max() > 10.0:
        fix = "poses are in metres, and times in the unit of the images' names"
        return [Finding(name, False, f"{steps}, up to {lengths.max():.0f} m", True, fix)]
    if mean[0] > 0.9:
        return [Finding(name, True, f"the vehicle drives along its x axis, {steps}", True)]
    axis = int(np.abs(mean).argmax())
    sign = "" if mean[axis] > 0 else "-"
    detail = f"by its poses the vehicle drives along its {sign}{'xyz'[axis]} axis"
    fix = "give ego_to_world of a frame x forward, y left, z up, quaternions as w, x, y, z"
    return [Finding(name, False, detail, True, fix)]


def _overlaps(moments: list[list[View]], picture: Path) -> list[Finding]:
    cameras = moments[len(moments) // 2]
    size = (_MASK_HEIGHT, round(_MASK_HEIGHT * cameras[0].image_size[1] / cameras[0].image_size[0]))
    masks = overlap_masks(_rig(cameras, size), _OVERLAP_M, require=False)[0].numpy()
    pairs = list(overlapping_pairs(masks))
    names = tuple(camera.name for camera in cameras)
    title = (
        f"{len(pairs)} overlapping pairs: this rig can give metric scale" if pairs else "no overlap, no metric scale"
    )
    images = np.stack([resize(camera.image, size) for camera in cameras])
    drawn = overlap_picture(names, images, masks, title=title, note=f"to {_OVERLAP_M:g} m")
    save_png(picture, drawn)
    if not pairs:
        fix = "check headings and intrinsics; without overlap take ego motion from the vehicle (ego_poses)"
        return [Finding("overlap", False, f"no two of {len(cameras)} cameras share anything", True, fix)]
    shared = [f"{names[i]} and {names[j]} {100 * masks[i, j].mean():.0f} %" for i, j in pairs]
    alone = [name for k, name in enumerate(names) if not any(k in pair for pair in pairs)]
    detail = ", ".join(shared) + (f"; {', '.join(alone)} with none" if alone else "")
    findings = [
        Finding("overlap", not alone, detail, False, "a camera without neighbours gives no scale" if alone else "")
    ]
    judged = {}
    for i, j in pairs:
        matches = match_pair([m[i] for m in moments], [m[j] for m in moments], masks[i, j])
        judged[i, j] = check_pair(names[i], names[j], matches)
    return [*findings, *_excused(judged)]


def _excused(judged: dict[tuple[int, int], Finding]) -> list[Finding]:
    """Take for an accident what two cameras disagree on that agree with others: something drove along beside them."""
    trusted = {camera for pair, finding in judged.items() if finding.good for camera in pair}
    fix = "both agree with their other neighbours: perhaps something drove along beside them; give more --frames"
    return [
        replace(finding, required=False, fix=fix) if not finding.good and trusted.issuperset(pair) else finding
        for pair, finding in judged.items()
    ]


def _rig(cameras: list[View], size: tuple[int, int]) -> CameraRig:
    scaled = [np.diag([size[1] / c.image_size[1], size[0] / c.image_size[0], 1.0]) @ c.intrinsics for c in cameras]
    return CameraRig(
        torch.from_numpy(np.stack(scaled))[None].float(),
        torch.from_numpy(np.stack([c.cam_to_ego for c in cameras]))[None].float(),
        size,
    )


def _title(findings: list[Finding], root: Path) -> str:
    wrong = [finding.name for finding in findings if finding.required and not finding.good]
    return f"{root.name}: {', '.join(wrong)}" if wrong else f"{root.name}: nothing wrong was found"
