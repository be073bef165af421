"""Every key of a published file is accounted for; what does not fit is refused, and code is never run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published_folders import Recipe, write_folder

from gsocc.errors import CheckpointError, UserError
from gsocc.interop import load_gaussianocc, load_occnerf, load_released_pose
from gsocc.interop.released_files import read_released

_TINY = Recipe()
_OPTIONS: dict[str, Any] = {"voxels_zyx": (4, 8, 8), "image_size": (32, 64), "backbone": "resnet_tiny"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a published folder of its own for each test."""
    return write_folder(tmp_path / "published", _TINY)


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_the_report_names_every_key(folder: Path) -> None:
    """Used, derived and dead add up to what the files hold; nothing is unknown."""
    report = load_gaussianocc(folder, **_OPTIONS).report
    encoder = torch.load(folder / "encoder.pth", weights_only=True)
    depth = torch.load(folder / "depth.pth", weights_only=True)
    assert len(report.records) == len(encoder) + len(depth)
    assert report.count("used", "encoder.pth") == len(encoder) - 2
    assert (report.count("used", "depth.pth"), report.count("derived", "depth.pth")) == (162, 6)
    assert report.count("dead", "depth.pth") == 9 * 6  # classif3 and classif_flow
    assert report.count("unknown") == 0
    assert {r.key for r in report.records if r.status == "derived" and r.file == "encoder.pth"} == {"height", "width"}


def test_dead_keys_may_be_missing_or_more(folder: Path) -> None:
    """Whether the published files hold every dead head is not known; logits do not depend on it."""
    before = load_gaussianocc(folder, **_OPTIONS).net.state_dict()

    def strip(state: dict[str, Any]) -> None:
        for key in [k for k in state if "classif_flow" in k or "classif3" in k or k in ("Zval", "xyz_min")]:
            del state[key]
        state["_3DCNN.classif1.2.weight"] = torch.zeros(1, 32, 3, 3, 3)
        state["something.new"] = torch.zeros(3)

    _change(folder / "depth.pth", strip)
    _change(folder / "encoder.pth", lambda state: (state.pop("height"), state.pop("width")))
    model = load_gaussianocc(folder, **_OPTIONS)
    assert model.report.keys("unknown") == ("depth.pth: something.new",)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("encoder.pth", "layer3.0.bn2.running_var"),
        ("encoder.pth", "depth_layer.bias"),
        ("depth.pth", "_3DCNN.dres3.conv5.0.weight"),
        ("depth.pth", "_3DCNN.classif_semantic.8.1.bias"),
    ],
)
def test_a_missing_live_key_is_named(folder: Path, file: str, key: str) -> None:
    """The release would leave it at its random start and say nothing."""
    _change(folder / file, lambda state: state.pop(key))
    with pytest.raises(CheckpointError, match=f"1 missing: {file}: {key}"):
        load_gaussianocc(folder, **_OPTIONS)


def test_wrong_shapes_are_named_with_both_shapes(folder: Path) -> None:
    """What was expected, what came."""
    _change(folder / "depth.pth", lambda s: s.update({"_3DCNN.dres0.0.0.weight": torch.zeros(32, 32, 3, 3, 3)}))
    with pytest.raises(
        CheckpointError, match=r"dres0.0.0.weight \(expected shape \(32, 64, 3, 3, 3\), got \(32, 32, 3, 3, 3\)\)"
    ):
        load_gaussianocc(folder, **_OPTIONS)


def test_values_that_are_not_finite_are_refused(folder: Path) -> None:
    """A NaN in one weight makes all outputs NaN."""
    _change(folder / "encoder.pth", lambda s: s["depth_layer.weight"].view(-1)[:1].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"depth_layer.weight \(not finite\)"):
        load_gaussianocc(folder, **_OPTIONS)


def test_a_plain_value_in_place_of_a_tensor_is_refused(folder: Path) -> None:
    """Only height and width are plain."""
    _change(folder / "encoder.pth", lambda s: s.update({"depth_layer.bias": 3}))
    with pytest.raises(CheckpointError, match=r"depth_layer.bias \(expected a tensor, got int\)"):
        load_gaussianocc(folder, **_OPTIONS)


def test_another_backbone_is_refused_and_the_right_one_named(folder: Path) -> None:
    """A ResNet-18 has more blocks: none of its tensors may be left at random."""
    with pytest.raises(CheckpointError, match=r"does not hold the expected network.*look like backbone resnet_tiny"):
        load_gaussianocc(folder, **{**_OPTIONS, "backbone": "resnet18"})


def test_a_deeper_checkpoint_does_not_fill_a_shallower_network(folder: Path) -> None:
    """All that the shallow one needs is there, but what is left over is live."""
    _change(folder / "encoder.pth", lambda s: s.update({"layer3.1.conv1.weight": torch.zeros(96, 96, 3, 3)}))
    with pytest.raises(CheckpointError, match=r"1 left over: encoder.pth: layer3.1.conv1.weight"):
        load_gaussianocc(folder, **_OPTIONS)


def test_each_system_sends_the_other_ones_folder_to_the_other_importer(folder: Path, tmp_path: Path) -> None:
    """They differ by the voxel embedding."""
    other = write_folder(tmp_path / "occnerf", Recipe(occnerf=True))
    with pytest.raises(CheckpointError, match="import it as gaussianocc"):
        load_occnerf(folder, **_OPTIONS)
    with pytest.raises(CheckpointError, match="import it as occnerf"):
        load_gaussianocc(other, **_OPTIONS)


def test_an_embedding_of_another_grid_is_refused(tmp_path: Path) -> None:
    """OccNeRF's files know their grid, and the message says it."""
    other = write_folder(tmp_path, Recipe(occnerf=True, voxels_zyx=(4, 12, 12)))
    with pytest.raises(CheckpointError, match=r"pos_embedding \(expected shape.*voxels_zyx \(4, 12, 12\)"):
        load_occnerf(other, **_OPTIONS)


def test_gaussianocc_without_classes_is_refused(tmp_path: Path) -> None:
    """Its opacity would be a channel of the flow head."""
    other = write_folder(tmp_path, Recipe(semantic=False))
    with pytest.raises(CheckpointError, match=r"depth.pth: missing: _3DCNN.classif_semantic"):
        load_gaussianocc(other, **_OPTIONS)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("voxels_zyx", (4, 8, 6), "three multiples of 4"),
        ("backbone", "vgg", "backbone: expected one of resnet_tiny"),
    ],
)
def test_options_that_no_network_has_are_refused(folder: Path, option: str, value: object, message: str) -> None:
    """Before any weight is read into anything."""
    with pytest.raises(UserError, match=message):
        load_gaussianocc(folder, **{**_OPTIONS, option: value})


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", ["encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth"])
def test_a_pickle_with_code_is_refused_without_running_it(folder: Path, tmp_path: Path, file: str) -> None:
    """The trap would leave a file behind."""
    trace = tmp_path / "ran"
    state = torch.load(folder / file, weights_only=True)
    torch.save({**state, "trap": _Trap(trace)}, folder / file)
    with pytest.raises(CheckpointError, match=rf"{file}: refused: .*nothing in it was run"):
        if "pose" in file:
            load_released_pose(folder, backbone="resnet_tiny")
        else:
            load_gaussianocc(folder, **_OPTIONS)
    assert not trace.exists()
    torch.load(folder / file, weights_only=False)  # it does spring where it is allowed to
    assert trace.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    """The other thing that people save: its class would have to be imported."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "encoder.pth")
    with pytest.raises(CheckpointError, match=r"refused: the file asks for torch\.nn\.modules\.linear\.Linear"):
        read_released(tmp_path / "encoder.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    """Empty, some text, half a zip file."""
    (tmp_path / "encoder.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"encoder.pth: (damaged|refused)"):
        read_released(tmp_path / "encoder.pth")


def test_a_list_is_no_state_dict(tmp_path: Path) -> None:
    """Tensors without names."""
    torch.save([torch.zeros(3)], tmp_path / "encoder.pth")
    with pytest.raises(CheckpointError, match=r"expected a state dict .*, got list"):
        read_released(tmp_path / "encoder.pth")


def test_a_key_with_and_without_prefix_is_refused(tmp_path: Path) -> None:
    """Which of the two would count is anyone's guess."""
    torch.save({"a": torch.zeros(1), "module.a": torch.ones(1)}, tmp_path / "encoder.pth")
    with pytest.raises(CheckpointError, match="holds a twice"):
        read_released(tmp_path / "encoder.pth")


def test_a_missing_file_or_folder_is_named(folder: Path, tmp_path: Path) -> None:
    """And what was expected there."""
    (folder / "depth.pth").unlink()
    with pytest.raises(CheckpointError, match=r"depth.pth: no such file"):
        load_gaussianocc(folder, **_OPTIONS)
    with pytest.raises(CheckpointError, match=r"nowhere: no such folder"):
        load_gaussianocc(tmp_path / "nowhere", **_OPTIONS)


def test_a_pose_network_with_a_missing_live_key_is_refused(folder: Path) -> None:
    """The dead branch may be missing, the live one not."""
    _change(folder / "pose.pth", lambda s: [s.pop(k) for k in list(s) if k.startswith(("refine", "finial"))])
    load_released_pose(folder, backbone="resnet_tiny")
    _change(folder / "pose.pth", lambda s: s.pop("net.2.bias"))
    with pytest.raises(CheckpointError, match=r"1 missing: pose.pth: net.2.bias"):
        load_released_pose(folder, backbone="resnet_tiny")
