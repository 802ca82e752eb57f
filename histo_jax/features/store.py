"""One HDF5 file a slide: what an encoder says about its tiles.

`features` float32 [n, width] and `coords` int64 [n, 2] (x, y of the top left corner in level-0
pixels) are what readers of CLAM and TRIDENT look for. Beside them lie `keys` (text, as in records),
`pictures` (JPEG bytes of each tile, small) and `overview` (JPEG bytes of the slide). A set of
patches is one file as well; its coords are 0.
"""

import contextlib
import dataclasses
import functools
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from histo_jax import files
from histo_jax.errors import HistoError

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a file's numbers are of.

    Attributes:
      slide: the slide's name (its file without ending), or that of a prepared set.
      source: path of the slide, or folder of the prepared set.
      encoder, layer: architecture, and which output.
      checkpoint: sha256 of the weights.
      patch_size: pixels a side of what the encoder saw.
      patch_size_level0: the same square in level-0 pixels; 0 for patches.
      mpp: µm per pixel of what the encoder saw; nan where unknown.
      level0_width, level0_height: of the slide in pixels; 0 for patches.
      overview_x, overview_y, overview_width, overview_height: what the overview shows, in level-0
        pixels; 0 for patches.
      scale: mean and deviation by which images were scaled.
      options: digest of how the slide was cut.
      identity: sha256 of the slide, or of what the set holds.
    """

    slide: str
    source: str
    encoder: str
    layer: str
    checkpoint: str
    patch_size: int
    patch_size_level0: int = 0
    mpp: float = math.nan
    level0_width: int = 0
    level0_height: int = 0
    overview_x: int = 0
    overview_y: int = 0
    overview_width: int = 0
    overview_height: int = 0
    scale: str = ""
    options: str = ""
    identity: str = ""

    @property
    def sees(self) -> tuple[str, str, str, int, str]:
        """Features are comparable where this is equal: network, layer, weights, image size and
        the scaling of images."""
        return self.encoder, self.layer, self.checkpoint, self.patch_size, self.scale


class SlideFeatures:
    """A file of features, opened; numbers are read where they are asked for.

    Attributes:
      path: the file.
      facts: what its numbers are of.
      n, width: tiles, and numbers of each.
    """

    def __init__(self, path: Path):
        """Opens and checks a file.

        Raises:
          HistoError: `missing` or `features`: not such a file.
        """
        self.path = path
        with _reading(path) as file:
            said = {name: _plain(value) for name, value in file.attrs.items()}
            if said.get("schema") != SCHEMA:
                raise KeyError(f"its schema is {said.get('schema')}, not {SCHEMA}")
            wanted = [field.name for field in dataclasses.fields(Facts)]
            self.facts = Facts(**{name: said[name] for name in wanted})
            features, coords, keys = file["features"], file["coords"], file["keys"]
            self.n, self.width = features.shape
            sizes = (coords.shape, keys.shape)
            if features.dtype != np.float32 or sizes != ((self.n, 2), (self.n,)):
                raise ValueError(f"{features.dtype}{features.shape}, coords {coords.shape}")
            self._offset = features.id.get_offset() if self.n else 0
            if self._offset is None:
                raise ValueError("its features are not in one piece")

    @functools.cached_property
    def features(self) -> np.ndarray:
        """float32 [n, width], memory-mapped."""
        if not self.n:
            return np.zeros((0, self.width), np.float32)
        shape = (self.n, self.width)
        return np.memmap(self.path, np.float32, "r", offset=self._offset, shape=shape)

    @functools.cached_property
    def coords(self) -> np.ndarray:
        """int64 [n, 2], (x, y) of the top left corner in level-0 pixels."""
        with _reading(self.path) as file:
            return file["coords"][()].astype(np.int64)

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """Text [n]."""
        with _reading(self.path) as file:
            return file["keys"].asstr()[()].astype(np.str_)

    def pictures(self, rows: Sequence[int]) -> list[bytes]:
        """JPEG bytes of these tiles; empty where the file was made without pictures."""
        with _reading(self.path) as file:
            if "pictures" not in file:
                return [b""] * len(rows)
            return [file["pictures"][int(row)].tobytes() for row in rows]

    def overview(self) -> Image.Image | None:
        """The slide, small, RGB; None for a set of patches."""
        with _reading(self.path) as file:
            if "overview" not in file:
                return None
            return Image.open(io.BytesIO(file["overview"][()].tobytes())).convert("RGB")


def write(
    path: Path,
    facts: Facts,
    features: np.ndarray,
    coords: np.ndarray,
    keys: Sequence[str],
    pictures: Sequence[bytes] | None = None,
    overview: bytes | None = None,
) -> None:
    """Writes a file that is whole or absent.

    Args:
      path: `<slide>.h5`.
      facts: what the numbers are of.
      features: float32 [n, width].
      coords: int [n, 2].
      keys: n texts.
      pictures: JPEG bytes of each tile.
      overview: JPEG bytes of the slide.

    Raises:
      HistoError: `write-failed`.
    """
    width, pictured = features.shape[1], pictures is not None
    with writing(path, facts, coords, keys, width, pictured, overview) as file:
        file.add(features, pictures)


class Writer:
    """A file that is being written, some rows at a time."""

    def __init__(self, file: h5py.File):
        self._file, self._done = file, 0

    def add(self, features: np.ndarray, pictures: Sequence[bytes] | None = None) -> None:
        """Writes the next rows: features [b, width], and pictures where the file has some."""
        rows = slice(self._done, self._done + len(features))
        self._file["features"][rows] = features
        for row, jpeg in zip(range(rows.start, rows.stop), pictures or (), strict=False):
            self._file["pictures"][row] = np.frombuffer(jpeg, np.uint8)
        self._done = rows.stop


@contextlib.contextmanager
def writing(
    path: Path,
    facts: Facts,
    coords: np.ndarray,
    keys: Sequence[str],
    width: int,
    pictures: bool = False,
    overview: bytes | None = None,
) -> Iterator[Writer]:
    """A file that appears once the block has added every row; arguments as in `write`.

    Raises:
      HistoError: `write-failed`.
    """
    n = len(keys)
    with files.atomic(path) as raw, h5py.File(raw, "w") as file:
        file.attrs.update({"schema": SCHEMA, **dataclasses.asdict(facts)})
        file.create_dataset("features", (n, width), np.float32)  # one piece: it is mapped
        at = file.create_dataset("coords", data=coords.astype(np.int64), shape=(n, 2))
        at.attrs.update(_coords_attrs(facts))
        file.create_dataset("keys", data=list(keys), shape=(n,), dtype=h5py.string_dtype())
        if pictures:
            file.create_dataset("pictures", (n,), h5py.vlen_dtype(np.uint8))
        if overview is not None:
            file.create_dataset("overview", data=np.frombuffer(overview, np.uint8))
        made = Writer(file)
        yield made
        if made._done != n:
            raise ValueError(f"{path}: {made._done} of {n} rows were added")


def _coords_attrs(facts: Facts) -> dict[str, Any]:
    """The names that readers of such files know (TRIDENT's); magnifications where mpp is known."""
    known = {
        "name": facts.slide,
        "patch_size": facts.patch_size,
        "patch_size_level0": facts.patch_size_level0,
        "overlap": 0,
        "level0_width": facts.level0_width,
        "level0_height": facts.level0_height,
    }
    if facts.patch_size_level0 and not math.isnan(facts.mpp):
        scanned = facts.mpp * facts.patch_size / facts.patch_size_level0
        known["level0_magnification"] = round(10 / scanned)
        known["target_magnification"] = round(10 / facts.mpp)
    return known


class _reading:
    """An HDF5 file, whose faults become one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> h5py.File:
        if not Path(self.path).exists():
            remedy = "make it with `python -m histo_jax.features extract`"
            raise HistoError(self.path, "missing", "no such file of features", remedy)
        try:
            self.file = h5py.File(self.path, "r")
        except OSError as error:
            raise _no_features(self.path, error) from error
        return self.file

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self.file.close()
        if isinstance(error, (OSError, AttributeError, KeyError, TypeError, ValueError)):
            raise _no_features(self.path, error) from error


def _no_features(path: Path, error: BaseException) -> HistoError:
    what = f"is no file of a slide's features: {str(error).splitlines()[0][:120]}"
    return HistoError(path, "features", what, "make it again, it is replaced")


def _plain(value: Any) -> Any:
    """A Python number or text of what h5py gives."""
    return value.item() if isinstance(value, np.generic) else value
