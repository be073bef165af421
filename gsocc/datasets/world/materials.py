"""The material table of a scene: one row of numbers per look, read by the texture kernels."""

from collections.abc import Sequence

import numpy as np

from gsocc.kernels.world_texture import (
    KIND_BRICK,
    KIND_CAR,
    KIND_FACADE,
    KIND_GROUND,
    KIND_PLAIN,
    KIND_STRIPES,
    KIND_WHEEL,
    KIND_WINDOW_BAND,
    MATERIAL_COLUMNS,
    PARAMETERS,
)
from gsocc.labels import OCC3D_ID

Colour = tuple[float, float, float]

KINDS: dict[str, int] = {
    "plain": KIND_PLAIN,
    "facade": KIND_FACADE,
    "brick": KIND_BRICK,
    "car": KIND_CAR,
    "window_band": KIND_WINDOW_BAND,
    "stripes": KIND_STRIPES,
    "ground": KIND_GROUND,
    "wheel": KIND_WHEEL,
}


class MaterialTable:
    """Collects the materials of a scene; row 0 is the ground."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._rows: list[np.ndarray] = []
        self.add("ground", "driveable_surface", (0.4, 0.4, 0.4))

    def add(
        self,
        kind: str,
        class_name: str,
        colour: Colour,
        second: Colour | None = None,
        *,
        wavelength_m: float = 1.2,
        contrast: float = 0.5,
        parameters: Sequence[float] = (),
    ) -> int:
        """Add a material and return its row.

        Args:
            kind: Name from `KINDS`.
            class_name: Occ3D class.
            colour: RGB in 0..1.
            second: The colour that noise blends towards; a darker `colour` where it is not given.
            wavelength_m: Longest wavelength of the noise.
            contrast: How strongly noise blends; 0 gives a flat mean of the two colours.
            parameters: What the kind asks for.
        """
        row = np.zeros(MATERIAL_COLUMNS)
        row[0], row[1] = KINDS[kind], OCC3D_ID[class_name]
        row[2:5] = second if second is not None else [0.45 * v for v in colour]
        row[5:8] = colour
        row[8:10] = wavelength_m, contrast
        row[10] = int(self._rng.integers(1, 1 << 20))
        row[PARAMETERS : PARAMETERS + len(parameters)] = parameters
        self._rows.append(row)
        return len(self._rows) - 1

    def array(self) -> np.ndarray:
        """Return the table, (M, MATERIAL_COLUMNS) float64."""
        return np.stack(self._rows)
