"""Motion files: how a rig moved between key frames and their neighbours, as stage 1 predicted it for stage 2.

One npz for any number of key frames. Arrays are stored by name, everything else as one JSON string under `meta`;
nothing is pickled.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from gsocc.errors import DataError
from gsocc.files import read_npz, write_npz

FORMAT = "gsocc-motion/1"
_COMMAND = "gsocc predict pose"
_TOLERANCE = 1e-3  # of a rotation's orthogonality, in float32
_NAMED = 3  # missing tokens that an error names


@dataclass(frozen=True)
class EgoMotions:
    """Predicted motions, one row per key frame.

    Attributes:
        tokens: The data set's ids of the key frames, each once.
        frame_ids: Times of a sample, 0 first; column f of the arrays belongs to `frame_ids[f + 1]`.
        neighbours: What -1 and 1 are: "sweeps" or "keyframes".
        identity: Which weights and which read-out the motions come from.
        ego_motion: Takes points of the ego frame at the key frame to the ego frame at each neighbour.
        frame_valid: False where a neighbour does not exist; its motion means nothing.
    """

    tokens: tuple[str, ...]
    frame_ids: tuple[int, ...]
    neighbours: str
    identity: str
    ego_motion: Float32[np.ndarray, "N F 4 4"]
    frame_valid: Bool[np.ndarray, "N F"]

    def validate(self) -> "EgoMotions":
        """Check shapes and values.

        Raises:
            ValueError: Where a token occurs twice, shapes contradict each other or a matrix is no rigid motion.
        """
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("tokens: expected each key frame once, got some twice")
        if not self.frame_ids or self.frame_ids[0] != 0:
            raise ValueError(f"frame_ids: expected 0 first, got {self.frame_ids}")
        shape = (len(self.tokens), len(self.frame_ids) - 1)
        for name, got, expected in (
            ("ego_motion", self.ego_motion.shape, (*shape, 4, 4)),
            ("frame_valid", self.frame_valid.shape, shape),
        ):
            if got != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {got}")
        rotation = self.ego_motion[..., :3, :3]
        off = np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3, dtype=np.float32)).max(initial=0.0)
        bottom = np.abs(self.ego_motion[..., 3, :] - np.array([0, 0, 0, 1], np.float32)).max(initial=0.0)
        if not (np.isfinite(self.ego_motion).all() and off < _TOLERANCE and bottom < _TOLERANCE):
            raise ValueError("ego_motion: expected rigid transforms, got matrices that are none")
        return self

    def rows(self, tokens: Sequence[str]) -> list[int]:
        """Return the rows of key frames.

        Raises:
            KeyError: Naming the first tokens that have none.
        """
        at = {token: row for row, token in enumerate(self.tokens)}
        missing = [token for token in tokens if token not in at]
        if missing:
            named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
            raise KeyError(f"{len(missing)} of {len(tokens)} key frames have no motion ({named})")
        return [at[token] for token in tokens]


def save_motions(path: Path, motions: EgoMotions) -> None:
    """Write a motion file, whole or not at all.

    Raises:
        ValueError: Where the motions contradict themselves; see `EgoMotions.validate`.
        OutputError: Where the file cannot be written.
    """
    m = motions.validate()
    header = {
        "format": FORMAT,
        "frame_ids": m.frame_ids,
        "neighbours": m.neighbours,
        "identity": m.identity,
    }
    write_npz(
        path,
        meta=np.array(json.dumps(header)),
        tokens=np.array(m.tokens, dtype=np.str_),
        ego_motion=m.ego_motion,
        frame_valid=m.frame_valid,
    )


def load_motions(path: Path) -> EgoMotions:
    """Read a motion file.

    Raises:
        DataError: Where the file is missing, damaged, no motion file, or written by another format.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such motion file; write one with `{_COMMAND} RUN --out {path}`")
    arrays = read_npz(path)
    try:
        header = json.loads(str(arrays["meta"]))
        if header["format"] != FORMAT:
            raise ValueError(f"expected the format {FORMAT}, got {header['format']!r}")
        return EgoMotions(
            tokens=tuple(arrays["tokens"].tolist()),
            frame_ids=tuple(header["frame_ids"]),
            neighbours=header["neighbours"],
            identity=header["identity"],
            ego_motion=arrays["ego_motion"].astype(np.float32, copy=False),
            frame_valid=arrays["frame_valid"].astype(bool, copy=False),
        ).validate()
    except (KeyError, TypeError, ValueError) as error:
        what = f"is no motion file: it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: {what}; write it again with `{_COMMAND} RUN --out {path}`") from error
