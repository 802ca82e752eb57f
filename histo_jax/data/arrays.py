"""Sets whose images lie in one numpy array."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histo_jax.errors import HistoError


def read(path: Path) -> Iterator[np.ndarray]:
    """Yields the images of a file of [n, h, w, 3], values 0 to 255 of any type, as uint8 [h, w, 3].

    The file is mapped, not loaded.

    Raises:
      HistoError: `damaged`: no such array, or other values.
    """
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        remedy = "fetch the file again"
        raise HistoError(path, "damaged", f"is no numpy array: {error}", remedy) from error
    if images.ndim != 4 or images.shape[3] != 3:
        raise HistoError(path, "damaged", f"is of shape {images.shape}, not [n, h, w, 3]")
    for number in range(len(images)):
        image = np.asarray(images[number], np.float64)
        if not (image.min() >= 0 and image.max() <= 255):  # false for nan, too
            raise HistoError(path, "damaged", f"image {number} has values beyond 0 .. 255")
        yield np.rint(image).astype(np.uint8)
