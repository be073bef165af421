"""Estimate self-occlusion masks from the images of a drive, and write them where the readers look for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from torch.utils.data import DataLoader, Dataset

from gsocc.datasets.derived.layout import DerivedLayout, layout_of
from gsocc.datasets.derived.static_pixels import StaticEstimate, StaticRule, find_static_region, rays_below_horizon
from gsocc.datasets.images import read_image, scale_intrinsics
from gsocc.datasets.index import SurroundIndex, pose_matrix
from gsocc.datasets.listing import some
from gsocc.errors import DataError, UserError
from gsocc.files import atomic_write_bytes
from gsocc.progress import track

_LONG_SIDE_PX = 1000  # larger images are halved until they are no longer


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How masks are estimated.

    Attributes:
        frames: At most so many images of a camera in a scene, evenly spread.
        least_frames: A scene with fewer images from places that differ says nothing.
        step_m: How far the vehicle moves between two of them, at least.
        margin_px: The vehicle is widened by so many pixels of the stored image.
        rule: When a pixel belongs to the vehicle.
    """

    frames: int = 48
    least_frames: int = 8
    step_m: float = 0.25
    margin_px: int = 0
    rule: StaticRule = field(default_factory=StaticRule)

    def __post_init__(self) -> None:
        if not 2 <= self.least_frames <= self.frames:
            raise UserError(
                f"frames: expected at least {max(self.least_frames, 2)}, which make an estimate, got {self.frames}"
            )


@dataclass(frozen=True)
class SceneMasks:
    """What was found in a scene.

    Attributes:
        scene: Its name.
        own: For each camera where the vehicle is, at the stored size; empty where the scene says nothing.
        frames: How many images of each camera were looked at.
    """

    scene: str
    own: tuple[Bool[np.ndarray, "H W"], ...]
    frames: int


@dataclass(frozen=True)
class MaskReport:
    """What a run did.

    Attributes:
        written: Number of masks written.
        kept: Number of masks that were there.
        silent: Scenes in which the vehicle does not move far enough to tell it from the world.
    """

    written: int
    kept: int
    silent: tuple[str, ...]


def pick_scenes(index: SurroundIndex, names: Sequence[str] | None = None) -> list[str]:
    """Return the scenes of those names, or all that have key frames.

    Raises:
        DataError: Where a name is not among them.
    """
    known = [index.scene_names[number].decode() for number in np.unique(index.sample_scene).tolist()]
    unknown = sorted(set(names or []) - set(known))
    if unknown:
        raise DataError(f"--scene: no scene {', '.join(unknown)}; the index has {len(known)}: {some(known)}")
    return list(names) if names else known


def make_masks(
    index: SurroundIndex,
    root: Path,
    out: Path,
    scenes: Sequence[str],
    options: MaskOptions,
    *,
    workers: int = 0,
    overwrite: bool = False,
) -> MaskReport:
    """Estimate and write the masks of scenes, each whole or not at all.

    Where scenes have masks of their own, one that says nothing gets what is vehicle in at least half of the others, and
    scenes whose masks are there are left alone, so a run that was stopped goes on, and masks drawn by hand stay. Where
    one mask per camera is good for all scenes, it is what is vehicle in at least half of them.

    Args:
        index: The index of the data set.
        root: The folder that its images lie below.
        out: Folder of the masks; see `DerivedLayout.mask` for the names below it.
        scenes: Which scenes are looked at.
        options: How masks are estimated.
        workers: Processes that estimate; 0 estimates in this one.
        overwrite: Replace masks that are there.

    Raises:
        DataError: Where an image is missing or damaged.
        UserError: Where the vehicle moves in no scene.
        OutputError: Where a file cannot be written.
    """
    layout, writer = layout_of(index.source.dataset), _Writer(index, out, options.margin_px)
    wanted = [scene for scene in scenes if overwrite or not writer.is_done(scene)]
    if not layout.mask_per_scene and len(wanted) < len(scenes):
        wanted = []  # one mask is that of all scenes
    tasks: DataLoader = DataLoader(_Scenes(index, root, wanted, options), batch_size=None, num_workers=workers)
    silent, votes, telling = [], [np.zeros(1, dtype=np.int64)] * len(index.cameras), 0
    for answer in track(tasks, len(wanted), "looking for the vehicle", "scenes"):
        if isinstance(answer, UserError):
            raise answer
        if not answer.own:
            silent.append(answer.scene)
            continue
        telling += 1
        if layout.mask_per_scene:
            writer.write(answer.scene, answer.own)
        else:
            votes = [sum_ + own for sum_, own in zip(votes, answer.own, strict=True)]
    if wanted and not layout.mask_per_scene:
        _refuse_silence(telling, len(wanted))
        writer.write(scenes[0], [np.asarray(2 * sum_ >= telling) for sum_ in votes])
    elif silent:
        _borrow(writer, [scene for scene in scenes if scene not in set(silent)], silent)
    return MaskReport(writer.written, writer.count(scenes) - writer.written, tuple(silent))


def copy_masks(index: SurroundIndex, out: Path, source: str, scenes: Sequence[str]) -> MaskReport:
    """Give scenes the masks of another scene, which may be drawn by hand: that of the same vehicle, same cameras.

    Raises:
        UserError: Where the data set has one mask for all scenes, or the images differ in size.
        DataError: Where the other scene has no masks.
        OutputError: Where a file cannot be written.
    """
    writer = _Writer(index, out, 0)
    if not writer.layout.mask_per_scene:
        raise UserError(f"--like: {index.source.dataset} has one mask per camera for all scenes; there is none to copy")
    own = [read_mask(path, writer.layout) for path in writer.paths(source)]
    others = [scene for scene in scenes if scene != source]
    for scene in others:
        row = np.flatnonzero(index.scene_names[index.sample_scene] == scene.encode())[0]
        sizes = index.image_size[index.key_image[row]].tolist()
        if sizes != [list(region.shape) for region in own]:
            raise UserError(
                f"--like {source}: its masks are of (H, W) {[region.shape for region in own]}, the images of scene "
                f"{scene} of {sizes}; expected the same vehicle and cameras"
            )
    for scene in others:
        writer.write(scene, own)
    return MaskReport(writer.written, writer.count(scenes) - writer.written, ())


def read_mask(path: Path, layout: DerivedLayout) -> Bool[np.ndarray, "H W"]:
    """Return where a mask says that the vehicle is, as the readers take it: by its first channel.

    Raises:
        DataError: Where there is no readable mask.
    """
    mask = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if mask is None:
        raise DataError(f"{path}: no readable self-occlusion mask; write it: gsocc label masks")
    return np.asarray((mask[..., 0] != 0) == layout.zero_is_valid)


class _Scenes(Dataset[SceneMasks | UserError]):
    def __init__(self, index: SurroundIndex, root: Path, scenes: Sequence[str], options: MaskOptions) -> None:
        self.index, self.root, self.scenes, self.options = index, root, list(scenes), options

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, number: int) -> SceneMasks | UserError:
        try:
            return self._estimate(self.scenes[number])
        except UserError as error:
            return error

    def _estimate(self, scene: str) -> SceneMasks:
        rows = moving_rows(self.index, scene, self.options)
        if len(rows) < self.options.least_frames:
            return SceneMasks(scene, (), len(rows))
        own = tuple(self._of_camera(rows, view) for view in range(len(self.index.cameras)))
        return SceneMasks(scene, own, len(rows))

    def _of_camera(self, rows: Sequence[int], view: int) -> Bool[np.ndarray, "H W"]:
        images = self.index.key_image[list(rows), view].tolist()
        return estimate_camera(self.index, self.root, images, self.options.rule)[0]


def estimate_camera(
    index: SurroundIndex, root: Path, images: Sequence[int], rule: StaticRule
) -> tuple[Bool[np.ndarray, "H W"], StaticEstimate]:
    """Find the vehicle in images of one camera, given by their rows of the index.

    Returns:
        The vehicle at the stored size, and the estimate at the size that was looked at.

    Raises:
        DataError: Where an image is missing or damaged.
    """
    height, width = index.image_size[images[0]].tolist()
    shrink = 1
    while max(height, width) > _LONG_SIDE_PX * shrink:
        shrink *= 2
    size = (height // shrink, width // shrink)
    frames: UInt8[np.ndarray, "N H W 3"] = np.stack(
        [read_image(root / index.image_file[image].decode(), (height, width), size) for image in images]
    )
    calibration = index.image_calibration[images[0]]
    k = scale_intrinsics(index.intrinsics[calibration], (height, width), size)
    below = rays_below_horizon(k, pose_matrix(index.cam_to_ego[calibration]), size)
    found = find_static_region(frames, below, rule)
    whole = cv2.resize(found.own.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
    return whole, found


def moving_rows(index: SurroundIndex, scene: str, options: MaskOptions) -> list[int]:
    """Return key frames of a scene between which the vehicle moves, at most as many as the options say.

    Of a rig without poses nobody knows when it moves: then all key frames are taken to be from places that differ.
    """
    rows = np.flatnonzero(index.scene_names[index.sample_scene] == scene.encode())
    places = pose_matrix(index.image_ego_to_global[index.key_image[rows, 0]])[:, :3, 3]
    step_m = 0.0 if "poses" in index.source.skipped else options.step_m
    chosen: list[int] = []
    for number in range(len(rows)):
        if not chosen or np.linalg.norm(places[number] - places[chosen[-1]]) >= step_m:
            chosen.append(number)
    if len(chosen) > options.frames:
        chosen = [chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, options.frames).round()]
    return rows[chosen].tolist()


class _Writer:
    """Writes masks in the form of a data set."""

    def __init__(self, index: SurroundIndex, out: Path, margin_px: int) -> None:
        self.index, self.out, self.margin_px = index, out, margin_px
        self.layout: DerivedLayout = layout_of(index.source.dataset)
        self.written = 0

    def paths(self, scene: str) -> list[Path]:
        return [self.layout.mask(self.out, camera, scene) for camera in self.index.cameras]

    def count(self, scenes: Sequence[str]) -> int:
        return len({path for scene in scenes for path in self.paths(scene)})

    def is_done(self, scene: str) -> bool:
        return all(path.is_file() for path in self.paths(scene))

    def write(self, scene: str, own: Sequence[Bool[np.ndarray, "H W"]]) -> None:
        for path, region in zip(self.paths(scene), own, strict=True):
            wide = _widened(region, self.margin_px)
            image = np.where(wide == self.layout.zero_is_valid, 255, 0).astype(np.uint8)
            atomic_write_bytes(path, cv2.imencode(".png", image)[1].tobytes())
            self.written += 1


def _borrow(writer: _Writer, telling: Sequence[str], silent: Sequence[str]) -> None:
    """Give scenes that say nothing what is vehicle in at least half of the others; their margin is in it already."""
    _refuse_silence(len(telling), len(telling) + len(silent))
    shared = []
    for view in range(len(writer.index.cameras)):
        votes = sum(read_mask(writer.paths(scene)[view], writer.layout).astype(np.int64) for scene in telling)
        shared.append(np.asarray(2 * votes >= len(telling)))
    writer.margin_px = 0
    for scene in silent:
        writer.write(scene, shared)


def _refuse_silence(telling: int, looked_at: int) -> None:
    if not telling:
        raise UserError(
            f"in none of the {looked_at} scenes the vehicle moves far enough to tell it from the world; take scenes in "
            "which it drives, or lower --step or --least-frames"
        )


def _widened(own: Bool[np.ndarray, "H W"], margin_px: int) -> Bool[np.ndarray, "H W"]:
    if margin_px <= 0:
        return own
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin_px + 1,) * 2)
    return cv2.dilate(own.astype(np.uint8), kernel) > 0
