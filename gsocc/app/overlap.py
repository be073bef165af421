"""What `gsocc view overlap` shows: the overlap of a data set's rig, from its calibration."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from gsocc.config import load_config
from gsocc.datasets import build_dataset
from gsocc.datasets.index import ALL_SCENES, find_index, read_index
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.split import SurroundDataConfig
from gsocc.errors import UserError
from gsocc.geometry.overlap import overlap_masks, shared_columns
from gsocc.structures import SurroundBatch, collate
from gsocc.viewer.drawing import save_png
from gsocc.viewer.overlap import overlap_picture, overlapping_pairs


class _Data(SurroundDataConfig):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Gsp(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    max_depth_m: float = 80.0
    erosion_px: int = 0


class _Run(BaseModel):
    """The parts of a run's configuration, of either stage, that say which rig is meant."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: _Data
    gsp: _Gsp = _Gsp()


@dataclass(frozen=True)
class OverlapRequest:
    """Which rig, and how far.

    Attributes:
        config: A run of either stage, whose data, image size, depth and erosion are taken.
        root: A data set instead.
        index: Its index file; the one below `root` by default.
        token: Key frame whose calibration and images are shown; the first by default.
        image_size: (H, W) that masks are computed at.
        max_depth_m: How far rays are followed; 80 or the configuration's by default.
        erode_px: 0 or the configuration's by default.
        self_masks: Folder of masks of the vehicle, for data sets that come with them elsewhere.
    """

    config: Path | None = None
    root: Path | None = None
    index: Path | None = None
    token: str | None = None
    image_size: tuple[int, int] | None = None
    max_depth_m: float | None = None
    erode_px: int | None = None
    self_masks: Path | None = None


def draw_overlap(request: OverlapRequest, out: Path, width: int = 1600) -> list[str]:
    """Write the picture and return lines that say what each pair of cameras shares.

    Raises:
        UserError: Where neither or both of `config` and `root` are given; after the picture is written, where the rig
            has no overlap and so cannot give metric scale.
    """
    run = _run_of(request)
    depth_m = run.gsp.max_depth_m if request.max_depth_m is None else request.max_depth_m
    erode_px = run.gsp.erosion_px if request.erode_px is None else request.erode_px
    dataset = _open(run.data, request)
    batch = collate([dataset[0]])
    rig = batch.rig.validate()
    masks = overlap_masks(rig, depth_m, valid_mask=batch.valid_mask, require=False)
    eroded = overlap_masks(rig, depth_m, erode_px=erode_px, valid_mask=batch.valid_mask, require=False)
    shared = len(list(overlapping_pairs(masks[0].numpy())))
    height, columns = rig.image_size
    picture = overlap_picture(
        dataset.camera_names,
        _pictures(batch),
        masks[0].numpy(),
        eroded=eroded[0].numpy(),
        valid=None if batch.valid_mask is None else batch.valid_mask[0].numpy(),
        title=f"{shared} overlapping pairs: this rig can give metric scale"
        if shared
        else "no overlap, no metric scale",
        note=f"{batch.scenes[0]}  {batch.tokens[0][:8]}   {height}x{columns}, to {depth_m:g} m, erosion {erode_px} px",
        width=width,
    )
    save_png(out, picture)
    # Says why, and what to do, where there is nothing to learn scale from.
    overlap_masks(rig, depth_m, erode_px=erode_px, valid_mask=batch.valid_mask)
    return _lines(dataset.camera_names, shared_columns(masks)[0], masks[0].float().mean((-1, -2)))


def _run_of(request: OverlapRequest) -> _Run:
    if (request.config is None) == (request.root is None):
        raise UserError("say which rig: either --config FILE of a run, or the folder of a data set")
    if request.config is not None:
        return load_config(request.config, _Run)
    assert request.root is not None
    return _Run(data=_Data(root=request.root, image_size=(225, 400), self_mask=request.self_masks is not None))


def _open(data: _Data, request: OverlapRequest) -> NuScenesDataset:
    index = data.index if request.index is None else request.index
    name = data.dataset
    if request.config is None:
        index = index or find_index(data.root)
        name = read_index(index).source.dataset  # type: ignore[assignment]
    chosen = {"version": data.version} if name == "nuscenes" and request.config is not None else {}
    dataset = build_dataset(
        name,
        root=data.root,
        index=index,
        **chosen,
        split=ALL_SCENES,
        tokens=None if request.token is None else [request.token],
        image_size=data.image_size if request.image_size is None else request.image_size,
        frame_ids=(0,),
        parts={"self_mask"} if data.self_mask or request.self_masks is not None else set(),
        self_mask_root=request.self_masks,
    )
    assert isinstance(dataset, NuScenesDataset)  # what every data set here is built on
    return dataset


def _pictures(batch: SurroundBatch) -> np.ndarray:
    return (batch.images[0, 0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _lines(names: tuple[str, ...], columns: torch.Tensor, pixels: torch.Tensor) -> list[str]:
    lines = []
    for i, j in torch.triu(pixels + pixels.T, 1).nonzero().tolist():
        sides = [
            f"{names[a]} {100 * float(pixels[a, b]):.0f} % of its pixels, {100 * float(columns[a, b]):.0f} % of columns"
            for a, b in ((i, j), (j, i))
        ]
        lines.append(" and ".join(sides))
    return lines
