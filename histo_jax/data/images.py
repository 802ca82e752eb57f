"""Images and masks of one set in a wanted order, for evaluation."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from histo_jax.data import decode, raw
from histo_jax.data.cores import cores
from histo_jax.data.prepared import Prepared
from histo_jax.data.reader import Reader
from histo_jax.errors import HistoError


def read_images(
    prepared: Prepared, rows: np.ndarray, image_size: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields uint8[<= batch_size, size, size, 3], the images of `rows` of the index in that order.

    Takes the raw cache where there is one, else reads and decodes the records.

    Raises:
      HistoError: a damaged record or cache.
    """
    rows = np.asarray(rows, np.int64)
    if not raw.has_raw(prepared, image_size):
        fill = Reader(prepared).fill
        yield from decode.decode_images(rows, fill, image_size, batch_size)
        return
    pixels = raw.open_raw(prepared, image_size)
    for begin in range(0, len(rows), batch_size):
        yield pixels[rows[begin : begin + batch_size]]


def read_whole(prepared: Prepared, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields uint8 [h, w, 3], the images of `rows` of the index as large as they are stored.

    Raises:
      HistoError: a damaged record.
    """
    return each(prepared, rows, lambda image: image)


def each(prepared: Prepared, rows: np.ndarray, function: Callable) -> Iterator[Any]:
    """Yields `function` of each image that `read_whole` would give, computed on all cores."""
    reader = Reader(prepared)
    return _each(lambda row: function(reader.image(row)), rows)


def read_masks(
    prepared: Prepared, rows: np.ndarray, size: int | None = None
) -> Iterator[np.ndarray]:
    """Yields uint8 [h, w], or [size, size] by nearest pixels: the masks of `rows`, 255 = ignore.

    Raises:
      HistoError: a record without mask, or a damaged one.
    """
    reader = Reader(prepared)

    def read(row: int) -> np.ndarray:
        encoded = reader.read_mask(row)
        if not encoded:
            what = f"record {prepared.table['key'][row]} has no mask"
            remedy = "put <name>.png for each image into masks/ and build again"
            raise HistoError(prepared.path, "no-masks", what, remedy)
        try:
            mask = np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))
        except Exception as error:  # decoders raise whatever they like on damaged input
            raise reader.damaged(row, "has a mask that does not decode") from error
        return mask if size is None else nearest(mask, size)

    return _each(read, rows)


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """The mask [h, w] at [size, size]: the pixel under each centre."""
    y, x = ((2 * np.arange(size) + 1) * n // (2 * size) for n in mask.shape)
    return mask[y[:, None], x]


def _each(function: Callable[[int], Any], rows: np.ndarray) -> Iterator[Any]:
    """`function` of every row in that order, on all cores."""
    with ThreadPoolExecutor(cores()) as pool:
        for begin in range(0, len(rows), decode.CHUNK):
            yield from pool.map(function, rows[begin : begin + decode.CHUNK].tolist())
