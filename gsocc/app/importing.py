"""From a published folder to a run directory that every command of stage 2 takes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from gsocc.app.paths import CONFIGS
from gsocc.config import load_config, to_yaml
from gsocc.engine import TrainConfig, load_checkpoint, save_checkpoint
from gsocc.errors import CheckpointError, ConfigError, OutputError
from gsocc.files import atomic_folder, write_json
from gsocc.interop.released_files import ImportReport
from gsocc.interop.released_network import (
    ReleasedFacts,
    System,
    build_released_network,
    read_occupancy_files,
    released_facts,
    semantics_of,
    take_occupancy,
)
from gsocc.interop.released_pose import has_pose, load_released_pose
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.networks.pose_depth_net import PoseDepthNet
from occ_stage.config import OccConfig
from occ_stage.model import build_model
from pose_stage.config import DataConfig, PoseRunConfig

REPORT = "import_report.json"
STAGE1 = "stage1"
_CHECKPOINT = Path("checkpoints") / "last"
TrainedOn = Literal["nuscenes", "ddad"]
_RECIPES: dict[tuple[System, TrainedOn, bool], str] = {
    ("gaussianocc", "nuscenes", True): "nuscenes_gaussianocc.yaml",
    ("gaussianocc", "ddad", True): "ddad_gaussianocc.yaml",
    ("occnerf", "nuscenes", True): "nuscenes_occnerf_semantic.yaml",
    ("occnerf", "nuscenes", False): "nuscenes_occnerf_depth.yaml",
}

# How the releases turn logits into labels: argmax over classes and free, or a probability of at least 0.6.
_READING: dict[bool, tuple[str, ...]] = {
    True: ("evaluation.lattice=trilinear", "evaluation.decision=argmax", "evaluation.threshold=0.5"),
    False: ("evaluation.lattice=trilinear", "evaluation.decision=threshold", "evaluation.threshold=0.6"),
}


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        folder: The run directory.
        config: Of the stage-2 run.
        report: What became of each key of each file.
        stage1: The checkpoint folder of the pose network, where the published folder had one.
    """

    folder: Path
    config: OccConfig
    report: ImportReport
    stage1: Path | None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the files do not say, or not for sure; None takes what they say, else what the recipe says.

    Attributes:
        voxels_zyx: Voxels along z, y, x.
        image_size: (H, W) of the network's images.
        render_size: (H, W) of renderings.
        backbone: Name of a ResNet.
        pose_backbone: Of the pose network.
        dataset: What it was trained on; of OccNeRF always nuScenes.
        overrides: Changes to the recipe, such as `data.root=...`.
    """

    voxels_zyx: tuple[int, int, int] | None = None
    image_size: tuple[int, int] | None = None
    render_size: tuple[int, int] | None = None
    backbone: str | None = None
    pose_backbone: str = "resnet34"
    dataset: TrainedOn = "nuscenes"
    overrides: Sequence[str] = ()


def import_released(
    system: System, folder: Path, out: Path, choices: Choices | None = None, *, overwrite: bool = False
) -> Imported:
    """Write a published folder as a run directory: weights, configuration, stage-1 checkpoint, report.

    Nothing is written unless all of it fits.

    Args:
        system: Whose folder it is.
        folder: With encoder.pth and depth.pth, and of GaussianOcc pose_encoder.pth and pose.pth.
        out: The run directory to write.
        choices: What the files do not say.
        overwrite: Replace an earlier import at `out`; anything else there is never replaced.

    Raises:
        CheckpointError: Where a file is missing, damaged, brings code or holds another network.
        ConfigError: Where the configuration describes another network than the published one.
        OutputError: Where `out` exists, or cannot be written.
    """
    choices = choices or Choices()
    _check_free(out, overwrite)
    states = read_occupancy_files(folder)
    facts = released_facts(states)
    semantic = semantics_of(folder, facts, system)
    with_pose = system == "gaussianocc" and has_pose(folder)
    stage1 = out / STAGE1 if with_pose else None
    config = _configure(system, facts, choices, stage1, out.name, folder)
    net = build_released_network(
        system,
        voxels_zyx=config.grid.shape[::-1],
        backbone=config.model.backbone,
        semantic=semantic,
        parity=True,
    )
    report = take_occupancy(folder, states, net, system=system, semantic=semantic)
    _check_same_network(config, net)
    pose_net = None
    if with_pose:
        pose_net, pose_report = load_released_pose(folder, backbone=choices.pose_backbone)
        report = ImportReport(report.records + pose_report.records)
    meta: dict[str, Any] = {"step": 0, "imported": system, "sha256": _checksums(folder, report)}
    with atomic_folder(out) as temporary:
        if pose_net is not None:
            config = _write_stage1(temporary / STAGE1, pose_net, config, meta)
        save_checkpoint(temporary / _CHECKPOINT, net.state_dict(), to_yaml(config), meta)
        (temporary / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        write_json(temporary / REPORT, {**meta, "keys": report.as_records()})
    return Imported(out, config, report, stage1)


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / REPORT).is_file():
        raise OutputError(f"{out}: exists and is no earlier import; choose another folder")
    if not overwrite:
        raise OutputError(f"{out}: holds an earlier import; choose another folder, or give --overwrite to replace it")


def _configure(
    system: System, facts: ReleasedFacts, choices: Choices, stage1: Path | None, name: str, folder: Path
) -> OccConfig:
    """Return the recipe of a folder, with what its files and the user say otherwise."""
    backbone = choices.backbone or facts.backbone
    if backbone is None:
        raise CheckpointError(
            f"{folder}: encoder.pth has the layer3 of no known ResNet; name its backbone with --backbone if it is one"
        )
    quoted = json.dumps  # JSON is YAML, whatever a name looks like
    changes = [f"name={quoted(name)}", f"model.backbone={quoted(backbone)}", "model.backbone_weights=null"]
    changes += [f"parity={system}_release", *_READING[facts.semantic]]
    for key, size in (
        ("grid.shape", (choices.voxels_zyx or facts.voxels_zyx or ())[::-1]),
        ("data.image_size", choices.image_size or facts.image_size or ()),
        ("renderer.size", choices.render_size or ()),
    ):
        if size:
            changes.append(f"{key}={list(size)}")
    if stage1 is None:
        changes.append("pose={source: ground_truth, checkpoint: null}")
    else:
        changes.append(f"pose={{source: stage1, checkpoint: {quoted(str(stage1))}}}")
    recipe = CONFIGS / "occ" / _RECIPES[system, choices.dataset, facts.semantic]
    return load_config(recipe, OccConfig, [*changes, *choices.overrides])


def _check_same_network(config: OccConfig, net: OccupancyNet) -> None:
    """Refuse a configuration from which another network would be built than the one that holds the weights.

    Raises:
        ConfigError: Naming what differs.
    """
    built = build_model(config)
    shapes, own = ({k: tuple(v.shape) for k, v in n.state_dict().items()} for n in (built, net))
    differing = [name for name in {**own, **shapes} if own.get(name) != shapes.get(name)]
    parts = [f"model: {len(differing)} tensors differ, for example {differing[0]}"] if differing else []
    if built.grid != net.grid:
        parts.append(f"grid: expected {net.grid}, got {built.grid}")
    if type(built.lift) is not type(net.lift):
        parts.append("switches: expected mixed_align_corners, with which the weights were trained")
    if (built.free_bias, built.logit_gain) != (net.free_bias, net.logit_gain):
        parts.append("model: expected initial_occupancy: 0.5 and logit_gain: 1.0")
    if parts:
        raise ConfigError(
            f"the configuration describes another network than the published one: {'; '.join(parts)}; "
            "leave grid and model as the recipe has them"
        )


def _write_stage1(folder: Path, net: PoseDepthNet, config: OccConfig, meta: dict[str, Any]) -> OccConfig:
    """Write the checkpoint of the pose network; return the stage-2 configuration that names its weights."""
    run = PoseRunConfig(
        name=f"{config.name}_stage1",
        data=DataConfig(
            dataset=config.data.dataset,
            root=config.data.root,
            version=config.data.version,
            image_size=config.data.image_size,
        ),
        training=TrainConfig(steps=1),
        model=net.config,
    )
    save_checkpoint(folder, net.state_dict(), to_yaml(run), meta)
    identity = f"{load_checkpoint(folder).identity()}/{net.config.pose.readout}"
    pose = config.pose.model_copy(update={"identity": identity})
    return config.model_copy(update={"pose": pose})


def _checksums(folder: Path, report: ImportReport) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in report.files}
