"""Class lists, palettes and maps between label sets: their only place.

Occ3D-nuScenes has 17 semantic classes, 0 to 16, and 17 for free space. The 2-D semantic files that the
published systems train on use ids of their own ("raw ids" below); `RAW_TO_OCC3D` maps them.
"""

import numpy as np

OCC3D_CLASSES: tuple[str, ...] = (
    "others",
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction_vehicle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "trailer",
    "truck",
    "driveable_surface",
    "other_flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
FREE = 17  # Occ3D's id of free space; in 2-D labels the same id stands for sky
IGNORE = -1  # a pixel without a label; carries no loss
NUM_OCC3D_LABELS = 18  # 17 classes and free

OCC3D_ID: dict[str, int] = {name: i for i, name in enumerate(OCC3D_CLASSES)}

# The 15 classes of the self-supervised tables: `others` and `other_flat` have no 2-D pseudo labels.
OCC3D_15: tuple[int, ...] = tuple(i for i in range(17) if OCC3D_CLASSES[i] not in ("others", "other_flat"))
OCC3D_17: tuple[int, ...] = tuple(range(17))

GROUND_CLASSES: tuple[int, ...] = tuple(
    OCC3D_ID[name] for name in ("driveable_surface", "other_flat", "sidewalk", "terrain")
)

# Index: raw id 0..16 of the 2-D label files (see gsocc.datasets.semantic_labels). -1 is handled apart.
RAW_TO_OCC3D = np.array([0, 4, 11, 3, 10, 14, 16, 13, 2, 1, 7, 15, 6, 5, 9, 8, 17], dtype=np.int64)
RAW_NAMES: tuple[str, ...] = (
    "unused",
    "sedan",
    "highway",
    "bus",
    "truck",
    "terrain",
    "tree",
    "sidewalk",
    "bicycle",
    "barrier",
    "person",
    "building",
    "motorcycle",
    "crane",
    "trailer",
    "cone",
    "sky",
)

# RGB in 0..255, the colours that Occ3D and its followers draw with; the last row is free space (sky in images).
PALETTE = np.array(
    [
        [0, 0, 0],
        [112, 128, 144],
        [220, 20, 60],
        [255, 127, 80],
        [255, 158, 0],
        [233, 150, 70],
        [255, 61, 99],
        [0, 0, 230],
        [47, 79, 79],
        [255, 140, 0],
        [255, 99, 71],
        [0, 207, 191],
        [175, 0, 75],
        [75, 0, 75],
        [112, 180, 60],
        [222, 184, 135],
        [0, 175, 0],
        [235, 243, 250],
    ],
    dtype=np.uint8,
)
