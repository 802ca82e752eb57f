"""Files of features of slides that were never scanned: four kinds of tile, one colour each."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.features import store

SIDE = 512  # of a tile, level-0 pixels
ORIGIN = (1024, 2048)  # where the scanned part begins
COLUMNS, ROWS = 8, 6
COLOURS = np.array([(220, 120, 180), (90, 60, 140), (240, 240, 240), (200, 30, 40)], np.uint8)
WIDTH = 16


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def kinds(seed: int) -> np.ndarray:
    """int [ROWS, COLUMNS]: glass around, pen in a corner, tumour in the middle, else stroma."""
    grid = np.zeros((ROWS, COLUMNS), int)
    grid[0], grid[:, -1] = 2, 2
    grid[2:4, 2 : 4 + seed % 2] = 1
    grid[-1, :2] = 3
    return grid


def facts(name: str, **changed) -> store.Facts:
    wide, high = COLUMNS * SIDE, ROWS * SIDE
    known = {
        "slide": name, "source": f"{name}.svs", "encoder": "resnet18", "layer": "pooled",
        "checkpoint": "c" * 64, "patch_size": 224, "patch_size_level0": SIDE, "mpp": 0.5,
        "level0_width": 9000, "level0_height": 9000, "overview_x": ORIGIN[0],
        "overview_y": ORIGIN[1], "overview_width": wide, "overview_height": high,
    }  # fmt: skip
    return store.Facts(**{**known, **changed})


def write(folder: Path, name: str, seed: int = 0, **changed) -> Path:
    """A file of 48 tiles, of features that differ a little within a kind and much between."""
    rng, grid = np.random.default_rng(seed), kinds(seed)
    centres = 4 * np.random.default_rng(7).normal(size=(4, WIDTH))
    of = grid.ravel()
    x = centres[of] + 0.3 * rng.normal(size=(len(of), WIDTH))
    row, column = np.divmod(np.arange(len(of)), COLUMNS)
    coords = np.stack([column, row], 1) * SIDE + ORIGIN
    keys = [f"{name}-0-{a}-{b}" for a, b in coords]
    pictures = [jpeg(np.full((12, 12, 3), COLOURS[kind])) for kind in of]
    overview = np.kron(COLOURS[grid], np.ones((20, 20, 1), np.uint8))
    path = folder / f"{name}.h5"
    store.write(path, facts(name, **changed), x, coords, keys, pictures, jpeg(overview))
    return path
