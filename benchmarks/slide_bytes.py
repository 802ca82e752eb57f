"""Small drawn slides in several compressions, for benchmarks."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import tifffile
from PIL import Image

from histo_jax.data.drawn import slides, stain

TILE = 64  # pixels, as stored


def drawn(width: int, height: int) -> np.ndarray:
    """Stroma, uint8 [height, width, 3]."""
    patient, rng = stain.draw_patient(0, 0), np.random.default_rng(0)
    canvas = slides.canvas_of("stroma", max(width, height), patient, rng)
    return stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)[:height, :width]


def tiles_of(image: np.ndarray, encode: Callable[[np.ndarray], bytes]) -> list[bytes]:
    height, width = image.shape[:2]
    corners = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    padded = np.pad(image, ((0, -height % TILE), (0, -width % TILE), (0, 0)), mode="edge")
    return [encode(padded[y : y + TILE, x : x + TILE]) for y, x in corners]


def deflate(pixels: np.ndarray) -> bytes:
    return zlib.compress(pixels.tobytes())


def lzw(pixels: np.ndarray) -> bytes:
    """Pillow's own TIFF of one strip holds what a tile of LZW holds."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_lzw")
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
        (offset,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    return buffer.getvalue()[offset : offset + count]


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80, subsampling=0)
    return buffer.getvalue()


# Codec: how a tile is encoded, and the tags that say so; deflate's are written, then replaced.
CODECS = {
    "deflate": (deflate, {}),
    "lzw": (lzw, {259: 5}),
    "jpeg": (jpeg, {259: 7, 262: 6}),  # YCbCr
}


def slide(codec: str, width: int, height: int, aperio: bool = False) -> bytes:
    """A generic TIFF of one level, or an SVS of two with a thumbnail."""
    buffer, image = io.BytesIO(), drawn(width, height)
    encode, tags = CODECS[codec]
    about = "Aperio Image Library v1.0|MPP = 0.5|AppMag = 20" if aperio else None
    with tifffile.TiffWriter(buffer) as out:
        for step in (1, 2) if aperio else (1,):
            level = image[::step, ::step]
            out.write(
                iter(tiles_of(level, encode)), shape=level.shape, dtype=np.uint8, metadata=None,
                tile=(TILE, TILE), photometric="rgb", compression="adobe_deflate", subfiletype=0,
                description=about, resolution=(20000, 20000), resolutionunit="CENTIMETER",
            )  # fmt: skip
            if aperio and step == 1:  # an SVS has its thumbnail second
                small = np.ascontiguousarray(image[::8, ::8])
                out.write(small, description=about, metadata=None, photometric="rgb")
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page in file.pages:
            for tag, value in tags.items() if page.is_tiled else ():
                struct.pack_into(file.byteorder + "H", data, page.tags[tag].valueoffset, value)
    return bytes(data)
