"""Slides of 20480x20480 pixels for `slides.py`, as a scanner of Aperio's stores them: JPEG tiles of
240 pixels, levels of 1, 4 and 16. They are 43 % tissue: islands of drawn stroma, glands, tumour and
lymphocytes, repeated every 1920 pixels."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from histo_jax.data.drawn import stain
from histo_jax.data.drawn.slides import canvas_of

SIDE, TILE = 20480, 240  # pixels of a slide and of its stored tiles
TISSUE = 0.43
PATCH = 1920  # pixels of a piece of drawn tissue
CLASSES = ("stroma", "normal_glands", "tumour_glands", "lymphocytes")


def draw(path: Path, seed: int) -> None:
    """One slide: islands of four kinds of tissue on glass."""
    rng = np.random.default_rng(seed)
    patient = stain.draw_patient(1, seed)
    pieces = [_glass(patient, rng)] + [_piece(name, patient, rng) for name in CLASSES]
    where, which = _field(rng, 6), _field(rng, 12)
    where -= np.quantile(where, 1 - TISSUE)
    which = np.searchsorted(np.quantile(which, np.arange(1, 4) / 4), which).astype(np.uint8)
    quarters = []

    def tiles() -> Iterator[bytes]:
        for top in range(0, SIDE, TILE):
            strip = _strip(pieces, where, which, top)
            quarters.append(np.asarray(Image.fromarray(strip).reduce(4)))
            yield from _encoded(strip)

    temporary = path.with_suffix(".tmp")
    with tifffile.TiffWriter(temporary, bigtiff=True) as out:
        _write(out, tiles(), SIDE)
        quarter = np.concatenate(quarters)[: SIDE // 4]
        small = Image.fromarray(quarter).reduce(4)
        out.write(np.asarray(small.reduce(2)), photometric="rgb", metadata=None)  # the thumbnail
        for level in (quarter, np.asarray(small)):
            _write(out, _all(level), level.shape[0])
    temporary.rename(path)


def _field(rng: np.random.Generator, waves: int) -> np.ndarray:
    """Smooth noise float32 [SIDE / 16, SIDE / 16]."""
    coarse = Image.fromarray(rng.standard_normal((waves, waves)).astype(np.float32))
    return np.array(coarse.resize((SIDE // 16, SIDE // 16), Image.Resampling.BICUBIC))


def _glass(patient: stain.Patient, rng: np.random.Generator) -> np.ndarray:
    nothing = np.zeros((PATCH, PATCH), np.float32)
    return stain.develop(nothing, nothing, patient, rng)


def _piece(name: str, patient: stain.Patient, rng: np.random.Generator) -> np.ndarray:
    canvas = canvas_of(name, PATCH, patient, rng)
    return stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)


def _strip(pieces: list, where: np.ndarray, which: np.ndarray, top: int) -> np.ndarray:
    """TILE rows of level 0, uint8 [TILE, SIDE, 3]; below the slide its last rows."""
    rows = np.minimum(np.arange(top, top + TILE), SIDE - 1)
    box = (0, rows[0] / 16, SIDE // 16, min(SIDE, top + TILE) / 16)
    here = Image.fromarray(where).resize((SIDE, TILE), Image.Resampling.BILINEAR, box=box)
    kind = np.repeat(which[rows // 16], 16, axis=1)
    kind = np.where(np.asarray(here) > 0, kind + 1, 0)
    strip = np.empty((TILE, SIDE, 3), np.uint8)
    for number, piece in enumerate(pieces):
        drawn = np.tile(piece[rows % PATCH], (1, -(-SIDE // PATCH), 1))[:, :SIDE]
        np.copyto(strip, drawn, where=(kind == number)[..., None])
    return strip


def _all(level: np.ndarray) -> Iterator[bytes]:
    for top in range(0, level.shape[0], TILE):
        strip = level[top : top + TILE]
        yield from _encoded(np.pad(strip, ((0, TILE - len(strip)), (0, 0), (0, 0)), "edge"))


def _encoded(strip: np.ndarray) -> Iterator[bytes]:
    for left in range(0, strip.shape[1], TILE):
        tile = strip[:, left : left + TILE]
        tile = np.pad(tile, ((0, 0), (0, TILE - tile.shape[1]), (0, 0)), "edge")
        file = io.BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=75)
        yield file.getvalue()


def _write(out: tifffile.TiffWriter, tiles: Iterator[bytes], side: int) -> None:
    out.write(
        tiles, shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="ycbcr",
        compression="jpeg", subsampling=(2, 2), subfiletype=0, metadata=None,
        description="Aperio Image Library v1.0|AppMag = 20|MPP = 0.5",
    )  # fmt: skip
