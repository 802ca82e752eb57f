"""From bytes in a shard to pixels: the part that needs TensorFlow."""

import collections
import contextlib
import functools
import hashlib
import io
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError

if TYPE_CHECKING:
    from histo_jax.data.prepared import Prepared

JPEG = b"\xff\xd8"  # how one begins
CHUNK = 16  # images decoded by one call; big enough to hide the cost of a call
AHEAD = 2  # batches being decoded beside the one that is waited for
Fill = Callable[[Any, np.ndarray], None]  # makes the image of a name, as `decode_into`, on threads
OPEN_SHARDS = 64  # file handles a reader holds at most
AGAIN = "is the disk full? build it again"
_OPERATION = re.compile(r"\{\{.*?\}\} ?| \[Op:.*\].*")
_HEADER = 12  # bytes before a record's payload: length and its checksum
_NOISE = re.compile(rb"[IWE]0000 |WARNING: All log messages before absl")
_FRAME = 16  # bytes of a record beside its payload
_TEXT, _NUMBERS = ("slide", "patient"), ("x", "y", "level", "mpp", "label", "target")


@functools.cache
def load_tensorflow() -> Any:
    """Imports TensorFlow, which takes seconds, and keeps it away from the accelerators.

    Raises:
      HistoError: it can't be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _without_noise():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")  # before any operation: it takes JAX's memory
            tf.constant(0)  # looks for devices now, while nobody has to read of it
    except ImportError as error:
        remedy = "install it, or copy a raw cache here and set data.cache=raw"
        what = f"can't be imported, and decoding needs it: {error}"
        raise HistoError("tensorflow", "no-tensorflow", what, remedy) from error
    return tf


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Keeps back what TensorFlow's C++ logs at import, whatever TF_CPP_MIN_LOG_LEVEL says."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if not _NOISE.match(line):
                    os.write(2, line)


class Reader:
    """Reads encoded images of one set by row, each checked against its sha256. Thread-safe."""

    def __init__(self, prepared: "Prepared"):
        self._prepared, self._shards = prepared, prepared.shards
        self._open = functools.lru_cache(OPEN_SHARDS)(_File)
        self._example = load_tensorflow().train.Example

    def read(self, row: int) -> bytes:
        """The encoded image of a row.

        Raises:
          HistoError: the record is not what the build wrote.
        """
        return _image(self._read(row))

    def fill(self, row: int, out: np.ndarray) -> None:
        """The image of a row; see `decode_into`.

        Raises:
          HistoError: the record is damaged.
        """
        self._decoded(row, lambda encoded: decode_into(encoded, out))

    def image(self, row: int) -> np.ndarray:
        """The image of a row, uint8 [h, w, 3].

        Raises:
          HistoError: the record is damaged.
        """
        return self._decoded(row, decode_image)

    def _decoded(self, row: int, function: Callable[[bytes], Any]) -> Any:
        encoded = self.read(row)
        try:
            return function(encoded)
        except ValueError as error:
            raise self.damaged(row, "does not decode as an image") from error

    def read_mask(self, row: int) -> bytes:
        """The encoded mask of a row, empty where the record has none.

        Raises:
          HistoError: the record is not what the build wrote.
        """
        return _bytes(self._read(row), "mask")

    def _read(self, row: int) -> Any:
        table = self._prepared.table
        shard = self._shards[table["shard"][row]]
        try:
            file = self._open(shard)
            record = os.pread(
                file.descriptor, int(table["length"][row]), int(table["offset"][row]) + _HEADER
            )
            example = self._example.FromString(record)
            digest = hashlib.sha256(_image(example)).hexdigest().encode()
        except Exception as error:  # the parser's own error type is not public
            raise self.damaged(row, f"can't be read: {error}") from error
        if digest != table["sha256"][row]:
            raise self.damaged(row, "differs from what the build wrote")
        return example

    def damaged(self, row: int, what: str) -> HistoError:
        """The error that names shard, key and what to do."""
        table = self._prepared.table
        shard = self._shards[table["shard"][row]]
        remedy = f"run `python -m histo_jax.data verify {self._prepared.path} --deep`"
        return HistoError(shard, "damaged", f"record {table['key'][row]} {what}", remedy)


class _File:
    """An open file that closes when the last user lets go."""

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


def scan_shard(shard: Path, number: int, split: str, columns: dict[str, list]) -> None:
    """Appends what index and card need of every record of a shard to lists in `columns`.

    Raises:
      HistoError: a record is cut, damaged or has no image or key.
    """
    tf = load_tensorflow()
    offset = 0
    try:
        for record in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            row = {
                "shard": number,
                "split": split,
                "offset": offset,
                "length": len(record),
                "key": _bytes(example, "key").decode(),
                "sha256": hashlib.sha256(_image(example)).hexdigest(),
                **{name: _bytes(example, name).decode() for name in _TEXT},
                **{name: _number(example, name) for name in _NUMBERS},
                "size": _size(_image(example)),
                "mask": bool(_bytes(example, "mask")),
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
            offset += _FRAME + len(record)
    except tf.errors.OpError as error:
        what = f"not readable as TFRecord: {_plain(error)}"
        raise HistoError(shard, "damaged", what, AGAIN) from error
    if offset != shard.stat().st_size:  # TensorFlow takes a cut header for the end
        raise HistoError(shard, "truncated", f"ends inside the record at byte {offset}", AGAIN)


def _plain(error: Any) -> str:
    """The first line of TensorFlow's message, without the names of its operations."""
    return _OPERATION.sub("", error.message).strip().partition("\n")[0]


def _image(example: Any) -> bytes:
    return example.features.feature["image"].bytes_list.value[0]


def _size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height by the image's header; None where it has none."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.size
    except OSError:
        return None


def _bytes(example: Any, name: str) -> bytes:
    values = example.features.feature[name].bytes_list.value
    return values[0] if values else b""


def _number(example: Any, name: str) -> float | int | None:
    feature = example.features.feature[name]
    values = feature.int64_list.value or feature.float_list.value
    return values[0] if values else None


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


def tensorflow_image(encoded: bytes) -> np.ndarray:
    """`decode_image` by TensorFlow alone."""
    tf = load_tensorflow()
    try:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        raise ValueError(_plain(error)) from error


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
    pool = ThreadPoolExecutor(cores())
    try:
        for number in numbers:
            some = names(number)
            out = np.empty((len(some), size, size, 3), np.uint8)
            parts = (slice(begin, begin + CHUNK) for begin in range(0, len(some), CHUNK))
            ahead.append((out, [pool.submit(_fill_all, some[p], fill, out[p]) for p in parts]))
            if len(ahead) > AHEAD:
                yield _done(*ahead.popleft())
        while ahead:
            yield _done(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _fill_all(names: Sequence[Any], fill: Fill, out: np.ndarray) -> None:
    for name, place in zip(names, out, strict=True):
        fill(name, place)


def _done(out: np.ndarray, parts: list[Future]) -> np.ndarray:
    for part in parts:
        part.result()
    return out


def parallel_map(dataset: Any, function: Callable) -> Any:
    """`dataset.map` on every core, in order, the function taken as it is (no autograph)."""
    function = load_tensorflow().autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=cores(), deterministic=True)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def numpy_batches(dataset: Any) -> Iterator[Any]:
    """Runs a dataset on its own threads, nothing tuned at run time; yields numpy.

    Raises:
      HistoError: TensorFlow fails.
    """
    tf = load_tensorflow()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.threading.private_threadpool_size = cores()
    options.threading.max_intra_op_parallelism = 1
    iterator = dataset.prefetch(1).with_options(options).as_numpy_iterator()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            what = f"failed: {_plain(error)}"
            raise HistoError("tf.data pipeline", "pipeline", what, "rerun with --debug") from error
        yield batch


def decode_rows(
    prepared: "Prepared", rows: np.ndarray, size: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields uint8[<= batch_size, size, size, 3], the images of `rows` in that order.

    Raises:
      HistoError: a damaged record.
    """
    yield from decode_images(rows, Reader(prepared).fill, size, batch_size)


def decode_images(
    names: Sequence[Any], fill: Fill, size: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields uint8[<= batch_size, size, size, 3], the images in the order of `names`."""
    begins = range(0, len(names), batch_size)
    yield from filled_ahead(lambda at: names[at : at + batch_size], begins, fill, size)
