"""The features of many slides as one table, read where they lie."""

import dataclasses
import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.features.store import SlideFeatures

BLOCK = 65536  # rows read at once


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Tiles of many slides, row after row in the order of `slides`; nothing is held in memory.

    Attributes:
      slides: opened files, comparable with one another.
      starts: int64 [slides + 1], the row at which each begins.
    """

    slides: tuple[SlideFeatures, ...]
    starts: np.ndarray

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.starts[-1])

    @property
    def width(self) -> int:
        """Numbers a row."""
        return self.slides[0].width

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in turn: the first row's number and float32 [<=size, width]."""
        for start in range(0, self.n, size):
            yield start, self._span(start, min(start + size, self.n))

    def _span(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop - 1; of one slide they are not copied."""
        first, last = self.slide_of(np.array([start, stop - 1]))
        parts = [
            np.asarray(self.slides[i].features[max(start - begin, 0) : stop - begin])
            for i, begin in enumerate(self.starts[first : last + 1].tolist(), first)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def rows(self, at: np.ndarray) -> np.ndarray:
        """float32 [len(at), width] of any rows, in the order asked for."""
        out = np.empty((len(at), self.width), np.float32)
        of = self.slide_of(at)
        for i in np.unique(of):
            out[of == i] = self.slides[i].features[at[of == i] - self.starts[i]]
        return out

    def slide_of(self, at: np.ndarray) -> np.ndarray:
        """int64 [len(at)]: which of `slides` each row is of."""
        return np.searchsorted(self.starts, at, side="right") - 1

    def where(self, row: int) -> tuple[SlideFeatures, int]:
        """The slide of a row, and the row's number in it."""
        i = int(self.slide_of(np.array([row]))[0])
        return self.slides[i], int(row - self.starts[i])

    def picture(self, row: int) -> Image.Image | None:
        """A tile, small, RGB; None where the file was made without pictures."""
        slide, inside = self.where(row)
        [jpeg] = slide.pictures([inside])
        return Image.open(io.BytesIO(jpeg)).convert("RGB") if jpeg else None

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """Text [n]."""
        return np.concatenate([slide.keys for slide in self.slides])


def open_table(*places: Path) -> Table:
    """Opens files of features, or every `*.h5` of a folder in the order of their names.

    Raises:
      HistoError: none there, one that can't be read, or features of two encoders.
    """
    paths = [path for place in places for path in _paths(place)]
    slides = tuple(SlideFeatures(path) for path in paths)
    first = slides[0]
    for slide in slides[1:]:
        check_same(first, slide)
    return Table(slides, np.concatenate([[0], np.cumsum([slide.n for slide in slides])]))


def check_same(one: SlideFeatures, other: SlideFeatures) -> None:
    """Refuses features that can't be compared.

    Raises:
      HistoError: `features-foreign`: another network, layer, weights, image size or scaling.
    """
    names = ("encoder", "layer", "checkpoint", "image size", "scaling")
    pairs = zip(names, one.facts.sees, other.facts.sees, strict=True)
    for name, mine, its in pairs:
        if mine != its:
            what = f"is of {name} {_short(its)}, {one.path} of {_short(mine)}"
            remedy = "extract both with one checkpoint and one tile size"
            raise HistoError(other.path, "features-foreign", what, remedy)


def _short(value: object) -> str:
    return str(value)[:12]


def _paths(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = sorted(place.glob("*.h5"))
    if not found:
        remedy = "make them with `python -m histo_jax.features extract`"
        raise HistoError(place, "missing", "holds no file of features (*.h5)", remedy)
    return found
