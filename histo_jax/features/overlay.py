"""Clusters laid over the picture of a slide."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

from histo_jax.features.store import Facts

ALPHA = 0.4
# Seen on pink and purple; in words a reader can say.
PALETTE = (
    (0, 114, 255), (255, 214, 0), (0, 200, 83), (255, 109, 0),
    (0, 229, 255), (213, 0, 0), (150, 255, 20), (20, 20, 20),
)  # fmt: skip
STRIP = 26  # pixels a row of the legend


def colour(place: int) -> tuple[int, int, int]:
    """RGB of the cluster that is shown in this place, from 0; beyond eight, hues far apart."""
    if place < len(PALETTE):
        return PALETTE[place]
    red, green, blue = colorsys.hsv_to_rgb(place * 0.618034 % 1, 0.95, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def boxes(coords: np.ndarray, facts: Facts, size: tuple[int, int]) -> np.ndarray:
    """int64 [n, 4] (left, top, right, bottom) of tiles on a picture of `size` (width, height).

    Edges are rounded one by one, so that neighbours leave no gap; what lies outside is cut off.
    """
    origin = np.array([facts.overview_x, facts.overview_y])
    scale = np.array(size) / [facts.overview_width, facts.overview_height]
    first = np.rint((coords - origin) * scale)
    last = np.rint((coords - origin + facts.patch_size_level0) * scale)
    return np.clip(np.hstack([first, last]), 0, [*size, *size]).astype(np.int64)


def paint(
    picture: np.ndarray,
    at: np.ndarray,
    labels: np.ndarray,
    colours: dict[int, tuple[int, int, int]],
    alpha: float = ALPHA,
) -> np.ndarray:
    """uint8 [h, w, 3] with the boxes of the clusters in `colours` tinted, all else as it was."""
    out = picture.copy()
    for (left, top, right, bottom), label in zip(at, labels, strict=True):
        if label in colours:
            part = picture[top:bottom, left:right]
            tinted = (1 - alpha) * part + alpha * np.array(colours[label])
            out[top:bottom, left:right] = np.rint(tinted)
    return out


def with_legend(
    picture: np.ndarray, colours: dict[int, tuple[int, int, int]], counts: dict[int, int]
) -> Image.Image:
    """The picture, and below it each cluster's colour, number and how many tiles it has here."""
    height, width, _ = picture.shape
    column = 190
    columns = max(1, width // column)
    rows = -(-len(colours) // columns)
    sheet = Image.new("RGB", (max(width, column), height + rows * STRIP + 6), "white")
    sheet.paste(Image.fromarray(picture), (0, 0))
    pen = ImageDraw.Draw(sheet)
    for place, (number, tint) in enumerate(colours.items()):
        x, y = place % columns * column + 6, height + 6 + place // columns * STRIP
        pen.rectangle((x, y, x + 16, y + 16), fill=tint, outline="black")
        pen.text((x + 24, y), f"cluster {number}: {counts[number]:,}", "black", font_size=14)
    return sheet
