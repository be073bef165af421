"""What follows from the calibration of a rig alone, kept between the frames of that rig."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch

from gsocc.structures.camera_rig import CameraRig

_MAX_BYTES = 2**30  # a rig takes about 0.15 GB with 2,160,000 voxels, 0.03 GB on Occ3D's grid


@runtime_checkable
class _Sized(Protocol):
    @property
    def num_bytes(self) -> int:
        """Memory that the value takes."""


T = TypeVar("T", bound=_Sized)


class RigCache(Generic[T]):
    """Build a value once per rig, feature size and device; the ones used longest ago make room.

    Args:
        build: Makes the value of a rig (a batch of one).
    """

    def __init__(self, build: Callable[[CameraRig], T]) -> None:
        self._build = build
        self._values: OrderedDict[tuple[object, ...], T] = OrderedDict()

    def __call__(self, rig: CameraRig) -> T:
        """Return the value of a rig, made now or earlier."""
        numbers = torch.cat([rig.intrinsics.flatten(), rig.cam_to_ego.flatten()])
        key = (rig.image_size, str(numbers.device), numbers.cpu().numpy().tobytes())
        if key in self._values:
            self._values.move_to_end(key)
        else:
            self._values[key] = self._build(rig)
            while len(self._values) > 1 and sum(value.num_bytes for value in self._values.values()) > _MAX_BYTES:
                self._values.popitem(last=False)
        return self._values[key]
