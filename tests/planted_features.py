"""Files of features with planted neighbours, for the tests of search and of choosing."""

import io
import itertools

import numpy as np
from PIL import Image

from histo_jax.features import store
from histo_jax.features.table import Table, open_table

WIDTH, SIDE = 12, 64  # numbers a tile, level-0 pixels a tile
COLOURS = [(200, 80, 160), (120, 60, 150), (230, 215, 225)]


def jpeg(colour, side=16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "JPEG")
    return file.getvalue()


def facts(slide: str, **known) -> store.Facts:
    made = {
        "encoder": "resnet_tiny", "layer": "pooled", "checkpoint": "abc", "patch_size": 32,
        "patch_size_level0": SIDE, "mpp": 0.5, "overview_width": 40 * SIDE,
        "overview_height": 30 * SIDE,
    }  # fmt: skip
    return store.Facts(slide=slide, source="", **made | known)


def write(folder, x, *, slides=3, pictures=True, keys=None, **known) -> Table:
    """Rows in `slides` files `s0.h5`, …; keys are `k<row>` or given, colours row modulo 3."""
    keys = keys or [f"k{row:04d}" for row in range(len(x))]
    bounds = np.linspace(0, len(x), slides + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        rows = np.arange(start, stop)
        coords = np.stack([rows % 40, rows // 40], 1) * SIDE
        made = [jpeg(COLOURS[row % 3]) for row in rows] if pictures else None
        overview = jpeg((240, 240, 240), 40) if pictures else None
        path = folder / f"s{number}.h5"
        store.write(
            path, facts(f"s{number}", **known), x[rows], coords, keys[start:stop], made, overview
        )
    return open_table(folder)


def blobs(n=120, classes=3, seed=0, apart=6.0) -> np.ndarray:
    """float32 [n, WIDTH], row i about the centre of class i modulo `classes`."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, WIDTH)) * apart
    return (centres[np.arange(n) % classes] + rng.normal(size=(n, WIDTH))).astype(np.float32)
