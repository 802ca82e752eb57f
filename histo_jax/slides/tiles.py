"""From one slide to at most `max_tiles` tissue tiles: a pure function of the bytes and the rule."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.slides import tissue
from histo_jax.slides.grid import Grid, grid_of, order_of
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.reasons import refusal
from histo_jax.slides.rule import TileRule, options_digest
from histo_jax.slides.source import Slide

__all__ = ["SlideTiles", "Tile", "TileRule", "cut", "options_digest", "slide_threshold"]

MOST_WHOLE = 2**24  # pixels of a level that is read whole for its threshold
_BLOCK, _SMALLEST = 1024, 64  # pixels: read at once; given up when damaged
_WINDOWS, _WINDOW = 32, 128  # the sample of a larger level: 32x32 windows of 128x128 pixels


@dataclasses.dataclass(frozen=True)
class Tile:
    """One kept tile: place in level-0 pixels, level read, µm per stored pixel (None: unknown),
    tissue share, opaque share, JPEG bytes."""

    key: str
    x: int
    y: int
    level: int
    mpp: float | None
    foreground: float
    alpha: float
    jpeg: bytes


@dataclasses.dataclass(frozen=True)
class SlideTiles:
    """What `cut` made of a slide; `counts` says what became of every cell of the grid."""

    id: str
    name: str
    sha256: str
    size: int
    mtime_ns: int
    vendor: str
    dimensions: tuple[int, int]
    mpp: float | None
    level: int
    grid: tuple[int, int]
    options_digest: str
    counts: dict[str, int]
    warnings: tuple[str, ...]
    tiles: tuple[Tile, ...]


def slide_threshold(slide: Slide) -> int | None:
    """Otsu's threshold of the slide's saturation (0..255), None where it has no tissue.

    From the whole coarsest level, or, where that has more than 16 million pixels, from
    32x32 windows of 128x128 pixels spread evenly over it. What cannot be read is left out.

    Raises:
      HistoError: `too-many-unreadable` where nothing can be read.
    """
    level = len(slide.level_dimensions) - 1
    factor = slide.downsamples[level]
    columns, rows = (max(1, int(extent / factor)) for extent in slide.bounds[2:])
    if columns * rows <= MOST_WHOLE:
        blocks = [
            (left, top, min(_BLOCK, columns - left), min(_BLOCK, rows - top))
            for top in range(0, rows, _BLOCK)
            for left in range(0, columns, _BLOCK)
        ]
    else:
        wide, high = min(_WINDOW, columns), min(_WINDOW, rows)
        blocks = [
            (left, top, wide, high)
            for top in np.linspace(0, rows - high, _WINDOWS).astype(int)
            for left in np.linspace(0, columns - wide, _WINDOWS).astype(int)
        ]
    counts = sum(_saturation_counts(slide, level, block) for block in blocks)
    if not counts.any():
        raise refusal(slide.path, "too-many-unreadable", f"level {level} cannot be read")
    return tissue.otsu_threshold(counts)


def _saturation_counts(slide: Slide, level: int, block: tuple[int, int, int, int]) -> np.ndarray:
    """Histogram int64[256] of a block (left, top, width, height, in pixels of the level within
    the bounds); of one that cannot be read as a whole, those of its halves that can."""
    left, top, width, height = block
    factor = slide.downsamples[level]
    x, y = slide.bounds[0] + int(left * factor), slide.bounds[1] + int(top * factor)
    try:
        rgb, _ = slide.read(x, y, level, (width, height))
    except HistoError as error:
        if error.reason != "unreadable-tile":
            raise
        if max(width, height) <= _SMALLEST:
            return np.zeros(256, np.int64)
        if width >= height:
            half = width // 2
            halves = (left, top, half, height), (left + half, top, width - half, height)
        else:
            half = height // 2
            halves = (left, top, width, half), (left, top + half, width, height - half)
        return sum(_saturation_counts(slide, level, block) for block in halves)
    return tissue.saturation_counts(rgb)


def cut(path: str | os.PathLike, rule: TileRule, mpp: float | None = None) -> SlideTiles:
    """Tries the cells of the grid in random order and keeps the first `max_tiles` with tissue.

    Equal to judging every cell and taking the first of the permutation; reads only what it needs.

    Args:
      path: the slide.
      rule: how to cut.
      mpp: µm per level-0 pixel from the user, where the file has none to be believed.

    Raises:
      HistoError: the slide is refused; the reason is one of `reasons.REASONS`.
    """
    with Slide(path, mpp, rule.default_mpp) as slide:
        before = os.stat(path)
        digest, size = slide_digest(path)
        grid = grid_of(slide, rule)
        tiles, counts = _keep(slide, rule, grid, digest[:16])
        warnings = tuple(slide.warnings)
    after = os.stat(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise refusal(path, "changed", "changed while it was read")
    return SlideTiles(
        id=digest[:16],
        name=Path(path).name,
        sha256=digest,
        size=size,
        mtime_ns=before.st_mtime_ns,
        vendor=slide.vendor,
        dimensions=slide.dimensions,
        mpp=slide.mpp,
        level=grid.level,
        grid=(grid.columns, grid.rows),
        options_digest=options_digest(rule, mpp),
        counts=counts,
        warnings=warnings,
        tiles=tuple(tiles),
    )


def _keep(slide: Slide, rule: TileRule, grid: Grid, name: str) -> tuple[list[Tile], dict[str, int]]:
    cells = grid.columns * grid.rows
    counts = dict.fromkeys(("kept", "background", "transparent", "unreadable", "not-needed"), 0)
    threshold = None
    if rule.tissue == "otsu" and cells:
        threshold = slide_threshold(slide)
        if threshold is None and rule.min_foreground > 0:  # nothing anywhere: spare the reading
            return [], counts | {"background": cells}
    tiles, tried = [], 0
    for cell in order_of(cells, rule.seed, name):
        if len(tiles) == rule.max_tiles:
            break
        tried += 1
        x, y = grid.corner(int(cell))
        try:
            rgb, alpha = slide.read(x, y, grid.level, (grid.side, grid.side))
        except HistoError as error:
            if error.reason != "unreadable-tile":
                raise
            counts["unreadable"] += 1
            continue
        if alpha < 0.5:
            counts["transparent"] += 1
            continue
        image = Image.fromarray(rgb)
        if grid.side != rule.size:
            image = image.resize((rule.size, rule.size), Image.Resampling.BILINEAR)
        mask = tissue.RULES[rule.tissue](np.asarray(image), threshold)
        if mask.sum() < rule.min_foreground * mask.size:
            counts["background"] += 1
            continue
        foreground = float(mask.mean())
        key = f"{name}-{grid.level}-{x}-{y}"
        jpeg = _jpeg(image, rule.quality)
        tiles.append(Tile(key, x, y, grid.level, grid.mpp, foreground, alpha, jpeg))
    if counts["unreadable"] > rule.max_bad * tried:
        what = f"{counts['unreadable']} of {tried} tiles cannot be read"
        raise refusal(slide.path, "too-many-unreadable", what)
    return tiles, counts | {"kept": len(tiles), "not-needed": cells - tried}


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)  # 0 is 4:4:4
    return file.getvalue()
