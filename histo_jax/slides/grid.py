"""Where tiles lie on a slide, and in which order they are tried."""

import dataclasses

import numpy as np

from histo_jax.slides.reasons import refusal
from histo_jax.slides.rule import TileRule
from histo_jax.slides.source import Slide

TOLERANCE = 0.05  # a level this near the wanted mpp is taken as it is
MOST_SIDE = 8192  # pixels read for one tile
MOST_CELLS = 2**26  # of a grid


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where a rule puts tiles on a slide: `side` pixels of `level` become `size`, every `stride`
    level-0 pixels from (`x`, `y`) on, `columns` x `rows` of them, at `mpp` once stored."""

    level: int
    side: int
    stride: float
    x: int
    y: int
    columns: int
    rows: int
    mpp: float | None

    def corner(self, cell: int) -> tuple[int, int]:
        """Top-left level-0 pixel of a cell; cells count row by row."""
        row, column = divmod(cell, self.columns)
        return self.x + round(column * self.stride), self.y + round(row * self.stride)


def grid_of(slide: Slide, rule: TileRule) -> Grid:
    """Chooses the level (the coarsest that is fine enough) and lays whole tiles over the bounds.

    Raises:
      HistoError: `mpp-missing`, `mpp-too-coarse`, `mpp-too-far` or `grid-too-large`.
    """
    level, side, mpp = 0, rule.size, slide.mpp
    if rule.mpp is not None:
        level, side, mpp = _level_for(slide, rule)
    stride = side * slide.downsamples[level]
    x, y, width, height = slide.bounds
    # A level's own size is rounded: a hundredth of a pixel may be missing at the end.
    columns, rows = (int((extent + 0.01) / stride) for extent in (width, height))
    if columns * rows > MOST_CELLS:
        raise refusal(slide.path, "grid-too-large", f"a grid of {columns}x{rows} tiles")
    return Grid(level, side, stride, x, y, columns, rows, mpp)


def _level_for(slide: Slide, rule: TileRule) -> tuple[int, int, float]:
    """Level, pixels to read, and mpp of the stored tile."""
    if slide.mpp is None:
        raise refusal(slide.path, "mpp-missing", f"no mpp in the file, but {rule.mpp:g} is wanted")
    scales = [rule.mpp / (slide.mpp * factor) for factor in slide.downsamples]  # wanted / level's
    fine = [level for level, scale in enumerate(scales) if scale >= 1 - TOLERANCE]
    if not fine and not rule.upsample:
        what = f"scanned at mpp {slide.mpp:g}, coarser than the wanted {rule.mpp:g}"
        raise refusal(slide.path, "mpp-too-coarse", what)
    level = fine[-1] if fine else 0
    factor = slide.mpp * slide.downsamples[level]
    if abs(scales[level] - 1) <= TOLERANCE:
        return level, rule.size, factor
    side = max(1, round(rule.size * scales[level]))
    if side > MOST_SIDE:
        what = f"mpp {rule.mpp:g} is too far from its coarsest level, {factor:g}"
        raise refusal(slide.path, "mpp-too-far", what)
    return level, side, factor * side / rule.size


def order_of(cells: int, seed: int, slide: str) -> np.ndarray:
    """A random permutation int64[cells] from the seed and the slide's id (16 hex digits).

    Made from raw PCG64 bits: NumPy keeps those stable, `Generator.permutation` not.
    """
    entropy = np.random.SeedSequence([seed, int(slide, 16)])
    return np.argsort(np.random.PCG64(entropy).random_raw(cells), kind="stable")
