"""What a TIFF's own directories say, read before OpenSlide sees the file."""

import dataclasses
import os
import struct
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from histo_jax.slides.reasons import refusal

# type: (bytes, struct code)
_TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 13: (4, "I"), 16: (8, "Q"), 18: (8, "Q")}
_SIZES = {2: 1, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8}
_SIZES |= {code: size for code, (size, _) in _TYPES.items()}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT = 273, 279, 322, 323
_TILES, _TILE_BYTES = 324, 325
_NEEDED = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT}
_NEEDED |= {_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
_PRIVATE = 32768  # tags from here on are the vendors', whose lengths are not ours to judge
_MOST_PAGES = 10_000
_GRAY, _RGB, _CMYK, _YCBCR = (0, 1), 2, 5, 6

CODECS = {
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    33003: "JPEG 2000 (Aperio YCbCr)",
    33005: "JPEG 2000 (Aperio RGB)",
    34712: "JPEG 2000",
    34892: "lossy DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}


@dataclasses.dataclass(frozen=True)
class Page:
    """One directory of a TIFF: size in pixels, the codes of its tags, tiled or not."""

    width: int
    height: int
    bits: int
    compression: int
    photometric: int
    tiled: bool


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with `head` claims to be a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_pages(path: str | os.PathLike) -> list[Page]:
    """Reads all directories and checks that everything they point at lies within the file.

    A cut between pages leaves a slide that opens with fewer levels and no error; its last
    directory still points beyond the end.

    Raises:
      HistoError: `truncated` or `damaged`.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        big = head[2:4] in (b"+\0", b"\0+")
        if not big and size >= 2**32:
            return []  # NDPI's own 64-bit extension, which no directory walk understands
        reader = _Reader(path, file, size, "<" if head[:1] == b"I" else ">", big)
        offset = reader.unpack("Q" if big else "I", 8 if big else 4)
        pages, seen = [], set()
        while offset:
            if offset in seen or len(seen) > _MOST_PAGES:
                raise refusal(path, "damaged", "its directories go in a circle")
            seen.add(offset)
            page, offset = reader.page(offset)
            pages.append(page)
    return pages


def check_colour(path: str | os.PathLike, pages: list[Page]) -> None:
    """Refuses what OpenSlide would turn into 8-bit RGB without a word.

    Judges the largest tiled page: labels and probability maps may be anything.
    """
    tiled = [page for page in pages if page.tiled]
    if not tiled:
        return
    page = max(tiled, key=lambda page: page.width * page.height)
    if page.photometric == _CMYK:
        raise refusal(path, "colour-cmyk", "stored as CMYK")
    if page.bits > 8:
        raise refusal(path, "colour-16-bit", f"stored with {page.bits} bits a channel")
    if page.photometric in _GRAY:
        raise refusal(path, "colour-gray", "stored as gray values")
    if page.photometric not in (_RGB, _YCBCR):
        what = f"stored with TIFF photometric {page.photometric}, not RGB or YCbCr"
        raise refusal(path, "colour-other", what)


@dataclasses.dataclass(frozen=True)
class _Reader:
    path: str | os.PathLike
    file: BinaryIO
    size: int
    order: str
    big: bool

    def bytes_at(self, offset: int, count: int) -> bytes:
        if offset + count > self.size:
            what = f"points at byte {offset + count} of {self.size}"
            raise refusal(self.path, "truncated", f"truncated: its directory {what}")
        self.file.seek(offset)
        return self.file.read(count)

    def unpack(self, code: str, offset: int) -> int:
        size = struct.calcsize(code)
        return struct.unpack(self.order + code, self.bytes_at(offset, size))[0]

    def page(self, offset: int) -> tuple[Page, int]:
        """The directory at `offset` and the offset of the next one."""
        count = self.unpack("Q" if self.big else "H", offset)
        start, length = (offset + 8, 20) if self.big else (offset + 2, 12)
        entries = self.bytes_at(start, count * length)
        tags = {}
        for i in range(count):
            tag, kind = struct.unpack_from(self.order + "HH", entries, i * length)
            if tag in _NEEDED or (tag < _PRIVATE and kind in _SIZES):
                value = self.value(kind, start + i * length + 4)
                if tag in _NEEDED:
                    tags[tag] = value
        self.check_extent(tags, _TILES, _TILE_BYTES)
        self.check_extent(tags, _STRIPS, _STRIP_BYTES)

        def first(tag: int, default: int) -> int:
            return int(tags[tag][0]) if len(tags.get(tag, ())) else default

        page = Page(
            width=first(_WIDTH, 0),
            height=first(_HEIGHT, 0),
            bits=int(max(tags.get(_BITS, ()), default=1)),
            compression=first(_COMPRESSION, 1),
            photometric=first(_PHOTOMETRIC, _RGB),
            tiled=_TILE_WIDTH in tags,
        )
        self.check_grid(page, first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0), tags.get(_TILES, ()))
        return page, self.unpack("Q" if self.big else "I", start + count * length)

    def value(self, kind: int, offset: int) -> np.ndarray:
        """The integers of the entry whose count stands at `offset`; none for other types."""
        count = self.unpack("Q" if self.big else "I", offset)
        offset, room = (offset + 8, 8) if self.big else (offset + 4, 4)
        nbytes = count * _SIZES.get(kind, 1)
        if nbytes > room:
            offset = self.unpack("Q" if self.big else "I", offset)
        if kind not in _TYPES:
            if offset + nbytes > self.size:
                self.bytes_at(offset, nbytes)
            return np.zeros(0, np.uint64)
        return np.frombuffer(self.bytes_at(offset, nbytes), self.order + _TYPES[kind][1])

    def check_grid(self, page: Page, width: int, height: int, tiles: Sequence[int]) -> None:
        """There are as many tiles as the size asks for: sizes without limit are tried for hours."""
        if not page.tiled or width < 1 or height < 1:
            return
        needed = -(-page.width // width) * -(-page.height // height)
        if len(tiles) < needed:
            what = (
                f"claims {page.width}x{page.height} pixels but has {len(tiles)} of {needed} tiles"
            )
            raise refusal(self.path, "implausible-dimensions", what)

    def check_extent(self, tags: dict, where: int, how_long: int) -> None:
        """All tiles or strips that are there at all lie within the file."""
        starts, counts = tags.get(where), tags.get(how_long)
        if starts is None or counts is None or len(starts) != len(counts) or not len(starts):
            return
        ends = starts.astype(np.float64) + counts  # float: a sum beyond 2^64 must not wrap
        end = ends[counts > 0].max(initial=0)
        if end > self.size:
            what = f"truncated: its image data end at byte {end:.0f} of {self.size}"
            raise refusal(self.path, "truncated", what)
