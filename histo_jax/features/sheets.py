"""Contact sheets: tiles drawn at random, evenly over clusters, and clusters in boxes of three."""

import io

import numpy as np
from PIL import Image, ImageDraw

from histo_jax.features.table import Table

TILE, GAP = 80, 4  # pixels
BOX = (255, 204, 0)
LINE = 4  # pixels of a box


def pictures(table: Table, rows: np.ndarray) -> list[bytes]:
    """JPEG bytes of these tiles, each file opened once; empty where a file has none."""
    found = [b""] * len(rows)
    of = table.slide_of(rows)
    for i in np.unique(of):
        places = np.flatnonzero(of == i)
        jpegs = table.slides[i].pictures(rows[places] - table.starts[i])
        for place, jpeg in zip(places, jpegs, strict=True):
            found[place] = jpeg
    return found


def plain(jpegs: list[bytes], columns: int) -> Image.Image:
    """Tiles row by row."""
    step = TILE + GAP
    size = (columns * step + GAP, -(-len(jpegs) // columns) * step + GAP)
    sheet = Image.new("RGB", size, "white")
    for place, jpeg in enumerate(jpegs):
        sheet.paste(_tile(jpeg), (place % columns * step + GAP, place // columns * step + GAP))
    return sheet


def boxed(groups: list[list[bytes]], columns: int, each: int = 3) -> Image.Image:
    """A yellow box a cluster with its tiles side by side."""
    wide, high = each * TILE + (each + 1) * LINE, TILE + 2 * LINE
    rows = -(-len(groups) // columns)
    size = (columns * (wide + GAP) + GAP, rows * (high + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for place, jpegs in enumerate(groups):
        x, y = place % columns * (wide + GAP) + GAP, place // columns * (high + GAP) + GAP
        pen.rectangle((x, y, x + wide - 1, y + high - 1), fill=BOX)
        for i in range(each):
            corner = (x + LINE + i * (TILE + LINE), y + LINE)
            tile = _tile(jpegs[i]) if i < len(jpegs) else Image.new("RGB", (TILE, TILE), "white")
            sheet.paste(tile, corner)
    return sheet


def _tile(jpeg: bytes) -> Image.Image:
    if not jpeg:
        return Image.new("RGB", (TILE, TILE), "gray")
    return (
        Image.open(io.BytesIO(jpeg)).convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
    )
