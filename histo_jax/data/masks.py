"""Masks as they are stored: one channel of classes, of their image's size."""

import os

import numpy as np
from PIL import Image

from histo_jax.data.record import IGNORE
from histo_jax.errors import HistoError


def read_mask(
    path: str | os.PathLike, image: object, size: tuple[int, int], instances: bool
) -> Image.Image:
    """A mask as a uint8 image: classes, 255 = ignore; with `instances` 1 wherever it is not 0.

    Args:
      path: PNG or TIFF with one channel; a palette image holds its indices.
      image: whose mask it is.
      size: (width, height) it must have.
      instances: numbers are objects, not classes.

    Raises:
      HistoError: `mask`: not one channel, another size, or classes above 255.
    """
    try:
        with Image.open(path, formats=("PNG", "TIFF")) as opened:
            values, mode = np.asarray(opened), opened.mode
    except Exception as error:  # as in open_image
        raise _undecoded(path, error) from error
    if values.ndim != 2 or mode == "F":
        what = f"is of mode {mode}, not one integer channel"
        raise HistoError(path, "mask", what, "store class numbers, not colours")
    _check_size(path, values, image, size)
    if instances:
        values = values != 0
    elif values.max(initial=0) > IGNORE or values.min(initial=0) < 0:
        strange = np.unique(values[(values > IGNORE) | (values < 0)])[:5].tolist()
        what = f"mask of {image} holds the classes {strange}"
        raise HistoError(path, "mask", what, "classes are 0..254; for objects set instance_masks")
    return Image.fromarray(values.astype(np.uint8))


def read_gray(
    path: str | os.PathLike, image: object, size: tuple[int, int], above: int
) -> Image.Image:
    """A mask drawn in gray, JPEG mostly: uint8 image, 1 where it is above `above`, else 0.

    Args:
      path: JPEG, PNG, TIFF or BMP; colours count by their luminance.
      image: whose mask it is.
      size: (width, height) it must have.
      above: of 255.

    Raises:
      HistoError: `mask`: another size, or it does not decode.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG", "TIFF", "BMP")) as opened:
            values = np.asarray(opened.convert("L"))
    except Exception as error:  # as in open_image
        raise _undecoded(path, error) from error
    _check_size(path, values, image, size)
    return Image.fromarray((values > above).astype(np.uint8))


def _undecoded(path: object, error: Exception) -> HistoError:
    return HistoError(path, "mask", f"does not decode: {error}", "fetch the file again")


def _check_size(path: object, values: np.ndarray, image: object, size: tuple[int, int]) -> None:
    if values.shape[::-1] != size:
        what = f"has {values.shape[1]}x{values.shape[0]} pixels, {image} {size[0]}x{size[1]}"
        raise HistoError(path, "mask", what, "give the mask its image's size")
