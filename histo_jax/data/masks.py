"""Masks as they are stored: one channel of classes, of their image's size."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from histo_jax.data.record import IGNORE, check_end
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
    values, mode = _opened(path, ("PNG", "TIFF"), image, size)
    if values.ndim != 2 or mode == "F":
        what = f"is of mode {mode}, not one integer channel"
        raise HistoError(path, "mask", what, "store class numbers, not colours")
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
    values, _ = _opened(path, ("JPEG", "PNG", "TIFF", "BMP"), image, size, "L")
    return Image.fromarray((values > above).astype(np.uint8))


def _opened(
    path: str | os.PathLike,
    formats: tuple[str, ...],
    image: object,
    size: tuple[int, int],
    mode: str | None = None,
) -> tuple[np.ndarray, str]:
    """Pixels [h, w, …] and mode as stored, converted to `mode` where one is given."""
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            if opened.size != size:  # before a pixel is decoded
                across, down = opened.size
                what = f"has {across}x{down} pixels, {image} {size[0]}x{size[1]}"
                raise HistoError(path, "mask", what, "give the mask its image's size")
            if (count := getattr(opened, "n_frames", 1)) > 1:
                raise HistoError(path, "mask", f"holds {count} images", "give one mask a file")
            check_end(opened, data)
            return np.asarray(opened.convert(mode) if mode else opened), opened.mode
    except HistoError:
        raise
    except UnidentifiedImageError as error:
        what = f"no {' or '.join(formats)}: begins {data[:8]!r}"
        raise HistoError(path, "mask", what, "store masks as PNG") from error
    except Exception as error:  # as in open_image
        what = f"does not decode: {error}"
        raise HistoError(path, "mask", what, "fetch the file again") from error
