"""From bytes in a shard to pixels: the part that needs TensorFlow."""

import contextlib
import functools
import hashlib
import io
import itertools
import math
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError

if TYPE_CHECKING:
    from histo_jax.data.prepared import Prepared

CHUNK = 16  # images decoded by one call; big enough to hide the cost of a call
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


def decode_image(encoded: Any, size: int) -> Any:
    """JPEG or PNG bytes to uint8[size, size, 3]; bilinear with antialias where the size differs.

    A TensorFlow graph function: the argument is a scalar string tensor.
    """
    tf = load_tensorflow()
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def resized() -> Any:
        pixels = tf.image.resize(image, (size, size), method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    same = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    return tf.ensure_shape(tf.cond(same, lambda: image, resized), (size, size, 3))


def decoded_chunks(chunks: tuple[int, int], fetch: Callable[[int], list[bytes]], size: int) -> Any:
    """Dataset of uint8[m, size, size, 3]: chunk number c holds the m images of `fetch(c)`."""
    tf = load_tensorflow()

    def read(chunk: Any) -> Any:
        encoded = tf.numpy_function(lambda c: np.array(fetch(int(c)), object), [chunk], tf.string)
        return tf.ensure_shape(encoded, [None])

    def decode(encoded: Any) -> Any:
        return tf.map_fn(lambda e: decode_image(e, size), encoded, fn_output_signature=tf.uint8)

    return parallel_map(parallel_map(tf.data.Dataset.range(*chunks), read), decode)


def parallel_map(dataset: Any, function: Callable) -> Any:
    """`dataset.map` on every core, in order, the function taken as it is (no autograph)."""
    function = load_tensorflow().autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=cores(), deterministic=True)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def numpy_batches(dataset: Any, blame: Callable[[int], None]) -> Iterator[Any]:
    """Runs a dataset on its own threads, nothing tuned at run time; yields numpy.

    When TensorFlow fails at batch number i, `blame(i)` is asked to raise the error that names the
    record; TensorFlow's own names neither file nor record.
    """
    tf = load_tensorflow()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.threading.private_threadpool_size = cores()
    options.threading.max_intra_op_parallelism = 1
    iterator = dataset.prefetch(1).with_options(options).as_numpy_iterator()
    for number in itertools.count():
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            blame(number)
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
    reader = Reader(prepared)
    blame = functools.partial(check_rows, reader)
    yield from decode_images(rows, reader.read, size, batch_size, blame)


def decode_images(
    names: Sequence[Any],
    read: Callable[[Any], bytes],
    size: int,
    batch_size: int,
    blame: Callable[[Sequence[Any]], None],
) -> Iterator[np.ndarray]:
    """Yields uint8[<= batch_size, size, size, 3], the images in the order of `names`.

    Args:
      names: of the images, for `read`.
      read: the encoded image of a name; called by many threads.
      size, batch_size: pixels a side, and images at once.
      blame: is given names among which one failed, to raise what is wrong with it.
    """
    step = math.gcd(batch_size, CHUNK)
    chunks = [names[begin : begin + step] for begin in range(0, len(names), step)]

    def fetch(number: int) -> list[bytes]:
        return [read(name) for name in chunks[number]]

    dataset = decoded_chunks((0, len(chunks)), fetch, size)
    made = numpy_batches(dataset, lambda number: blame(chunks[number]))
    while parts := list(itertools.islice(made, batch_size // step)):
        yield np.concatenate(parts)


def check_rows(reader: Reader, rows: np.ndarray) -> None:
    """Reads and decodes each row by itself.

    Raises:
      HistoError: the first that fails.
    """
    tf = load_tensorflow()
    for row in rows:
        try:
            tf.io.decode_image(reader.read(row), channels=3, expand_animations=False)
        except tf.errors.OpError as error:
            raise reader.damaged(row, "does not decode as an image") from error
