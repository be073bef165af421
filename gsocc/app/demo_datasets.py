"""What the demo does on each data set: which world it writes, what it trains, and what its report says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gsocc.app.demo_checks import Check, ddad_checks, demo_checks
from gsocc.app.demo_truth import exact_depth_row, mask_overlaps

_HIDES_MOST = "CAMERA_09"  # of DDAD's cameras; its masks stand in the report

_SLOW = "data.min_travel_m=0.05"  # of either motion: in a tenth of a second even a slow car moves little


class Recipe(NamedTuple):
    """A system of stage 2: its configuration, whose motion it is trained with, and what else it changes.

    Of the motion of stage 1 less than usual counts as parked: it must not hang on the scale that stage 1 came to.
    """

    config: str
    stage1_motion: bool
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """What the demo writes and trains.

    Attributes:
        scenes: Scenes of the world, held-out ones included.
        val_scenes: Held-out scenes.
        keyframes: Key frames per scene: at 2 Hz as nuScenes, at 10 Hz as DDAD.
        image_size: H, W.
        seed: Of the world.
        steps: Training steps of each system; None takes those of the configuration, and `volume_steps` for the volume
            renderer.
        volume_steps: See `steps`; fewer than those of the configuration, so that the demo ends in time.
        stage1_steps: Training steps of each run of stage 1; None takes those of the configuration.
    """

    scenes: int = 18
    val_scenes: int = 3
    keyframes: int = 12
    image_size: tuple[int, int] = (96, 160)
    seed: int = 0
    steps: int | None = None
    volume_steps: int | None = 400
    stage1_steps: int | None = None

    def steps_of(self, system: str) -> int | None:
        """Return the training steps of a system; None takes those of its configuration."""
        return self.steps or (self.volume_steps if system == "volume" else None)


@dataclass(frozen=True)
class Prepared:
    """What preparing a world came to, for the report: settings, and pictures with title and caption."""

    settings: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[tuple[str, str, Path], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DemoDataset:
    """What the demo does on one data set.

    Attributes:
        name: As in `data.dataset`.
        plan: Sizes, unless told otherwise.
        out: Folder of the report, unless told otherwise.
        world: Folder of the synthetic world, unless told otherwise.
        prepare: Writes the world and its index, and what else training reads, unless they are there.
        stage1: Trainings of stage 1, the method first.
        systems: Trainings of stage 2.
        exact_row: Scores the exact depth of a world as a training of stage 1 is scored, where that is not plainly 0.
        truth: Folder of the exact occupancy below the world.
        checks: The claims that a report has to meet.
        title: Headline of the report.
        notes: What its numbers do and do not show.
    """

    name: str
    plan: DemoPlan
    out: Path
    world: Path
    prepare: Callable[[Path, DemoPlan], Prepared]
    stage1: tuple[str, ...]
    systems: Mapping[str, Recipe]
    exact_row: Callable[[Path], dict[str, Any]] | None
    truth: str
    checks: Callable[[Mapping[str, Any]], list[Check]]
    title: str
    notes: tuple[str, ...]


def prepare_world(world: Path, plan: DemoPlan) -> Prepared:
    """Write the demo's world as nuScenes and its index, unless they are there."""
    from gsocc.datasets.index import default_index_path
    from gsocc.datasets.nuscenes_index import build_index
    from gsocc.datasets.world import write_nuscenes_world

    write_nuscenes_world(
        world,
        scenes=plan.scenes,
        val_scenes=plan.val_scenes,
        keyframes=plan.keyframes,
        seed=plan.seed,
        image_size=plan.image_size,
        preset="moderate",
    )
    if not default_index_path(world, "v1.0-trainval").is_file():
        build_index(world, "v1.0-trainval")
    return Prepared()


def prepare_ddad_world(world: Path, plan: DemoPlan) -> Prepared:
    """Write the demo's world as DDAD, its index and the masks of the own car, unless they are there.

    The masks are estimated from the images, as for real data; the exact ones only say how good they are.
    """
    from gsocc.datasets.ddad_index import VERSION, build_index
    from gsocc.datasets.derived.mask_pictures import write_mask_pictures
    from gsocc.datasets.derived.masks import MaskOptions, make_masks, pick_scenes
    from gsocc.datasets.index import default_index_path, read_index
    from gsocc.datasets.world import write_ddad_world

    write_ddad_world(
        world,
        scenes=plan.scenes,
        val_scenes=plan.val_scenes,
        frames=plan.keyframes,
        seed=plan.seed,
        image_size=plan.image_size,
        preset="moderate",
        exact=True,
    )
    if not default_index_path(world, VERSION).is_file():
        build_index(world)
    index = read_index(default_index_path(world, VERSION))
    scenes, masks = pick_scenes(index), world / "mask"
    make_masks(index, world, masks, scenes, MaskOptions(least_frames=5, step_m=0.1))  # of short drives, all images
    sheets = write_mask_pictures(index, world, masks, scenes, world / "mask_pictures")
    found = mask_overlaps(index, masks, world / "truth" / "mask", scenes)
    settings = {"mask_iou_mean": sum(found) / len(found), "mask_iou_least": min(found)}
    caption = "What the estimated mask hides of each scene's images, in red. It is found from the video alone."
    return Prepared(settings, tuple((f"The own car in {s.stem}", caption, s) for s in sheets if _HIDES_MOST in s.stem))


_NUSCENES_NOTES = (
    "A synthetic street, written and read as nuScenes with Occ3D labels. Stage 1 learned depth and ego motion from "
    "images and calibration alone. Stage 2 saw images, calibration, exact 2-D labels of the training scenes and ego "
    "motion: that of stage 1 (splat_stage1), or the exact one (splat, volume). Neither saw LiDAR or a 3-D label. The "
    "occupancy threshold of each system was chosen on training scenes.",
    "The world is moderate: eight classes, nothing taller than the grid (5.4 m), a flat road, static light, perfect "
    "calibration. Training and held-out scenes come from one generator. Numbers on real data will differ.",
    "All systems train the same network on the same data; splat_stage1 leaves out the frames that stage 1 calls "
    "parked, the others those that are. The splat's Gaussians are flat: 0.4 voxel across and 0.22 in height (sigma); "
    "the volume renderer integrates the piecewise constant field cell by cell, so a solid voxel starts half a voxel in "
    "front of its centre. What separates the two in voxel scores is also how a correct depth maps to voxels.",
)
_DDAD_NOTES = (
    "A synthetic street, written and read as DDAD: its rig, 10 Hz, LiDAR to 250 m, its own car in most images. Stage 1 "
    "learned depth and ego motion from images, calibration and the masks of the own car alone. Stage 2 saw images, "
    "calibration, masks, exact 2-D labels of the training scenes and ego motion: that of stage 1 (splat_stage1), or "
    "the exact one (splat). Neither saw LiDAR or a 3-D label. Occupancy is scored against the world's own truth, which "
    "DDAD has not; the occupancy threshold of each system was chosen on training scenes.",
    "The world is moderate: eight classes, nothing taller than the grid (5.4 m), a flat road, static light, perfect "
    "calibration; bends leave little beyond 80 m to see. Training and held-out scenes come from one generator. Numbers "
    "on real data will differ.",
)

NUSCENES = DemoDataset(
    name="nuscenes",
    plan=DemoPlan(),
    out=Path("runs/demo"),
    world=Path("data/demo_world"),
    prepare=prepare_world,
    stage1=("gsp", "no_cross_view", "no_mask_out"),
    systems={
        "splat_stage1": Recipe("synthetic_splat.yaml", stage1_motion=True, overrides=("data.min_travel_m=0.1",)),
        "splat": Recipe("synthetic_splat.yaml", stage1_motion=False),
        "volume": Recipe("synthetic_volume.yaml", stage1_motion=False),
    },
    exact_row=None,
    truth="gts",
    checks=demo_checks,
    title="gsocc demo: occupancy from six cameras, without 3-D labels",
    notes=_NUSCENES_NOTES,
)

DDAD = DemoDataset(
    name="ddad",
    # Many short drives: samples a tenth of a second apart are nearly one image, and no two streets are.
    plan=DemoPlan(scenes=44, val_scenes=4, keyframes=5, image_size=(96, 152), volume_steps=None),
    out=Path("runs/demo_ddad"),
    world=Path("data/demo_ddad_world"),
    prepare=prepare_ddad_world,
    stage1=("gsp", "no_cross_view"),
    systems={
        "splat_stage1": Recipe("ddad_synthetic.yaml", stage1_motion=True, overrides=(_SLOW,)),
        "splat": Recipe("ddad_synthetic.yaml", stage1_motion=False, overrides=(_SLOW,)),
    },
    exact_row=exact_depth_row,
    truth="truth/gts",
    checks=ddad_checks,
    title="gsocc demo: DDAD's rig, depth to 200 m and occupancy without 3-D labels",
    notes=_DDAD_NOTES,
)

DATASETS: dict[str, DemoDataset] = {"nuscenes": NUSCENES, "ddad": DDAD}
