"""The constants that all splatting renderers share: those of gsplat 1.5.3, so that every backend draws the same."""

ALPHA_MIN = 1.0 / 255.0
"""A Gaussian that would add less alpha than this to a pixel is skipped there."""

ALPHA_MAX = 0.999
"""Upper bound of alpha in gsplat 1.5.3; the Inria lineage and gsplat 1.6 use 0.99."""

TRANSMITTANCE_MIN = 1e-4
"""Blending stops before the Gaussian that would leave this much light or less."""

EPS2D_PX = 0.3
"""Variance in px^2 that is added to both axes of a projected Gaussian, so that none is thinner than a pixel."""

EXTENT_SIGMAS = 3.33
"""Standard deviations after which even a Gaussian of opacity 1 falls below `ALPHA_MIN`: sqrt(2 ln 255) = 3.329."""

FRUSTUM_MARGIN = 0.3
"""Share of tan(fov / 2) beyond the image edge at which x / z and y / z are clamped in the EWA Jacobian."""

NEAR_M = 0.2
"""Default near plane in metres (Inria's); nearer centres are not drawn."""

OPACITY_MIN = 1e-10
"""Floor of the divisor that turns sum(w z) into a depth, as in gsplat's expected depth."""
