"""What each switch of `occ_stage.parity` does to a network of the synthetic world, off against on."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gsocc.app.demo_checks import ABS_REL, IOU, MIOU
from gsocc.app.demo_datasets import DDAD, NUSCENES, DemoPlan
from gsocc.app.paths import CONFIGS
from gsocc.files import read_json

if TYPE_CHECKING:
    from occ_stage.config import OccConfig
    from occ_stage.motion import Motion

# The demo's recipe, small enough for a minute of one CPU core.
SMALL = (
    "data.image_size=[48, 80]",
    "data.color_jitter=0.5",
    "grid.shape=[50, 50, 8]",
    "grid.voxel_m=[1.6, 1.6, 0.8]",
    "renderer.size=[24, 40]",
    "training.device=cpu",
    "training.val_every_steps=0",
    "training.checkpoint_every_steps=0",
    "training.panel_every_steps=0",
    "evaluation.max_samples=12",
    "evaluation.threshold_samples=8",
)
_RAYS = (
    "grid={kind: contracted, max_m: [40.0, 40.0, 5.4], shape: [60, 60, 12], voxel_m: null, lattice: ends}",
    "renderer.name=volume",
    "renderer.options={sampling: contracted, interpolation: trilinear, step_m: 2.0, near_m: 0.1, min_move_voxels: 0.2}",
    "renderer.ray_rule=saturating_logits",
    "renderer.rest_at_last=true",
    "renderer.size=[16, 28]",
)
_DDAD = ("data.image_size=[48, 76]", "renderer.size=[24, 38]", "objective.photo_levels=3")
_FAR_GRID = (
    "grid={kind: contracted, min_m: [-24.0, -24.0, -1.0], max_m: [24.0, 24.0, 3.0], shape: [60, 60, 12], "
    "voxel_m: null, inner: 0.5, lattice: cells}"
)
BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "splat": ("synthetic_splat.yaml", ()),
    "splat, labels missing": ("synthetic_splat.yaml", ()),  # on a copy of the world, see `world_with_gaps`
    "splat, sparsity": ("synthetic_splat.yaml", ("objective.sparsity=0.05",)),
    "splat, auto-mask": ("synthetic_splat.yaml", ("objective.automask=true",)),
    "splat, no labels": ("synthetic_splat_depth.yaml", ()),
    # What is drawn inverted starts as solid as what is not, as in the release.
    "splat, solid logit": ("synthetic_splat.yaml", ("model.last_channel=solid", "model.initial_occupancy=0.5")),
    "rays": ("synthetic_volume.yaml", _RAYS),
    "DDAD, splat": ("ddad_synthetic.yaml", _DDAD),
    "DDAD, contracted": ("ddad_synthetic_contracted.yaml", (*_DDAD, _FAR_GRID)),
}
CASES: dict[str, str] = {
    "unlabelled_as_sky": "splat, labels missing",
    "top_left_labels": "splat",
    "jitter_per_image": "splat",
    "mixed_align_corners": "splat",
    "squeezed_footprint": "splat",
    "accumulated_depth": "splat",
    "integer_pixel_warp": "splat",
    "unmasked_warp": "splat",
    "sparsity_of_top_slice": "splat, sparsity",
    "tie_noise": "splat, auto-mask",
    "masked_as_zero_error": "DDAD, splat",
    "clamp_at_80_m": "DDAD, contracted",
    "stale_background": "splat",
    "flow_channel_opacity": "splat, no labels",
    "inverted_opacity": "splat, solid logit",
    "half_precision_rays": "rays",
}
"""Switch -> base. Those of `MOTION` are measured on motion, see `motion_differences`."""
MOTION = ("pose_batch_statistics", "jittered_pose_images")

OTHER_NETWORK = frozenset({"flow_channel_opacity"})
"""Switches with which weights that were trained without them cannot be loaded."""
SHOWN = {"mIoU": (MIOU,), "IoU": (IOU,), "AbsRel": (ABS_REL, "depth/ddad/200m:abs_rel")}
"""Head of a column -> names of metrics, of which a run has one."""
DDAD_PLAN = DemoPlan(scenes=8, val_scenes=2, keyframes=9, image_size=(48, 76), seed=1)
_MISSING = 0.135  # share of pixels without a label in the published 2-D labels
_BLOCK_PX = 12
_FRAMES = 4


@dataclass(frozen=True)
class Difference:
    """A switch off and on.

    Attributes:
        switch: Its name.
        base: What it was measured on.
        loss_ratio: Loss with it over loss without it, same weights and frames; None for `OTHER_NETWORK`, like the next.
        gradient_cosine: Between the gradients of both.
        off: Scores of networks trained and scored without it, one mapping per seed.
        switched: Scores of the first of them with the switch on in evaluation alone; None for `OTHER_NETWORK`.
        on: Scores of networks trained and scored with it, one per seed.
    """

    switch: str
    base: str
    loss_ratio: float | None
    gradient_cosine: float | None
    off: list[dict[str, float]]
    switched: dict[str, float] | None
    on: list[dict[str, float]]


@dataclass(frozen=True)
class MotionDifference:
    """What a switch does to predicted motion: medians over frames and neighbours.

    Attributes:
        switch: Its name.
        translation_m: By how much it moves the translation.
        rotation_deg: By how much it turns the rotation.
        travel_m: How far the vehicle moves between neighbouring images.
    """

    switch: str
    translation_m: float
    rotation_deg: float
    travel_m: float


class Bench:
    """Trains what is needed, once each; a run that is finished and was made with the same settings is not made again.

    Args:
        out: Folder of runs.
        world: The demo's world, written where it is missing.
        ddad_world: A world as DDAD, of `DDAD_PLAN`, written where it is missing and needed.
        steps: Of each training.
        seeds: Trainings of each.
    """

    def __init__(self, out: Path, world: Path, ddad_world: Path, steps: int, seeds: int) -> None:
        self.out, self.steps, self.seeds = out, steps, seeds
        self._worlds = {NUSCENES.name: world, DDAD.name: ddad_world}
        self._scores: dict[str, dict[str, float]] = {}

    def measure(self, switch: str) -> Difference:
        """Measure one switch of `CASES`."""
        base = CASES[switch]
        off = [self._trained(base, None, seed) for seed in range(self.seeds)]
        on = [self._trained(base, switch, seed) for seed in range(self.seeds)]
        if switch in OTHER_NETWORK:
            return Difference(switch, base, None, None, off, None, on)
        switched = self._score(self._folder(base, None, 0), f"switches.{switch}=true")
        losses, gradients = zip(*(self._gradient(base, one) for one in (None, switch)), strict=True)
        cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)
        return Difference(switch, base, losses[1] / losses[0], float(cosine), off, switched, on)

    def _config(self, base: str, switch: str | None, seed: int) -> "OccConfig":
        from gsocc.config import load_config
        from occ_stage.config import OccConfig

        file, changes = BASES[base]
        dataset = DDAD if base.startswith("DDAD") else NUSCENES
        world = self._worlds[dataset.name]
        dataset.prepare(world, DDAD_PLAN if dataset is DDAD else dataset.plan)
        if base == "splat, labels missing":
            whole, world = world, self.out / "world_with_gaps"
            world_with_gaps(whole, world)
        overrides = [f"data.root={world}", *SMALL, *changes, f"training.steps={self.steps}"]
        if dataset is DDAD:
            overrides.append(f"data.self_mask_root={world / 'truth' / 'mask'}")
        overrides += [f"training.seed={seed}", *([f"switches.{switch}=true"] if switch else [])]
        return load_config(CONFIGS / "occ" / file, OccConfig, overrides)

    def _folder(self, base: str, switch: str | None, seed: int) -> Path:
        return self.out / f"{base.replace(', ', '-').replace(' ', '_')}-{switch or 'off'}-{seed}"

    def _trained(self, base: str, switch: str | None, seed: int) -> dict[str, float]:
        from gsocc.config import to_yaml
        from occ_stage.train import train

        folder, config = self._folder(base, switch, seed), self._config(base, switch, seed)
        if folder.name not in self._scores:
            found = folder / "config.yaml"
            finished = (folder / "metrics.json").is_file() and read_json(folder / "metrics.json")["finished"]
            if not finished or found.read_text() != to_yaml(config):
                train(config, folder, "overwrite")
            self._scores[folder.name] = self._score(folder)
        return self._scores[folder.name]

    def _score(self, folder: Path, *overrides: str) -> dict[str, float]:
        from occ_stage.evaluate import evaluate_checkpoint

        metrics = evaluate_checkpoint(folder, overrides, with_baselines=False)[0].metrics
        return {head: next(metrics[name] for name in names if name in metrics) for head, names in SHOWN.items()}

    def _gradient(self, base: str, switch: str | None) -> tuple[float, Tensor]:
        """Return the loss of a few training frames and its gradient, at the weights trained without the switch."""
        from gsocc.datasets.loader import batches_of_one, evenly_spread
        from gsocc.engine import find_checkpoint, load_checkpoint, load_into, seed_everything
        from occ_stage.data import training_class_weights, training_dataset
        from occ_stage.model import build_model
        from occ_stage.objective import build_objective

        config = self._config(base, switch, 0)
        model = build_model(config)
        load_into(model, load_checkpoint(find_checkpoint(self._folder(base, None, 0), "gsocc bench differences")))
        objective = build_objective(config, training_class_weights(config))
        frames = training_dataset(config)
        total = torch.zeros(())
        for batch in batches_of_one(frames, evenly_spread(len(frames), _FRAMES), f"gradient, {switch or 'off'}"):
            seed_everything(0)
            report = objective(model, batch)
            report.total.backward()
            total = total + report.total.detach()
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        return float(total), torch.cat(gradients)


def world_with_gaps(world: Path, copy: Path) -> None:
    """Link a world to another folder, with blocks of its 2-D labels blanked out as the published ones have gaps."""
    if copy.is_dir():
        return
    building = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for item in world.resolve().iterdir():
        if item.name != "nuscenes_semantic":
            (building / item.name).symlink_to(item)
    from gsocc.datasets.index import open_index

    index = open_index(next(world.glob("gsocc_index*.npz")), world)
    sizes = {Path(name.decode()).stem: size for name, size in zip(index.image_file, index.image_size, strict=True)}
    generator = np.random.default_rng(0)
    for path in sorted((world / "nuscenes_semantic").rglob("*_mask.bin")):
        height, width = sizes[path.name.removesuffix("_mask.bin")].tolist()
        labels = np.fromfile(path, dtype=np.int8).reshape(height, width)
        blank = generator.random((-(-height // _BLOCK_PX), -(-width // _BLOCK_PX))) < _MISSING
        labels[np.kron(blank, np.ones((_BLOCK_PX, _BLOCK_PX), dtype=bool))[:height, :width]] = -1
        target = building / path.relative_to(world)
        target.parent.mkdir(parents=True, exist_ok=True)
        labels.tofile(target)
    building.rename(copy)


def motion_differences(out: Path, world: Path, steps: int, switches: Sequence[str] = MOTION) -> list[MotionDifference]:
    """Return by how much switches of the frozen pose network move the motion that it predicts.

    A stage-1 network on image pairs (batch norm, as published) is trained for a few steps; what it says of some key
    frames with a switch is compared with what it says without: of the same images, or of jittered ones.

    Args:
        out: Folder of the run.
        world: The demo's world, written where it is missing.
        steps: Of the training.
        switches: Of `MOTION`.
    """
    from gsocc.config import load_config
    from gsocc.datasets.loader import evenly_spread
    from gsocc.datasets.split import open_split
    from gsocc.engine import seed_everything
    from occ_stage.motion import Stage1Motion
    from pose_stage.config import PoseRunConfig
    from pose_stage.train import train

    NUSCENES.prepare(world, NUSCENES.plan)
    pose = (
        "{name: stacked, backbone: resnet_tiny, norm: batch, width: 24, translation_scale: 0.3, rotation_scale: 0.05}"
    )
    overrides = [f"data.root={world}", f"data.flow_cache={out / 'flow'}", f"model.pose={pose}"]
    overrides += ["training.device=cpu", f"training.steps={steps}"]
    config = load_config(CONFIGS / "pose" / "synthetic_gsp.yaml", PoseRunConfig, overrides)
    train(config, out / "pose", "overwrite")
    frames = open_split(config.data, "val")
    numbers = evenly_spread(len(frames), 12)
    travel_m = float(torch.tensor([frames.travel_m(number) for number in numbers]).median())
    options: dict[str, dict[str, Any]] = {
        "pose_batch_statistics": {"batch_statistics": True},
        "jittered_pose_images": {"jitter": 1.0, "jitter_per": "image"},  # at 0.5 half of the frames would stay
    }
    plain = Stage1Motion(out / "pose", config.data, "network")
    found = []
    for switch in switches:
        seed_everything(0)
        other = Stage1Motion(out / "pose", config.data, "network", **options[switch])
        pairs = [(plain.motion(t), other.motion(t, training=True)) for t in (frames.tokens[n] for n in numbers)]
        found.append(MotionDifference(switch, *_apart(pairs), travel_m))
    return found


def _apart(pairs: "Sequence[tuple[Motion, Motion]]") -> tuple[float, float]:
    """Return the medians of translation (metres) and rotation (degrees) between two motions of each frame."""
    shifts, turns = [], []
    for (one, valid), (other, _) in pairs:
        apart = torch.linalg.inv(one.double()) @ other.double()
        cosine = (apart[:, :3, :3].diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
        shifts.append(apart[valid, :3, 3].norm(dim=-1))
        turns.append(torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))[valid])
    return float(torch.cat(shifts).median()), float(torch.cat(turns).median())
