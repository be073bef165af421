"""What numbers alone say of a calibration: which way is up, how high cameras hang, whether lenses fit their images."""

import numpy as np
from jaxtyping import Float64

from gsocc.app.rig_check.views import View
from gsocc.datasets.health import Finding

_UPRIGHT = 0.5  # least share of "down" in an image's y axis: cameras tilted or rolled by up to 60 degrees
_LEVEL = 0.85  # most share of "up" in where a camera looks
_LOWEST_M, _HIGHEST_M = 0.1, 6.0
_OFF_CENTRE = 0.15  # of the image's size, how far a principal point may be from its middle
_FIELD_DEG = (20.0, 175.0)
# From the axes of a body (x forward, y left, z up) to those of a camera.
_BODY_TO_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_FIX_AXES = "a camera is x right, y down, z forward, the vehicle x forward, y left, z up; see docs/rigs.md"


def check_axes(cameras: list[View]) -> list[Finding]:
    """Look at mountings and lenses, camera by camera; one finding for each kind of mistake, or that there is none."""
    return [_upright(cameras), _heights(cameras), _lenses(cameras)]


def _upright(cameras: list[View]) -> Finding:
    name = "axes of cam_to_ego"
    wrong = [camera.name for camera in cameras if not _stands(camera.cam_to_ego[:3, :3])]
    if not wrong:
        return Finding(name, True, f"all {len(cameras)} cameras are upright", True)
    rotations = [camera.cam_to_ego[:3, :3] for camera in cameras]
    guesses: dict[str, list[Float64[np.ndarray, "3 3"]]] = {
        "they are ego_to_cam: invert them": [r.T for r in rotations],
        "they belong to axes x forward, y left, z up: multiply each rotation by the camera's axes from the right "
        "(rows 0 0 1, -1 0 0, 0 -1 0)": [r @ _BODY_TO_CAM for r in rotations],
        "the vehicle's axes are x right, y down, z forward: multiply each matrix by rows 0 0 1, -1 0 0, 0 -1 0 from "
        "the left": [_BODY_TO_CAM @ r for r in rotations],
    }
    found = [text for text, turned in guesses.items() if all(map(_stands, turned))]
    detail = f"the image of {', '.join(wrong)} does not stand upright in the vehicle's frame"
    return Finding(name, False, detail, True, f"perhaps {' or '.join(found)}" if found else _FIX_AXES)


def _stands(rotation: Float64[np.ndarray, "3 3"]) -> bool:
    """Return whether the image's y axis points down and its z axis not straight up or down."""
    return bool(rotation[2, 1] < -_UPRIGHT and abs(rotation[2, 2]) < _LEVEL)


def _heights(cameras: list[View]) -> Finding:
    name = "heights of cameras"
    heights = {camera.name: float(camera.cam_to_ego[2, 3]) for camera in cameras}
    wrong = [f"{key} {z:.2f} m" for key, z in heights.items() if not _LOWEST_M < z < _HIGHEST_M]
    if wrong:
        fix = "put the origin of the vehicle's frame on the ground: the grid of voxels lies about it"
        return Finding(name, False, f"not above the ground: {', '.join(wrong)}", False, fix)
    return Finding(name, True, f"{min(heights.values()):.2f} to {max(heights.values()):.2f} m above the origin", False)


def _lenses(cameras: list[View]) -> Finding:
    name = "intrinsics"
    problems, fields = [], []
    for camera in cameras:
        (height, width), k = camera.image_size, camera.intrinsics
        share = np.array([k[0, 2] / width, k[1, 2] / height])
        if np.abs(share - 0.5).max() > _OFF_CENTRE:
            problems.append(_off_centre(camera, share))
        elif not 0.8 < k[0, 0] / k[1, 1] < 1.25:
            ratio = k[0, 0] / k[1, 1]
            problems.append(
                f"{camera.name}: fx is {ratio:.2f} times fy: pixels are square, unless images were squeezed"
            )
        field = float(np.degrees(2 * np.arctan2(0.5 * width, k[0, 0])))
        fields.append(field)
        if not _FIELD_DEG[0] < field < _FIELD_DEG[1]:
            problems.append(f"{camera.name}: sees {field:.0f} degrees across")
    if problems:
        return Finding(name, False, "; ".join(problems), True, "give intrinsics in pixels of the images as they are")
    return Finding(name, True, f"cameras see {min(fields):.0f} to {max(fields):.0f} degrees across", True)


def _off_centre(camera: View, share: Float64[np.ndarray, "2"]) -> str:
    height, width = camera.image_size
    text = f"{camera.name}: the principal point lies at {share[0]:.2f} of the width and {share[1]:.2f} of the height"
    if abs(share[0] - share[1]) < _OFF_CENTRE:
        scale = 2 * float(share.mean())
        text += f", as if they were measured on images of about {round(height * scale)}x{round(width * scale)} (HxW)"
    return text
