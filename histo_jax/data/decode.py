"""Bytes to pixels, into the batch itself, on every core."""

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any

import numpy as np
from PIL import Image

from histo_jax.data.cores import cores
from histo_jax.data.with_tensorflow import tensorflow_image

JPEG = b"\xff\xd8"  # how one begins
CHUNK = 16  # images decoded by one call; big enough to hide the cost of a call
AHEAD = 2  # batches being decoded beside the one that is waited for
Fill = Callable[[Any, np.ndarray], None]  # makes the image of a name, as `decode_into`, on threads


def decode_image(encoded: bytes) -> np.ndarray:
    """JPEG or PNG bytes to uint8 [h, w, 3]: TensorFlow's pixels, by whichever decoder is faster.

    Raises:
      ValueError: they do not decode.
    """
    import simplejpeg  # here, for the raw cache to be read without it

    if encoded.startswith(JPEG):
        with contextlib.suppress(ValueError):  # it refuses what is but odd
            return simplejpeg.decode_jpeg(encoded, fastdct=True)  # TensorFlow's DCT
    return tensorflow_image(encoded)


def decode_into(encoded: bytes, out: np.ndarray) -> None:
    """Fills uint8 [size, size, 3]; bilinear with antialias where the image has another size.

    Raises:
      ValueError: the bytes do not decode.
    """
    import simplejpeg

    size = len(out)
    if encoded.startswith(JPEG):
        with contextlib.suppress(ValueError):
            if simplejpeg.decode_jpeg_header(encoded)[:2] == (size, size):
                simplejpeg.decode_jpeg(encoded, fastdct=True, buffer=out)
                return
    image = decode_image(encoded)
    if image.shape[:2] != (size, size):
        image = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    out[:] = image


def decode_images(
    names: Sequence[Any], fill: Fill, size: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields uint8[<= batch_size, size, size, 3], the images in the order of `names`."""
    begins = range(0, len(names), batch_size)
    yield from filled_ahead(lambda at: names[at : at + batch_size], begins, fill, size)


def filled(names: Sequence[Any], fill: Fill, size: int) -> np.ndarray:
    """uint8[len(names), size, size, 3], each image made by `fill`."""
    out = np.empty((len(names), size, size, 3), np.uint8)
    _fill_all(names, fill, out)
    return out


def filled_ahead(
    names: Callable[[int], Sequence[Any]], numbers: Iterable[int], fill: Fill, size: int
) -> Iterator[np.ndarray]:
    """Yields `filled(names(number), fill, size)` in order, made on every core, `AHEAD` ahead.

    Threads write each image where it stays: tf.data would copy it twice.
    """
    ahead: collections.deque = collections.deque()
    pool = ThreadPool(cores())  # its threads are daemons: one that hangs keeps no process alive
    try:
        for number in numbers:
            some = names(number)
            out = np.empty((len(some), size, size, 3), np.uint8)
            parts = (slice(begin, begin + CHUNK) for begin in range(0, len(some), CHUNK))
            ahead.append(
                (out, [pool.apply_async(_fill_all, (some[p], fill, out[p])) for p in parts])
            )
            if len(ahead) > AHEAD:
                yield _done(*ahead.popleft())
        while ahead:
            yield _done(*ahead.popleft())
    finally:
        pool.terminate()
        pool.join()


def _fill_all(names: Sequence[Any], fill: Fill, out: np.ndarray) -> None:
    for name, place in zip(names, out, strict=True):
        fill(name, place)


def _done(out: np.ndarray, parts: list[AsyncResult]) -> np.ndarray:
    for part in parts:
        part.get()
    return out
