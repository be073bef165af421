"""Colours of the synthetic world's surfaces as functions of a point in the surface's own frame.

A material is a row of `MATERIAL_COLUMNS` numbers (see `gsocc.datasets.world.materials`): kind, Occ3D class, two
colours, longest wavelength, contrast, seed and up to eight parameters of the kind.
"""

import math

from numba import njit

from gsocc.kernels.arrays import F64
from gsocc.kernels.world_noise import clamp, fractal_noise, hash_unit, inside, stripes

KIND_PLAIN, KIND_FACADE, KIND_BRICK, KIND_CAR, KIND_WINDOW_BAND, KIND_STRIPES, KIND_GROUND, KIND_WHEEL = range(8)
PARAMETERS = 11  # column of the first parameter
MATERIAL_COLUMNS = PARAMETERS + 8
OCTAVES = 6

Rgb = tuple[float, float, float]


@njit(cache=True, nogil=True, inline="always")
def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Blend two colours; share 1 gives the second."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


@njit(cache=True, nogil=True)
def surface_colour(
    material: F64, x: float, y: float, z: float, nx: float, ny: float, nz: float, footprint_m: float
) -> Rgb:
    """Return the unlit colour of an object's surface.

    `material` is a row of the material table, x, y, z the point and nx, ny, nz the unit normal in the object's
    frame, `footprint_m` the edge of the patch that the colour is averaged over.
    """
    kind = int(material[0])
    seed = int(material[10])
    a = (material[2], material[3], material[4])
    b = (material[5], material[6], material[7])
    noise = fractal_noise(x, y, z, material[8], OCTAVES, footprint_m, seed)
    grain = clamp(0.5 + material[9] * noise, 0.0, 1.0)
    base = mix(a, b, grain)
    if kind == KIND_PLAIN:
        return base
    along = y if abs(nx) > abs(ny) else x
    p = material[PARAMETERS:]
    if kind == KIND_STRIPES:
        axis = int(p[2])
        coordinate = x if axis == 0 else (y if axis == 1 else (z if axis == 2 else x + y + z))
        light = 0.8 + 0.4 * grain
        share = stripes(coordinate, p[0], p[1], footprint_m)
        return mix((a[0] * light, a[1] * light, a[2] * light), (b[0] * light, b[1] * light, b[2] * light), share)
    if kind == KIND_BRICK:
        return _brick(base, along, z, nz, p[0], footprint_m, seed)
    if kind == KIND_FACADE:
        return _facade(base, p, along, z, nz, footprint_m, seed)
    if kind == KIND_CAR:
        return _car(base, p, x, y, z, nx, ny, footprint_m)
    if kind == KIND_WINDOW_BAND:
        return _window_band(base, p, x, y, z, nx, ny, nz, footprint_m)
    if kind == KIND_WHEEL:
        return _wheel(base, p, x, z, ny, footprint_m)
    return base


@njit(cache=True, nogil=True)
def _wheel(base: Rgb, p: F64, x: float, z: float, ny: float, footprint_m: float) -> Rgb:
    """Put a bright rim into the flanks of wheels.

    Parameters: radius of the wheel, share of it that is rim, x of up to three axles (1e3 for none), spokes.
    """
    if abs(ny) < 0.7:
        return base
    dx = min(abs(x - p[2]), abs(x - p[3]), abs(x - p[4]))
    away = math.sqrt(dx * dx + (z - p[0]) * (z - p[0]))
    rim = inside(away, 0.12 * p[0], p[1] * p[0], footprint_m)
    angle = math.atan2(z - p[0], dx) / (2 * math.pi) * p[5]
    spoke = stripes(angle, 1.0, 0.5, footprint_m / max(2 * math.pi * away / p[5], 0.01))
    return mix(base, (0.66, 0.67, 0.69), rim * (0.35 + 0.55 * spoke))


@njit(cache=True, nogil=True)
def _brick(base: Rgb, along: float, z: float, nz: float, course_m: float, footprint_m: float, seed: int) -> Rgb:
    """Lay courses of bricks: mortar joints, and each brick a little lighter or darker than the next."""
    if abs(nz) > 0.7:
        return base
    row = math.floor(z / course_m)
    shift = along / (3.0 * course_m) + 0.5 * (row % 2)
    column = math.floor(shift)
    mortar = max(
        stripes(z, course_m, 0.12 * course_m, footprint_m),
        stripes(shift * 3.0 * course_m, 3.0 * course_m, 0.12 * course_m, footprint_m),
    )
    fade = clamp(2.0 * course_m / footprint_m - 1.0, 0.0, 1.0)
    tone = 1.0 + 0.5 * fade * (hash_unit(int(column), int(row), 7, seed) - 0.5)
    return mix((base[0] * tone, base[1] * tone, base[2] * tone), (0.72, 0.70, 0.66), 0.8 * mortar)


@njit(cache=True, nogil=True)
def _facade(base: Rgb, p: F64, along: float, z: float, nz: float, footprint_m: float, seed: int) -> Rgb:
    """Cut rows of framed windows into a brick or plaster wall.

    Parameters: storey height, window pitch, window width, window height, height of the sill above the floor,
    brick course (0 for plaster).
    """
    if abs(nz) > 0.5:
        return (0.55 * base[0] + 0.1, 0.55 * base[1] + 0.1, 0.55 * base[2] + 0.1)
    storey, pitch, width, height, sill = p[0], p[1], p[2], p[3], p[4]
    wall = base
    if p[5] > 0.0:
        wall = _brick(base, along, z, nz, p[5], footprint_m, seed)
    floor = math.floor(z / storey)
    column = math.floor(along / pitch + 0.5)
    u, v = along - column * pitch, z - floor * storey
    chance = hash_unit(int(column), int(floor), 3, seed)
    if floor == 0 and chance < 0.3:  # a door instead of a window
        sill, height, width = 0.0, 2.1, min(width, 1.0)
    frame = inside(u, -0.5 * width - 0.1, 0.5 * width + 0.1, footprint_m)
    frame *= inside(v, sill - 0.1, sill + height + 0.1, footprint_m)
    glass = inside(u, -0.5 * width, 0.5 * width, footprint_m) * inside(v, sill, sill + height, footprint_m)
    bar = inside(u, -0.03, 0.03, footprint_m) + inside(v, sill + 0.6 * height, sill + 0.6 * height + 0.06, footprint_m)
    glass *= 1.0 - 0.8 * min(bar, 1.0)
    tone = hash_unit(int(column), int(floor), 11, seed)
    pane = mix((0.10, 0.14, 0.20), (0.45, 0.52, 0.58), tone * (0.5 + 0.5 * clamp((v - sill) / height, 0.0, 1.0)))
    if sill == 0.0:
        pane = mix((0.25, 0.12, 0.08), (0.12, 0.25, 0.32), tone)
    band = stripes(z, storey, 0.18, footprint_m)
    wall = mix(wall, (0.80, 0.78, 0.74), 0.6 * band)
    return mix(mix(wall, (0.86, 0.85, 0.82), frame), pane, glass)


@njit(cache=True, nogil=True)
def _car(base: Rgb, p: F64, x: float, y: float, z: float, nx: float, ny: float, footprint_m: float) -> Rgb:
    """Paint windows, lamps, a number plate, seams and sills on a car body.

    Parameters: z of the belt line, z of the roof, x of the glasshouse at the belt (rear, front), x of the roof
    (rear, front), unused, half width.
    """
    belt, roof = p[0], p[1]
    upper = clamp((z - belt) / max(roof - belt, 0.1), 0.0, 1.0)
    rear = p[2] + (p[4] - p[2]) * upper
    front = p[3] + (p[5] - p[3]) * upper
    colour = base
    low, high = belt + 0.04, roof - 0.07
    glass = inside(z, low, high, footprint_m)
    if abs(ny) > abs(nx):
        glass *= inside(x, rear + 0.12, front - 0.12, footprint_m)
        middle = 0.5 * (p[4] + p[5])
        glass *= 1.0 - inside(x, middle - 0.05, middle + 0.05, footprint_m)
        seam = inside(x, middle - 0.015, middle + 0.015, footprint_m)
        seam += inside(x, p[3] - 0.25, p[3] - 0.22, footprint_m) + inside(x, p[2] + 0.3, p[2] + 0.33, footprint_m)
        colour = mix(colour, (0.05, 0.05, 0.05), 0.7 * min(seam, 1.0) * inside(z, 0.25, belt, footprint_m))
    elif belt + 0.02 < z:
        glass *= inside(y, -p[7] + 0.25, p[7] - 0.25, footprint_m)
    else:
        lamp = inside(z, 0.52, 0.74, footprint_m) * inside(abs(y), p[7] - 0.45, p[7] - 0.06, footprint_m)
        colour = mix(colour, (0.95, 0.94, 0.86) if x > 0 else (0.75, 0.05, 0.04), lamp)
        plate = inside(z, 0.42, 0.54, footprint_m) * inside(y, -0.26, 0.26, footprint_m)
        colour = mix(colour, (0.92, 0.90, 0.78), plate)
        grille = inside(z, 0.56, 0.70, footprint_m) * inside(y, -0.5, 0.5, footprint_m) * (1.0 if x > 0 else 0.0)
        colour = mix(colour, (0.08, 0.08, 0.09), grille)
    sky = 0.35 + 0.4 * upper
    colour = mix(colour, (0.16 * sky + 0.04, 0.20 * sky + 0.05, 0.26 * sky + 0.06), glass)
    trim = inside(z, 0.0, 0.32, footprint_m)
    return mix(colour, (0.10, 0.10, 0.11), trim)


@njit(cache=True, nogil=True)
def _window_band(
    base: Rgb, p: F64, x: float, y: float, z: float, nx: float, ny: float, nz: float, footprint_m: float
) -> Rgb:
    """Paint a band of windows around a bus or the cab of a truck.

    Parameters: z of the band (low, high), pitch of the pillars, x of the band (rear, front), z of a stripe, its
    height, half width.
    """
    if abs(nz) > 0.7:
        return base
    band = inside(z, p[0], p[1], footprint_m)
    if abs(ny) > abs(nx):
        band *= inside(x, p[3], p[4], footprint_m) * (1.0 - stripes(x, p[2], 0.12, footprint_m))
    else:
        band *= inside(y, -p[7] + 0.15, p[7] - 0.15, footprint_m)
        lamp = inside(z, 0.6, 0.85, footprint_m) * inside(abs(y), p[7] - 0.5, p[7] - 0.1, footprint_m)
        base = mix(base, (0.95, 0.93, 0.85) if nx > 0 else (0.75, 0.06, 0.04), lamp)
    strip = inside(z, p[5], p[5] + p[6], footprint_m)
    colour = mix(base, (0.92, 0.92, 0.90), 0.9 * strip)
    return mix(colour, (0.13, 0.16, 0.20), band)
