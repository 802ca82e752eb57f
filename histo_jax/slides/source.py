"""One slide, opened as if it meant harm: judged before it is opened, and again before it is read.

The only door to OpenSlide. Its errors stay on the handle, so the handle is opened anew after each
one; it answers a read outside the slide with transparent black, so reads are checked here; a
damaged tile size makes it abort the process, so sizes are judged before the first read.
"""

import errno
import itertools
import math
import os
import re
import stat
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.files import is_page
from histo_jax.slides import tiff
from histo_jax.slides.identity import instance_numbers, slide_digest, slide_id
from histo_jax.slides.reasons import refusal

__all__ = ["LIBRARY", "Slide", "check_file", "slide_digest", "slide_id", "triage"]

LIBRARY = openslide.__library_version__
MPP = (0.05, 10.0)  # µm per pixel at level 0, 5x finer than 40x to 10x coarser than 1x
TILE = (16, 8192)  # pixels, sides of a stored tile
MOST_PIXELS = 2**31  # width or height
_SQUARE = 1.1  # pixels longer than wide by more are a mistake
_POWER = 1.5  # objective power x mpp is about 10; off by more is worth a word
_MOST_INSTANCES = 50  # of a DICOM series, named in an error
_CACHE = openslide.OpenSlideCache(64 * 2**20)  # one for all handles of the process


def triage(path: str | os.PathLike) -> list[tiff.Page]:
    """Looks at a file without OpenSlide; returns its TIFF pages (none for other formats).

    Raises:
      HistoError: no readable file, or its bytes are no slide or not all there.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
        if not head:
            raise refusal(path, "empty", "is empty")
        if is_page(head):
            raise refusal(path, "html", "holds a web page, not a slide")
        if Path(path).suffix.lower() == ".mrxs":
            _check_mirax(path)
        if not tiff.is_tiff(head):
            return []
        pages = tiff.read_pages(path)
    except OSError as error:
        raise refusal(path, "read-failed", f"cannot be read: {error.strerror}") from error
    tiff.check_colour(path, pages)
    return pages


def check_file(path: str | os.PathLike) -> None:
    """Refuses what is no readable file, without opening it: cheap enough for a whole plan."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path):
            raise refusal(path, "dangling-link", "is a link to nowhere") from error
        if error.errno == errno.EACCES:
            raise refusal(path, "no-permission", "no permission to reach it") from error
        raise refusal(path, "missing", "no such file") from error
    if stat.S_ISDIR(mode):
        raise refusal(path, "directory", "is a directory, not a slide")
    if not stat.S_ISREG(mode):
        raise refusal(path, "not-a-file", "is a pipe or device, not a file")
    if not os.access(path, os.R_OK):
        raise refusal(path, "no-permission", "no permission to read it")


def _check_mirax(path: str | os.PathLike) -> None:
    """An MRXS is a small image beside a folder that holds the slide."""
    folder = Path(path).with_suffix("")
    for member in (folder, folder / "Slidedat.ini"):
        if not member.exists():
            what = f"lacks {member.relative_to(folder.parent)} beside it"
            raise refusal(path, "missing-member", what)


class Slide:
    """An open slide; use it in a `with` block.

    Attributes:
      path, vendor: where it is, and OpenSlide's name of the format.
      dimensions: (width, height) of level 0 in pixels; `level_dimensions` those of every level.
      downsamples: factor of each level, not falling.
      bounds: (x, y, width, height), the part of level 0 that was scanned.
      background: RGB that stands behind transparent pixels.
      mpp: µm per level-0 pixel, from the file, else `mpp`, else `default_mpp`, else None.
      warnings: what is odd but no reason to refuse.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        mpp: float | None = None,
        default_mpp: float | None = None,
    ):
        """Opens and judges a slide.

        Args:
          path: the slide; for DICOM any instance of the series.
          mpp: µm per pixel where the file has none, or none to be believed (slides.csv).
          default_mpp: the same for a whole set: only where the file has none at all.

        Raises:
          HistoError: one of `reasons.REASONS`.
        """
        self.path = os.fspath(path)
        self.warnings: list[str] = []
        self._pages = triage(path)
        self._handle = None
        self._open()
        try:
            self._describe(mpp, default_mpp)
        except openslide.OpenSlideError as error:
            self.close()
            raise refusal(path, "damaged", f"does not describe itself: {error}") from error
        except HistoError:
            self.close()
            raise

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; closing twice is fine."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def read(self, x: int, y: int, level: int, size: tuple[int, int]) -> tuple[np.ndarray, float]:
        """Reads a region: uint8 RGB [h, w, 3] on the background, and its opaque share in [0, 1].

        Args:
          x, y: top-left corner in level-0 pixels, inside the slide; the region may reach beyond
            the right and lower edge.
          level: pyramid level.
          size: (width, height) in pixels of that level.

        Raises:
          ValueError: the region does not begin inside the slide, or is empty, or there is no
            such level.
          HistoError: `unreadable-tile`; the slide is open anew and other regions can be read.
        """
        width, height = size
        if not 0 <= level < len(self.level_dimensions):
            raise ValueError(f"level {level} of {len(self.level_dimensions)}")
        if not (0 <= x < self.dimensions[0] and 0 <= y < self.dimensions[1]):
            raise ValueError(f"({x}, {y}) lies outside {self.dimensions}")
        if width < 1 or height < 1:
            raise ValueError(f"empty region {size}")
        if os.getpid() != self._pid:
            what = f"opened in process {self._pid}, read in {os.getpid()}"
            raise refusal(self.path, "wrong-process", what)
        if self._handle is None:
            self._open()
        try:
            region = self._handle.read_region((int(x), int(y)), level, (int(width), int(height)))
        except openslide.OpenSlideError as error:
            self.close()  # the error stays on the handle: every later call would fail
            what = f"cannot read {width}x{height} at ({x}, {y}), level {level}: {error}"
            raise refusal(self.path, "unreadable-tile", what) from error
        return _composite(region, self.background)

    def _open(self) -> None:
        try:
            self._handle = openslide.OpenSlide(self.path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise self._unsupported() from error
        except openslide.OpenSlideError as error:
            raise self._refused(str(error)) from error
        self._handle.set_cache(_CACHE)
        self._pid = os.getpid()

    def _unsupported(self) -> HistoError:
        if not self._pages:
            with open(self.path, "rb") as file:
                head = file.read(8)
            return refusal(self.path, "not-a-slide", f"no known slide format: begins {head!r}")
        if not any(page.tiled for page in self._pages):
            return refusal(self.path, "untiled", "a TIFF without tiles")
        return refusal(self.path, "damaged", "a tiled TIFF that OpenSlide does not know")

    def _refused(self, message: str) -> HistoError:
        message = message.replace(f": {self.path}", "")  # the line begins with it
        codec = re.search(r"Unsupported TIFF compression: (\d+)", message)
        if codec:
            name = tiff.CODECS.get(int(codec[1]), f"TIFF compression {codec[1]}")
            return refusal(self.path, "unsupported-codec", f"compressed as {name}")
        if "No pyramid levels" in message or "concatenation" in message:  # DICOM's only
            return refusal(self.path, "missing-member", _series_told(self.path, message))
        if "No such file" in message:  # VMS, MRXS: the path itself was opened before
            return refusal(self.path, "missing-member", f"lacks a file: {message}")
        if "hort read" in message:
            return refusal(self.path, "truncated", f"truncated: {message}")
        return refusal(self.path, "damaged", f"does not open: {message}")

    def _property(self, key: str) -> str | None:
        """One property: asked for all at once, a single key that is not UTF-8 costs the rest."""
        try:
            return self._handle.properties.get(key)
        except (KeyError, UnicodeDecodeError):
            return None

    def _number(self, key: str) -> float | None:
        try:
            value = float((self._property(key) or "").replace(",", "."))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def _describe(self, given: float | None, default: float | None) -> None:
        handle = self._handle
        self.vendor = self._property("openslide.vendor") or ""
        self.level_dimensions = tuple(handle.level_dimensions)
        self.dimensions = self.level_dimensions[0]
        self.downsamples = tuple(handle.level_downsamples)
        self._check_levels()
        self.bounds = self._bounds()
        colour = self._property("openslide.background-color") or ""
        hexes = colour if re.fullmatch("[0-9a-fA-F]{6}", colour) else "ffffff"
        self.background = tuple(bytes.fromhex(hexes))
        self.mpp = self._micrometres(given, default)
        power = self._number("openslide.objective-power")
        if power and self.mpp and not 1 / _POWER < power * self.mpp / 10 < _POWER:
            self.warnings.append(
                f"objective power {power:g} and mpp {self.mpp:g} disagree: mpp used"
            )

    def _check_levels(self) -> None:
        smallest = 1 if self.vendor == "hamamatsu" else TILE[0]  # NDPI: strips of few rows
        for level, (width, height) in enumerate(self.level_dimensions):
            if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
                what = f"level {level} claims {width}x{height} pixels"
                raise refusal(self.path, "implausible-dimensions", what)
            for side in ("width", "height"):
                tile = self._number(f"openslide.level[{level}].tile-{side}")
                if tile is not None and not smallest <= tile <= TILE[1]:
                    what = f"level {level} claims tiles with a {side} of {tile:.0f} pixels"
                    raise refusal(self.path, "implausible-tile", what)
        steps = self.downsamples
        if steps[0] < 1 or any(b < a for a, b in itertools.pairwise(steps)):
            raise refusal(self.path, "implausible-levels", f"levels shrink by {steps}")

    def _bounds(self) -> tuple[int, int, int, int]:
        """The scanned part; the whole slide where the file names none that lies inside."""
        whole = (0, 0, *self.dimensions)
        values = [self._number(f"openslide.bounds-{k}") for k in ("x", "y", "width", "height")]
        if None in values:
            return whole
        x, y, width, height = (int(value) for value in values)
        inside = 0 <= x < x + width <= self.dimensions[0]
        inside &= 0 <= y < y + height <= self.dimensions[1]
        return (x, y, width, height) if inside else whole

    def _micrometres(self, given: float | None, default: float | None) -> float | None:
        for value in (given, default):
            if value is not None and not MPP[0] <= value <= MPP[1]:
                raise refusal(self.path, "implausible-mpp", f"implausible mpp {value:g} was given")
        across, down = self._number("openslide.mpp-x"), self._number("openslide.mpp-y")
        if across is None or down is None:
            return given if given is not None else default
        square = across > 0 and down > 0 and max(across, down) / min(across, down) <= _SQUARE
        if square and MPP[0] <= across <= MPP[1] and MPP[0] <= down <= MPP[1]:
            return (across + down) / 2
        if given is not None:
            self.warnings.append(f"mpp {across:g} x {down:g} of the file is not believed")
            return given
        hint = " (72 dpi default?)" if 352 < across < 353.5 else ""
        what = f"implausible mpp {across:g} x {down:g}{hint}"
        raise refusal(self.path, "implausible-mpp", what)


def _series_told(path: str, message: str) -> str:
    """Which instances of a DICOM series are here, and which numbers below the last are not."""
    here = instance_numbers(path)
    last = min(max(here, default=0), _MOST_INSTANCES)
    absent = ", ".join(str(number) for number in range(1, last) if number not in here)
    lacks = f"lacks instance {absent}" if absent else "is not whole"
    there = ", ".join(map(str, here[:_MOST_INSTANCES]))
    return f"its DICOM series {lacks}, has {there or 'none with a number'}: {message}"


def _composite(region: Image.Image, background: tuple[int, int, int]) -> tuple[np.ndarray, float]:
    """RGBA on a background: uint8 RGB [h, w, 3] and the mean opacity."""
    alpha = region.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return np.asarray(region.convert("RGB")), 1.0
    rgb = Image.new("RGB", region.size, background)
    rgb.paste(region, mask=alpha)
    return np.asarray(rgb), float(np.asarray(alpha).mean(dtype=np.float64) / 255)
