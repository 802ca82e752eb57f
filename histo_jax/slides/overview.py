"""A slide at a glance: its coarsest level, read once for Otsu's threshold, for a thumbnail and for
where there is surely no tissue."""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.slides import tissue
from histo_jax.slides.reasons import refusal
from histo_jax.slides.source import Slide

MOST_WHOLE = 2**24  # pixels of a level that is read whole
SIDE = 320  # pixels, the longer side of a thumbnail where nobody says
UNREAD = (128, 128, 128)  # gray of what could not be read
_BLOCK, _SMALLEST = 1024, 64  # pixels: read at once; given up when damaged
_WINDOWS, _WINDOW = 32, 128  # the sample of a larger level: 32x32 windows of 128x128 pixels


@dataclasses.dataclass(frozen=True)
class Overview:
    """What was seen of a slide's bounds.

    Attributes:
      saturation: histogram int64[256] of the pixels read; ink counts as glass.
      image: uint8 [h, w, 3], of the wanted number of pixels a side at most.
      plan: saturation uint8 [rows, columns] of the coarsest level, ink as it is, 255 where it
        could not be read; None where the level is too large to be read whole.
    """

    saturation: np.ndarray
    image: np.ndarray
    plan: np.ndarray | None

    def jpeg(self) -> bytes:
        """The image as a small JPEG."""
        file = io.BytesIO()
        Image.fromarray(self.image).save(file, "JPEG", quality=75)
        return file.getvalue()


@dataclasses.dataclass(frozen=True)
class _Block:
    """A piece of the level in its pixels within the bounds, and where it goes in the thumbnail:
    (left, top, width, height) each."""

    source: tuple[int, int, int, int]
    target: tuple[float, float, float, float]

    def halves(self) -> Iterator["_Block"]:
        """Cut across its longer side."""
        axis = 0 if self.source[2] >= self.source[3] else 1
        length = self.source[2 + axis]
        for begin, end in ((0, length // 2), (length // 2, length)):
            source, target = list(self.source), list(self.target)
            source[axis] += begin
            source[2 + axis] = end - begin
            target[axis] += self.target[2 + axis] * begin / length
            target[2 + axis] *= (end - begin) / length
            yield _Block(tuple(source), tuple(target))


def look(slide: Slide, side: int = SIDE) -> Overview:
    """Reads the whole coarsest level, or, where that has more than 16 million pixels, 32x32
    windows of 128x128 pixels spread evenly over it. What cannot be read is left out, and gray.

    Where the coarsest level is smaller than a picture of `side` pixels, the image is of a finer
    one: of the first that is large enough, or the last that is read whole.
    """
    last = len(slide.downsamples) - 1
    seen = _look(slide, last, side)
    level = last
    while slide.downsamples[level] > max(slide.bounds[2:]) / side and level > 0:
        if math.prod(_size(slide, level - 1)) > MOST_WHOLE:
            break
        level -= 1
    return (
        seen if level == last else dataclasses.replace(seen, image=_look(slide, level, side).image)
    )


def _size(slide: Slide, level: int) -> tuple[int, int]:
    """Columns and rows of a level within the bounds."""
    factor = slide.downsamples[level]
    return max(1, int(slide.bounds[2] / factor)), max(1, int(slide.bounds[3] / factor))


def _look(slide: Slide, level: int, side: int) -> Overview:
    columns, rows = _size(slide, level)
    scale = min(1.0, side / max(columns, rows))
    width, height = (max(1, round(extent * scale)) for extent in (columns, rows))
    canvas = Image.new("RGB", (width, height), UNREAD)
    counts = np.zeros(256, np.int64)
    whole = columns * rows <= MOST_WHOLE
    plan = np.full((rows, columns), 255, np.uint8) if whole else None
    for block in (_whole if whole else _sample)(columns, rows, width / columns, height / rows):
        for part, rgb in _read(slide, level, block):
            _paint(canvas, part, rgb)
            saturation, found = tissue.saturation_and_counts(rgb)
            counts += found
            if whole:
                left, top, wide, high = part.source
                plan[top : top + high, left : left + wide] = saturation
    return Overview(counts, np.asarray(canvas), plan)


def threshold_of(slide: Slide, seen: Overview) -> int | None:
    """Otsu's threshold of the slide's saturation (0..255), None where it has no tissue.

    Raises:
      HistoError: `too-many-unreadable` where nothing could be read.
    """
    if not seen.saturation.any():
        level = len(slide.level_dimensions) - 1
        raise refusal(slide.path, "too-many-unreadable", f"level {level} cannot be read")
    return tissue.otsu_threshold(seen.saturation)


def slide_threshold(slide: Slide) -> int | None:
    """`threshold_of` a slide that nobody has looked at yet."""
    return threshold_of(slide, look(slide))


def _whole(columns: int, rows: int, across: float, down: float) -> Iterator[_Block]:
    for top, left in itertools.product(range(0, rows, _BLOCK), range(0, columns, _BLOCK)):
        wide, high = min(_BLOCK, columns - left), min(_BLOCK, rows - top)
        target = (left * across, top * down, wide * across, high * down)
        yield _Block((left, top, wide, high), target)


def _sample(columns: int, rows: int, across: float, down: float) -> Iterator[_Block]:
    """Each window stands for the part of the slide around it."""
    wide, high = min(_WINDOW, columns), min(_WINDOW, rows)
    lefts = np.linspace(0, columns - wide, _WINDOWS).astype(int)
    tops = np.linspace(0, rows - high, _WINDOWS).astype(int)
    cell = columns * across / _WINDOWS, rows * down / _WINDOWS
    for row, column in itertools.product(range(_WINDOWS), repeat=2):
        target = (column * cell[0], row * cell[1], *cell)
        yield _Block((int(lefts[column]), int(tops[row]), wide, high), target)


def _read(slide: Slide, level: int, block: _Block) -> Iterator[tuple[_Block, np.ndarray]]:
    """The block and its pixels; of one that cannot be read as a whole, those of its halves that
    can."""
    left, top, width, height = block.source
    factor = slide.downsamples[level]
    x, y = slide.bounds[0] + int(left * factor), slide.bounds[1] + int(top * factor)
    try:
        rgb, _ = slide.read(x, y, level, (width, height))
    except HistoError as error:
        if error.reason != "unreadable-tile":
            raise
        if max(width, height) > _SMALLEST:
            for half in block.halves():
                yield from _read(slide, level, half)
        return
    yield block, rgb


def _paint(canvas: Image.Image, block: _Block, rgb: np.ndarray) -> None:
    begin = round(block.target[0]), round(block.target[1])
    end = round(block.target[0] + block.target[2]), round(block.target[1] + block.target[3])
    if begin[0] < end[0] and begin[1] < end[1]:
        size = end[0] - begin[0], end[1] - begin[1]
        canvas.paste(Image.fromarray(rgb).resize(size, Image.Resampling.BOX), begin)
