"""Records of a prepared set by row, and all of a shard in turn."""

import functools
import hashlib
import io
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from histo_jax.data.decode import decode_image, decode_into
from histo_jax.data.with_tensorflow import load_tensorflow, plain
from histo_jax.errors import HistoError

if TYPE_CHECKING:
    from histo_jax.data.prepared import Prepared

OPEN_SHARDS = 64  # file handles a reader holds at most
AGAIN = "is the disk full? build it again"
_HEADER = 12  # bytes before a record's payload: length and its checksum
_FRAME = 16  # bytes of a record beside its payload
_TEXT, _NUMBERS = ("slide", "patient"), ("x", "y", "level", "mpp", "label", "target")


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
        what = f"not readable as TFRecord: {plain(error)}"
        raise HistoError(shard, "damaged", what, AGAIN) from error
    if offset != shard.stat().st_size:  # TensorFlow takes a cut header for the end
        raise HistoError(shard, "truncated", f"ends inside the record at byte {offset}", AGAIN)


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
