"""Images of one set in a wanted order, for evaluation."""

from collections.abc import Iterator

import numpy as np

from histo_jax.data import decode, raw
from histo_jax.data.prepared import Prepared


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
        yield from decode.decode_rows(prepared, rows, image_size, batch_size)
        return
    pixels = raw.open_raw(prepared, image_size)
    for begin in range(0, len(rows), batch_size):
        yield pixels[rows[begin : begin + batch_size]]
