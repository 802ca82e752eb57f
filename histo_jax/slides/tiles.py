"""From one slide to at most `max_tiles` tissue tiles: a pure function of the bytes and the rule."""

import dataclasses
import io
import os
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.slides import tissue
from histo_jax.slides.grid import Grid, grid_of, order_of
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.overview import Overview, look, slide_threshold, threshold_of
from histo_jax.slides.prescreen import Prescreen
from histo_jax.slides.reasons import refusal
from histo_jax.slides.rule import TileRule, options_digest
from histo_jax.slides.source import Slide

if typing.TYPE_CHECKING:
    from histo_jax.slides.regions import Drawn

__all__ = ["SlideTiles", "Tile", "TileRule", "cut", "options_digest", "slide_threshold"]

LISTED = 2000  # tried cells a slide keeps for its picture
FIRST = 256  # cells tried at random where all are wanted


@dataclasses.dataclass(frozen=True)
class Tile:
    """One kept tile: place in level-0 pixels, level read, µm per stored pixel (None: unknown),
    tissue share, opaque share, JPEG bytes, class of the region drawn there."""

    key: str
    x: int
    y: int
    level: int
    mpp: float | None
    foreground: float
    alpha: float
    jpeg: bytes
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class SlideTiles:
    """What `cut` made of a slide.

    Attributes (those that don't speak for themselves):
      counts: what became of every cell of the grid.
      tried: for pictures, the first 2000 cells tried, by what became of them; row by row.
      bounds: x, y, width and height of the scanned part in level-0 pixels: what is looked at.
      stride: level-0 pixels from one cell to the next.
      extent: width and height of the thumbnail in cells; its top left is that of cell 0.
      thumbnail: JPEG bytes of the scanned part.
    """

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
    bounds: tuple[int, int, int, int]
    stride: float
    options_digest: str
    counts: dict[str, int]
    warnings: tuple[str, ...]
    tried: dict[str, list[int]]
    extent: tuple[float, float]
    thumbnail: bytes
    tiles: tuple[Tile, ...]


def cut(
    path: str | os.PathLike,
    rule: TileRule,
    mpp: float | None = None,
    regions: str | os.PathLike | None = None,
    *,
    prescreen: bool = True,
    take: Callable[[Tile], None] | None = None,
) -> SlideTiles:
    """Tries the cells of the grid in random order and keeps the first `max_tiles` with tissue.

    Equal to judging every cell and taking the first of the permutation, as far as `Prescreen` is
    right about cells that it calls glass: they count as background and are not read.

    Args:
      path: the slide.
      rule: how to cut.
      mpp: µm per level-0 pixel from the user, where the file has none to be believed.
      regions: file of regions drawn on it; only cells of which one class covers half are tried,
        in the order they have without.
      prescreen: False reads every cell that is tried, to compare with.
      take: is given each tile as it comes; the tiles of the result are then without pixels, as a
        whole slide's may be more than memory holds.

    Raises:
      HistoError: the slide is refused; the reason is one of `reasons.REASONS`.
    """
    with Slide(path, mpp, rule.default_mpp) as slide:
        before = os.stat(path)
        digest, size = slide_digest(path)
        grid = grid_of(slide, rule)
        drawn = _read_regions(regions, slide) if regions is not None else None
        seen = look(slide, rule.thumbnail)
        tiles, counts, tried = _keep(slide, rule, grid, digest[:16], seen, prescreen, drawn, take)
        warnings = (*slide.warnings, *(drawn.remarks if drawn else ()))
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
        bounds=slide.bounds,
        stride=grid.stride,
        options_digest=options_digest(rule, mpp, drawn and drawn.digest),
        counts=counts,
        warnings=warnings,
        tried=tried,
        extent=(slide.bounds[2] / grid.stride, slide.bounds[3] / grid.stride),
        thumbnail=seen.jpeg(),
        tiles=tuple(tiles),
    )


def _read_regions(path: str | os.PathLike, slide: Slide) -> "Drawn":
    from histo_jax.slides import regions  # the catalogue's: slow to import, seldom needed

    return regions.read(path, slide)


def _keep(
    slide: Slide, rule: TileRule, grid: Grid, name: str, seen: Overview, prescreen: bool,
    drawn: "Drawn | None", take: Callable[[Tile], None] | None,
) -> tuple[list[Tile], dict[str, int], dict[str, list[int]]]:  # fmt: skip
    """Kept tiles, counts, and the first cells tried by what became of them."""
    cells = grid.columns * grid.rows
    counts = dict.fromkeys(("kept", "background", "transparent", "unreadable", "not-needed"), 0)
    tried: dict[str, list[int]] = {}
    order = _order(cells, rule, name)
    if drawn:
        of_class = drawn.cells(grid)
        order = order[of_class[order] > 0]
        counts["outside"] = cells - len(order)
    threshold = None
    if rule.tissue == "otsu" and len(order):
        threshold = threshold_of(slide, seen)
        if threshold is None and rule.min_foreground > 0:  # nothing anywhere: spare the reading
            return [], counts | {"background": len(order)}, tried
    screen = Prescreen(slide, rule, grid, seen, threshold) if prescreen else None
    tiles: list[Tile] = []
    read = 0
    for number, cell in enumerate(order.tolist()):
        if len(tiles) == rule.max_tiles:
            break
        if screen and screen.skips(cell):
            outcome = "background"
        else:
            tile = _try(slide, rule, grid, cell, name, threshold)
            outcome = tile if isinstance(tile, str) else "kept"
            read += 1
            if screen:
                screen.check(cell, outcome == "kept")
        counts[outcome] += 1
        if number < LISTED:
            tried.setdefault(outcome, []).append(cell)
        if outcome == "kept":
            label = drawn.classes[of_class[cell] - 1] if drawn else None
            tile = dataclasses.replace(tile, label=label)
            if take:
                take(tile)
                tile = dataclasses.replace(tile, jpeg=b"")
            tiles.append(tile)
    if counts["unreadable"] > rule.max_bad * read:
        what = f"{counts['unreadable']} of {read} tiles cannot be read"
        raise refusal(slide.path, "too-many-unreadable", what)
    counts["not-needed"] = cells - sum(counts.values())
    return tiles, counts, {outcome: sorted(tried[outcome]) for outcome in sorted(tried)}


def _order(cells: int, rule: TileRule, name: str) -> np.ndarray:
    """The random order; where all are wanted, row by row after the cells that check the prescreen:
    neighbours share what OpenSlide has decoded."""
    order = order_of(cells, rule.seed, name)
    return order if rule.max_tiles else np.concatenate([order[:FIRST], np.sort(order[FIRST:])])


def _try(
    slide: Slide, rule: TileRule, grid: Grid, cell: int, name: str, threshold: int | None
) -> Tile | str:
    """The tile of a cell, or why there is none: unreadable, transparent, background."""
    x, y = grid.corner(cell)
    try:
        rgb, alpha = slide.read(x, y, grid.level, (grid.side, grid.side))
    except HistoError as error:
        if error.reason != "unreadable-tile":
            raise
        return "unreadable"
    if alpha < 0.5:
        return "transparent"
    image = Image.fromarray(rgb)
    if grid.side != rule.size:
        image = image.resize((rule.size, rule.size), Image.Resampling.BILINEAR)
        rgb = np.asarray(image)
    mask = tissue.RULES[rule.tissue](rgb, threshold)
    if np.count_nonzero(mask) < rule.min_foreground * mask.size:
        return "background"
    key, jpeg = f"{name}-{grid.level}-{x}-{y}", _jpeg(image, rule.quality)
    return Tile(key, x, y, grid.level, grid.mpp, float(mask.mean()), alpha, jpeg)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)  # 0 is 4:4:4
    return file.getvalue()
