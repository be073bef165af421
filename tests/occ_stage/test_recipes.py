"""The published recipes: a whole training step of each at a size for tests, and what they say at full size."""

import json
from pathlib import Path

import pytest
import torch

from gsocc.app.benchmark.scenes import surround_rig
from gsocc.config import ConfigError, load_config
from gsocc.datasets.nuscenes import build_index
from gsocc.engine.config import learning_rate
from gsocc.interop.released_lattice import released_voxel_m
from gsocc.interop.released_rendering import render_released
from gsocc.labels import FREE
from gsocc.renderers.ray_samples import contracted_table
from gsocc.renderers.volume_options import VolumeOptions
from gsocc.structures import ContractedGrid
from gsocc.structures.prediction import load_prediction
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset, training_class_weights
from occ_stage.evaluate import evaluate_checkpoint
from occ_stage.model import build_field_renderer, build_grid
from occ_stage.parity import SWITCHES, Switches
from occ_stage.predict import predict_checkpoint
from occ_stage.train import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "occ"
SPLAT, VOLUME = "nuscenes_gaussianocc", "nuscenes_gaussianocc_volume"
SPLAT_DEPTH = "nuscenes_gaussianocc_depth"
SEMANTIC, DEPTH = "nuscenes_occnerf_semantic", "nuscenes_occnerf_depth"
RECIPES = (SPLAT, SPLAT_DEPTH, VOLUME, SEMANTIC, DEPTH)
SMALL = [
    "data.image_size=[48, 80]",
    "grid.shape=[24, 24, 8]",
    "model.backbone=resnet_tiny",
    "model.pyramid_width=8",
    "model.lift_channels=8",
    "renderer.size=[12, 20]",
    "objective.photo_size=[24, 40]",
    "training.steps=1",
    "training.precision=32-true",
    "training.device=cpu",
    "training.workers=0",
    "training.val_every_steps=0",
    "training.panel_every_steps=1",
    "training.log_every_steps=1",
]
RAYS = {"distortion", "ray_entropy"}
TERMS = {
    SPLAT: {"photometric", "smoothness", "semantic", "total_variation", "entropy"},
    SPLAT_DEPTH: {"photometric", "smoothness", "total_variation", "entropy"},
    VOLUME: {"photometric", "smoothness", "semantic"} | RAYS,
    SEMANTIC: {"photometric", "smoothness", "semantic"} | RAYS,
    DEPTH: {"photometric", "smoothness"} | RAYS,
}


def _recipe(name: str, *overrides: str) -> OccConfig:
    return load_config(CONFIGS / f"{name}.yaml", OccConfig, overrides)


def _small(name: str, world: Path, *overrides: str) -> OccConfig:
    own = ["renderer.options.step_m=6.0"]
    if name in (SPLAT, SPLAT_DEPTH):
        own = ["renderer.name=splat_cpu"]
    if name == DEPTH:
        own += [f"data.index={build_index(world, out=world.parent / 'wide_index.npz', reach=2)}"]
    if name in (SPLAT, SPLAT_DEPTH, VOLUME):
        own += ["pose={source: ground_truth, checkpoint: null}"]
    return _recipe(name, f"data.root={world}", *SMALL, *own, *overrides)


@pytest.mark.parametrize("parity", ["null", "gaussianocc_release", "occnerf_release"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_whole_training_step_of_each_recipe(name: str, parity: str, tiny_world: Path, tmp_path: Path) -> None:
    """Images to optimiser on the synthetic world, every switch of either release on: all terms are there and finite."""
    result = train(_small(name, tiny_world, f"parity={parity}"), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    step = next(line for line in lines if line["kind"] == "train")
    assert result.steps == 1
    assert TERMS[name] <= set(step)
    assert all(torch.isfinite(torch.tensor(float(step[term]))) for term in TERMS[name])
    assert step["gradient_norm"] > 0


def test_recipes_have_the_published_sizes() -> None:
    """Specification: 300 x 300 x 24 voxels, 200 x 200 x 16 of them in the box, 424 samples along a ray."""
    for name in RECIPES:
        config = _recipe(name)
        assert config.grid.shape == (300, 300, 24)
        assert config.renderer.size == (180, 320)
        assert config.data.image_size == ((384, 640) if "gaussianocc" in name else (336, 672))
        assert config.objective.photo_size == config.data.image_size
        assert config.training.batch_size == 1
    options = {key: value for key, value in _recipe(SEMANTIC).renderer.options.items() if hasattr(VolumeOptions, key)}
    depths, _ = contracted_table(build_grid(_recipe(SEMANTIC)), VolumeOptions(**options))
    assert len(depths) == 424
    assert depths[300].item() == pytest.approx(121.3458 + 0.1, abs=0.01)
    points = build_grid(_recipe(SPLAT)).centers_m().reshape(-1, 3)
    inside = (points.abs()[:, :2] < 40).all(-1) & (points[:, 2] > -1.0) & (points[:, 2] < 5.4)
    assert inside.sum().item() == 640_000


def test_rates_fall_to_a_tenth_for_the_last_two_of_twelve_epochs() -> None:
    """2512 steps an epoch; the voxel network learns ten times as fast as the image network."""
    training = _recipe(SPLAT).training
    assert learning_rate(training, 10 * 2512 - 1) == pytest.approx(1e-4)
    assert learning_rate(training, 10 * 2512) == pytest.approx(1e-5)
    assert training.learning_rates == {"decoder": 1e-3}


def test_class_weights_follow_from_the_frequencies_of_the_release(tiny_world: Path) -> None:
    """Golden weights of the release, f^-1/2 over the mean of all 18; cross-entropy sees their ratios alone."""
    golden = [0, 0.350, 1.741, 0.976, 0.450, 2.372, 1.866, 1.849, 4.360, 1.503]
    golden += [0.552, 0.227, 0, 0.488, 0.483, 0.208, 0.312, 0.264]
    weights = training_class_weights(_recipe(SPLAT))
    assert weights is not None
    torch.testing.assert_close(weights / weights.mean(), torch.tensor(golden), atol=6e-4, rtol=0)


def test_every_switch_has_a_key_and_follows_the_preset_unless_set() -> None:
    """One table names them all; half precision along rays belongs to no preset."""
    assert list(SWITCHES) == list(Switches.model_fields)
    assert not _recipe(SPLAT).switches_on
    released = _recipe(SPLAT, "parity=gaussianocc_release")
    assert released.switches_on == {
        name for name, switch in SWITCHES.items() if "gaussianocc_release" in switch.presets
    }
    assert "half_precision_rays" not in released.switches_on
    one = _recipe(SPLAT, "parity=gaussianocc_release", "switches.squeezed_footprint=false")
    assert released.switches_on - one.switches_on == {"squeezed_footprint"}
    alone = _recipe(SEMANTIC, "switches.half_precision_rays=true")
    assert alone.switches_on == {"half_precision_rays"}


def test_switches_reach_the_renderer() -> None:
    """Footprints of splats, precision of rays."""
    squeezed = build_field_renderer(_recipe(SPLAT, "renderer.name=splat_cpu", "switches.squeezed_footprint=true"))
    assert squeezed.renderer.options.footprint == "released"
    assert build_field_renderer(_recipe(SEMANTIC, "switches.half_precision_rays=true")).renderer.options.half


def test_switches_reach_the_labels(tiny_world: Path) -> None:
    """With the switch no pixel is without a label: those that were are sky."""
    small = ["renderer.size=[12, 20]"]
    plain, wrapped = (
        open_dataset(_small(SEMANTIC, tiny_world, *small, f"switches.unlabelled_as_sky={on}"), "train",
                     parts={"semantics"}, frame_ids=(0,))[0].semantic_labels
        for on in ("false", "true")
    )  # fmt: skip
    assert plain is not None
    assert wrapped is not None
    assert torch.equal(wrapped, torch.where(plain < 0, FREE, plain))


def test_sections_that_contradict_each_other_are_refused() -> None:
    """Before the first step, naming the key."""
    with pytest.raises(ConfigError, match="auxiliary_views needs the motion between all neighbouring images"):
        _recipe(DEPTH, "pose={source: file, file: motions.npz}")
    with pytest.raises(ConfigError, match=r"but model\.classes is empty"):
        _recipe(DEPTH, "objective.semantic=0.1")
    with pytest.raises(ConfigError, match="distortion needs the weights along rays"):
        _recipe(SPLAT, "objective.distortion=0.1")
    with pytest.raises(ConfigError, match="takes min_m and max_m"):
        _recipe(SPLAT, "grid.max_m=null")


@pytest.mark.parametrize("preset", ["8g", "16g", "24g", "40g"])
def test_memory_presets_change_memory_and_nothing_else_above_8g(preset: str, tmp_path: Path) -> None:
    """Included after a recipe; only the smallest one changes what is compared."""
    recipe, memory = CONFIGS / f"{SEMANTIC}.yaml", CONFIGS / "memory" / f"{preset}.yaml"
    run = tmp_path / "run.yaml"
    run.write_text(f"include: [{recipe}, {memory}]\n")
    config, plain = load_config(run, OccConfig), _recipe(SEMANTIC)
    assert config.model.recompute_voxels is (preset != "40g")
    assert config.model.voxel_precision == ("full" if preset in ("24g", "40g") else "mixed")
    same = {"voxel_precision": "full", "recompute_voxels": False}
    assert config.model.model_copy(update=same) == plain.model
    assert (config.renderer == plain.renderer and config.objective == plain.objective) is (preset != "8g")
    assert (config.grid, config.training, config.data) == (plain.grid, plain.training, plain.data)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SPLAT, SPLAT_DEPTH, DEPTH])
def test_a_recipe_is_scored_and_predicts_without_a_threshold_to_choose(
    name: str, tiny_world: Path, tmp_path: Path
) -> None:
    """By argmax, or by the published 0.6; a class where there are classes, `others` where there are none."""
    train(_small(name, tiny_world, "parity=gaussianocc_release"), tmp_path / "run")
    result, _ = evaluate_checkpoint(tmp_path / "run", with_baselines=False)
    assert result.threshold is None
    assert 0 <= result.metrics["occ3d/camera:iou"] <= 1
    files = predict_checkpoint(tmp_path / "run", tmp_path / "predictions")
    labels = set(load_prediction(files[0]).semantics.flatten().tolist())
    assert labels <= ({0, FREE} if name in (SPLAT_DEPTH, DEPTH) else set(range(FREE + 1)))


@pytest.mark.parametrize("name", [SPLAT, SEMANTIC])
def test_a_recipe_draws_what_a_published_network_is_drawn_by(name: str) -> None:
    """The renderer of the recipe, with the release's switches, against `render_released`, on the same logits."""
    small = ["grid.shape=[24, 24, 8]", "renderer.size=[12, 20]", "parity=gaussianocc_release"]
    grid = build_grid(_recipe(name, *small))
    assert isinstance(grid, ContractedGrid)
    if name == SPLAT:
        small += ["renderer.name=splat_cpu", "renderer.options.alpha_max=0.99"]
    else:
        small += [f"renderer.options.step_m={released_voxel_m(grid)}"]
    renderer = build_field_renderer(_recipe(name, *small))
    logits = 2 * torch.randn(1, 18, *grid.shape, generator=torch.Generator().manual_seed(0))
    rig = surround_rig((48, 80))
    out = renderer(renderer.field(grid, logits), rig)
    kind = {SPLAT: "splat_cpu", SEMANTIC: "volume"}[name]
    ratio = {} if name == SPLAT else {"semantic_ratio": 0.25}
    expected = render_released(
        logits, grid, rig.intrinsics, rig.cam_to_ego, rig.image_size, (12, 20), renderer=kind, **ratio
    )
    torch.testing.assert_close(out.depth_sum_m, expected.depth_sum_m, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(out.features, expected.features, atol=1e-4, rtol=1e-4)
