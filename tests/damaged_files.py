"""Writes damaged slides, images and sets, for the table in `damaged.py`."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from histo_jax.data import prepared
from histo_jax.data.reader import Reader
from tests import slide_files as files
from tests.prepared_sets import write_shard

Make = Callable[[Path], object]
IMAGE = files.tissue_image(320, 256)
SMALL = Image.fromarray(files.tissue_image(40, 40))
GRAY = SMALL.convert("L")


# How slides are made.


def holds(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def svs(**options: Any) -> Make:
    return lambda path: files.write_slide(path, IMAGE, **options)


def tif(image: np.ndarray = IMAGE, **options: Any) -> Make:
    return lambda path: files.write_generic(path, image, **options)


def gray(dtype: type) -> Make:
    return tif(IMAGE[..., 0].astype(dtype), photometric="minisblack")


def blank(value: int) -> Make:
    return lambda path: files.write_slide(path, np.full_like(IMAGE, value))


def tagged(make: Make, tags: dict[int, int]) -> Make:
    """With other values of some tags."""

    def write(path: Path) -> None:
        make(path)
        for tag, value in tags.items():
            files.set_tag(path, tag, value)

    return write


def codec(number: int) -> Make:
    return tagged(tif(compression="adobe_deflate"), {259: number})


def dots(per_unit: float, unit: str, down: float | None = None) -> Make:
    return tif(resolution=(per_unit, down or per_unit), resolutionunit=unit)


def cut_off(make: Make, drop: int) -> Make:
    """Without its last bytes."""

    def write(path: Path) -> None:
        make(path)
        os.truncate(path, path.stat().st_size - drop)

    return write


def cut_between_pages(path: Path) -> None:
    """As an upload that stopped after level 0 leaves it."""
    files.write_slide(path, IMAGE, levels=3)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].offset
    os.truncate(path, offset)


def zeroed(tiles: range) -> Make:
    return lambda path: files.zero_tiles(files.write_slide(path, IMAGE), tiles)


def without(tiles: range, make: Make) -> Make:
    """Tiles of no bytes, which a scanner leaves out and OpenSlide shows as transparent."""

    def write(path: Path) -> None:
        make(path)
        with tifffile.TiffFile(path) as file:
            counts, order = file.pages[0].tags[325], file.byteorder
        size = struct.calcsize(code := {3: "H", 4: "I"}[int(counts.dtype)])
        with open(path, "r+b") as file:
            for tile in tiles:
                file.seek(counts.valueoffset + tile * size)
                file.write(struct.pack(order + code, 0))

    return write


# Claims 73728 x 73728 pixels in tiles that are not there.
vast = tagged(
    without(range(81), tif(files.tissue_image(144, 144), tile=(16, 16))),
    {256: 73728, 257: 73728, 322: 8192, 323: 8192},
)
CIRCLE = b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(32)
VMS = """[Virtual Microscope Specimen]
NoLayers=1
NoJpegColumns=1
NoJpegRows=1
ImageFile=a.jpg
MapFile=map.jpg
MacroImage=m.jpg
OptimisationFile=a.opt
SourceLens=20
PhysicalWidth=1
"""


def mirax(path: Path) -> None:
    """Its folder is there, but empty."""
    path.write_bytes(b"\xff\xd8\xff")
    path.with_suffix("").mkdir()


# How images are made.


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes = b"") -> bytes:
    """Whole by its checksums, whatever it claims."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def png16(colour: int, channels: int) -> bytes:
    """A 16-bit PNG, which Pillow reads as 8-bit without a word when it has colours."""
    return png(8, 8, 16, colour, b"".join(b"\0" + bytes(16 * channels) for _ in range(8)))


def tiff(values: np.ndarray) -> bytes:
    """A TIFF that Pillow does not know."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="rgb")
    return buffer.getvalue()


JPEG, PNG, TIFF, BMP = (saved(SMALL, kind) for kind in ("JPEG", "PNG", "TIFF", "BMP"))
PAGE = b"\n<!DOCTYPE html><html>503"
ANSWER = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'


def changed(data: bytes, at: int, to: bytes) -> bytes:
    at %= len(data)
    return data[:at] + to + data[at + len(to) :]


def coded(path: Path) -> None:
    """A TIFF image in JPEG 2000, as it says."""
    path.write_bytes(tiff(np.zeros((9, 9, 3), np.uint8)))
    files.set_tag(path, 259, 34712)


# How prepared sets and parts are damaged.


def flip_in(data: bytes, before: bytes = b"") -> bytes:
    """With one bit flipped, 9 bytes before the last `before`."""
    at = data.rindex(before) - 9
    return changed(data, at, bytes([data[at] ^ 16]))


def flipped(name: str, at: int) -> Make:
    def write(version: Path) -> None:
        data = (version / name).read_bytes()
        (version / name).write_bytes(changed(data, at, bytes([data[at] ^ 16])))

    return write


def ended(more: int) -> Make:
    """Cut that many bytes behind the last record but one."""

    def write(version: Path) -> None:
        made = prepared.open_version(version)
        os.truncate(made.shards[-1], int(made.table["offset"][-1]) + more)

    return write


def flipped_image(share: float) -> Make:
    """One bit of the last image."""

    def write(version: Path) -> None:
        made = prepared.open_version(version)
        shard, image = made.shards[-1], Reader(made).read(made.n - 1)
        flipped(shard.name, shard.read_bytes().index(image) + int(share * len(image)))(version)

    return write


def said(old: str, new: str) -> Make:
    """Another word in the card."""
    return lambda v: (v / "card.json").write_text((v / "card.json").read_text().replace(old, new))


def same_key(name: str) -> Make:
    record = {"key": b"same", "image": PNG}
    return lambda version: write_shard(version / name, [record, record])
