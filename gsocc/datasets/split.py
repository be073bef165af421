"""What a run of either stage says of its data, and the data set that follows from it."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from gsocc.config import Config
from gsocc.datasets.ddad import DdadDataset
from gsocc.datasets.index import read_token_list
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.rig import RigDataset
from gsocc.errors import UserError

Size = tuple[int, int]  # H, W


class SurroundDataConfig(Config):
    """What is read, and at which size: the `data:` section of a run."""

    dataset: Literal["nuscenes", "ddad", "rig"] = "nuscenes"
    root: Path
    version: str = "v1.0-trainval"  # of nuScenes; DDAD has one
    index: Path | None = None  # default: where `gsocc index` writes it
    train_split: str = "train"
    val_split: str = "val"
    train_tokens: Path | None = None  # file with one key-frame token per line, to restrict a split
    val_tokens: Path | None = None
    image_size: Size = (384, 640)
    image_cache: Path | None = None  # copies at image_size that `gsocc index DATASET --cache` wrote
    neighbours: Literal["sweeps", "keyframes"] = "sweeps"
    min_travel_m: float = Field(default=0.0, ge=0)  # train on key frames that move this far to their neighbours
    color_jitter: float = Field(default=0.5, ge=0, le=1)  # probability per sample
    self_mask: bool = False
    self_mask_root: Path | None = None  # default: where the data set's masks lie, see docs/datasets.md
    gts_root: Path | None = None  # Occ3D labels, which only scores read; default: see docs/datasets.md


def open_split(
    data: SurroundDataConfig,
    which: Literal["train", "val"],
    *,
    parts: Collection[str] = (),
    frame_ids: tuple[int, ...] = (0, -1, 1),
    depth_size: Size | None = None,
    semantic_size: Size | None = None,
    augment: bool = False,
    seed: int = 0,
    label_pixel: Literal["center", "top_left"] = "center",
    unlabelled: Literal["ignore", "sky"] = "ignore",
    jitter_per: Literal["sample", "image"] = "sample",
) -> NuScenesDataset:
    """Open the training or the validation split of a run.

    Args:
        data: The run's data.
        which: Which of its splits.
        parts: Optional parts that samples carry.
        frame_ids: Times, key frame first.
        depth_size: See `NuScenesDataset`.
        semantic_size: See `NuScenesDataset`.
        augment: Whether `data.color_jitter` applies.
        seed: Of the colour jitter.
        label_pixel: See `NuScenesDataset`.
        unlabelled: See `NuScenesDataset`.
        jitter_per: See `NuScenesDataset`.
    """
    tokens = data.train_tokens if which == "train" else data.val_tokens
    kinds: dict[str, Callable[..., NuScenesDataset]] = {
        "nuscenes": partial(NuScenesDataset, version=data.version),
        "ddad": DdadDataset,
        "rig": RigDataset,
    }
    return kinds[data.dataset](
        root=data.root,
        index=data.index,
        split=data.train_split if which == "train" else data.val_split,
        tokens=read_token_list(tokens) if tokens else None,
        image_size=data.image_size,
        image_cache=data.image_cache,
        frame_ids=frame_ids,
        neighbours=data.neighbours,
        parts=set(parts) | ({"self_mask"} if data.self_mask else set()),
        self_mask_root=data.self_mask_root,
        gts_root=data.gts_root,
        depth_size=depth_size,
        semantic_size=semantic_size,
        label_pixel=label_pixel,
        unlabelled=unlabelled,
        jitter_per=jitter_per,
        color_jitter=data.color_jitter if augment else 0.0,
        seed=seed,
    )


def keep_moving(dataset: NuScenesDataset, data: SurroundDataConfig) -> NuScenesDataset:
    """Restrict a training split to key frames that move `data.min_travel_m` to their neighbours; return it.

    Raises:
        UserError: Where there is none.
    """
    if data.min_travel_m > 0:
        moving = [n for n in range(len(dataset)) if dataset.travel_m(n) >= data.min_travel_m]
        if not moving:
            raise UserError(
                f"data.min_travel_m: no key frame of split {dataset.split} moves {data.min_travel_m} m to its "
                "neighbours; choose a smaller value or other tokens"
            )
        dataset.keep(moving)
    return dataset
