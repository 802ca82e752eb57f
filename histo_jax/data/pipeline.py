"""From a mixture of sets to batches: what step s reads is a pure function of (seed, s)."""

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from histo_jax.data import decode, raw, with_tensorflow
from histo_jax.data.mixture import Mixture
from histo_jax.data.order import epoch_order
from histo_jax.data.reader import Reader
from histo_jax.errors import HistoError

FIELD = "config.data.batch_size"


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; without it only `cache="raw"` with device views runs."""
    return importlib.util.find_spec("tensorflow") is not None


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch: the last partial one is dropped.

    Raises:
      HistoError: fewer images than one batch.
    """
    if batch_size < 1:
        raise HistoError(FIELD, "batch", f"{batch_size} images a batch", "at least 1")
    if images < batch_size:
        what = f"{batch_size} images a batch, but there are only {images}"
        raise HistoError(FIELD, "batch", what, f"at most {images}")
    return images // batch_size


def step_images(mixture: Mixture, seed: int, batch_size: int) -> Callable[[int], np.ndarray]:
    """Returns `images(step) -> int64[batch_size]`, what the global batch of a step holds.

    `mixture.locate` turns them into sets and rows.
    """
    per_epoch = steps_per_epoch(mixture.n, batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return epoch_order(seed, epoch, mixture.sizes, mixture.weights)

    def images(step: int) -> np.ndarray:
        epoch, k = divmod(step, per_epoch)
        return order(epoch)[k * batch_size : (k + 1) * batch_size]

    return images


def record_reader(mixture: Mixture) -> decode.Fill:
    """Opens the records of all sets: `fill((set, row), out)`, see `histo_jax.data.decode`."""
    readers = [Reader(s) for s in mixture.sets]
    return lambda at, out: readers[at[0]].fill(at[1], out)


def raw_reader(mixture: Mixture, image_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Opens the raw caches of all sets: `read(images int64[m]) -> uint8[m, size, size, 3]`.

    Raises:
      HistoError: a cache is missing, damaged or another set's.
    """
    maps = [raw.open_raw(s, image_size) for s in mixture.sets]

    def read(images: np.ndarray) -> np.ndarray:
        which, rows = mixture.locate(images)
        if len(maps) == 1:
            return maps[0][rows]
        out = np.empty((len(rows), image_size, image_size, 3), np.uint8)
        for i in np.unique(which):
            out[which == i] = maps[i][rows[which == i]]
        return out

    return read


def batches(
    mixture: Mixture,
    *,
    split: str,
    seed: int,
    image_size: int,
    batch_size: int,
    cache: str,
    start_step: int,
    total_steps: int,
    process_index: int = 0,
    process_count: int = 1,
    views: Callable | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this process's part of the batches of steps `start_step` … `total_steps - 1`.

    Args:
      mixture: what to read, opened with the same `split`.
      seed: of the order.
      image_size: pixels a side of the images.
      batch_size: images of a global batch.
      cache: `"none"` decodes records, `"raw"` copies from the memory map; the pixels are equal.
        `"device"` leaves them to whoever holds them.
      process_index: this process reads the positions [index * b, (index + 1) * b) of every global
        batch, b = batch_size // process_count.
      views: `views(uint8[m, s, s, 3], step int32[], index int32[m]) -> float32[m, 2, s, s, 3]`, a
        JAX function, run inside tf.data on the host's cores.

    Yields:
      `index` int32[b], positions in the global batch, and `image` uint8[b, size, size, 3], or with
      `views` instead `views` float32[b, 2, size, size, 3], or with `"device"` `row` int32[b], the
      images' numbers in the mixture.

    Raises:
      HistoError: at the call: too few images, a missing cache; while iterating: a damaged record.
    """
    if split != mixture.split:
        what = f"is {split}, the mixture was opened with {mixture.split}"
        raise HistoError("config.data.split", "split", what)
    if batch_size % process_count:
        nearest = max(1, round(batch_size / process_count)) * process_count
        what = f"{batch_size} images can't be shared equally by {process_count} processes"
        raise HistoError(FIELD, "batch", what, f"the nearest that can: {nearest}")
    images = step_images(mixture, seed, batch_size)
    local = batch_size // process_count
    index = np.arange(process_index * local, (process_index + 1) * local, dtype=np.int32)
    index.flags.writeable = False  # every batch shares it
    steps = (start_step, total_steps)

    def here(step: int, part: slice = slice(None)) -> np.ndarray:
        return images(step)[index][part]

    if cache == "device":
        return ({"row": here(step).astype(np.int32), "index": index} for step in range(*steps))
    if cache == "none":
        fill = record_reader(mixture)

        def names(*at: Any) -> list[tuple[int, int]]:
            return [*zip(*mixture.locate(here(*at)), strict=True)]

        def make(*at: Any) -> np.ndarray:
            return decode.filled(names(*at), fill, image_size)

        if views is None:
            made = decode.filled_ahead(names, range(*steps), fill, image_size)
            return ({"image": image, "index": index} for image in made)
    elif cache == "raw":
        read = raw_reader(mixture, image_size)

        def make(*at: Any) -> np.ndarray:
            return read(here(*at))

        if views is None:
            return ({"image": make(step), "index": index} for step in range(*steps))
    else:
        what = f"{cache!r} is not none, raw or device"
        raise HistoError("config.data.cache", "config", what)
    return _views_on_host(make, steps, index, image_size, views)


def _views_on_host(
    make: Callable[[int, slice], np.ndarray],
    steps: tuple[int, int],
    index: np.ndarray,
    size: int,
    views: Callable,
) -> Iterator[dict[str, np.ndarray]]:
    """Makes parts of a step's images, and their views, on every core, by tf.data."""
    tf, inside = with_tensorflow.load_tensorflow(), as_tensorflow(views)
    local = len(index)
    chunk = max(d for d in range(1, decode.CHUNK + 1) if local % d == 0)
    parts = local // chunk
    failed: dict[int, Exception] = {}  # by part: TensorFlow would keep no more than their text

    def some(number: np.ndarray) -> np.ndarray:
        step, part = divmod(int(number), parts)
        try:
            return make(step, slice(part * chunk, (part + 1) * chunk))
        except Exception as error:
            failed[int(number)] = error
            raise

    def pairs(number: Any) -> Any:
        images = tf.numpy_function(some, [number], tf.uint8)
        step = tf.cast(number // parts, tf.int32)
        first = tf.cast(index[0] + number % parts * chunk, tf.int32)
        images = tf.ensure_shape(images, (chunk, size, size, 3))
        return inside(images, step, first + tf.range(chunk))

    numbers = tf.data.Dataset.range(steps[0] * parts, steps[1] * parts)
    dataset = with_tensorflow.parallel_map(numbers, pairs).batch(parts, drop_remainder=True)
    try:
        for batch in with_tensorflow.numpy_batches(dataset):
            yield {"views": batch.reshape(local, *batch.shape[2:]), "index": index}
    except HistoError:
        if failed:
            raise failed[min(failed)] from None
        raise


def as_tensorflow(views: Callable) -> Callable:
    """The same program as a TensorFlow function for the CPU, whatever JAX's own backend is."""
    from jax.experimental import jax2tf

    return jax2tf.convert(views, with_gradient=False, native_serialization_platforms=("cpu",))
