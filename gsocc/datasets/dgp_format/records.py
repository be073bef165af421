"""The JSON that protobuf writes: missing fields are defaults, large integers strings, keys come in two spellings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from gsocc.datasets.index import pose_matrix
from gsocc.errors import DataError
from gsocc.files import read_json

_UNIT_TOLERANCE = 1e-3


class Record:
    """One JSON object, and where it stands, for messages.

    Args:
        values: What JSON gave; anything but an object is refused.
        place: File and path inside of it, as a person would write it.

    Raises:
        DataError: Where `values` is not an object.
    """

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, Mapping):
            raise DataError(f"{place}: expected a JSON object, got {_kind(values)}")
        self.values, self.place = values, place

    def get(self, key: str) -> Any:
        """Return a value by its snake_case key, None where it is missing; camelCase is understood too."""
        camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), key)
        value = self.values.get(key)
        return self.values.get(camel) if value is None else value

    def text(self, key: str, *, needed: bool = False) -> str:
        """Return a string, "" where it is missing.

        Raises:
            DataError: Where it is no string, or is needed and missing or empty.
        """
        value = self.get(key)
        if value is None or value == "":
            if needed:
                raise DataError(f"{self.place}: {key} is missing; the file is not whole, copy it again")
            return ""
        if not isinstance(value, str):
            raise DataError(f"{self.place}: {key}: expected a string, got {_kind(value)}")
        return value

    def number(self, key: str) -> float:
        """Return a number, 0 where it is missing.

        Raises:
            DataError: Where it is neither a finite number nor a string that is one.
        """
        value = self.get(key)
        if value is None:
            return 0.0
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise DataError(f"{self.place}: {key}: expected a number, got {value!r}")
        return number

    def child(self, key: str) -> "Record":
        """Return an object, empty where it is missing."""
        value = self.get(key)
        return Record({} if value is None else value, f"{self.place}: {key}")

    def items(self, key: str) -> list["Record"]:
        """Return a list of objects, empty where it is missing."""
        return [Record(value, f"{self.place}: {key}[{i}]") for i, value in enumerate(self.sequence(key))]

    def sequence(self, key: str) -> list[Any]:
        """Return a list, empty where it is missing.

        Raises:
            DataError: Where it is no list.
        """
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise DataError(f"{self.place}: {key}: expected a list, got {_kind(value)}")
        return value

    def pose(self, key: str | None = None) -> Float64[np.ndarray, "4 4"]:
        """Return a pose as a matrix in float64; a missing or zero rotation is none.

        Positions are hundreds of metres from the origin of their world: float32 would cost tenths of millimetres.

        Args:
            key: Of the pose; by default the record itself is one.

        Raises:
            DataError: Where the quaternion is not of length 1.
        """
        record = self if key is None else self.child(key)
        rotation, translation = record.child("rotation"), record.child("translation")
        quaternion = [rotation.number(name) for name in ("qw", "qx", "qy", "qz")]
        length = float(np.linalg.norm(quaternion))
        if length == 0:
            quaternion = [1.0, 0.0, 0.0, 0.0]
        elif abs(length - 1) > _UNIT_TOLERANCE:
            raise DataError(
                f"{record.place}: rotation: expected a quaternion of length 1, got {quaternion} of length {length:g}"
            )
        return pose_matrix(np.array([*quaternion, *(translation.number(name) for name in ("x", "y", "z"))]))


def read_record(path: Path, what: str) -> Record:
    """Read a JSON file that holds one object.

    Args:
        path: The file.
        what: What it is, for the message where it is missing.

    Raises:
        DataError: Where it is missing or is not JSON with an object.
    """
    try:
        return Record(read_json(path), str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: {what} is missing; copy the data set again") from error


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"the number {value}" if isinstance(value, int | float) else type(value).__name__)
