"""Which pixels are tissue: the rules by name, each uint8 RGB [h, w, 3] -> bool [h, w].

HSV is the 8-bit one of OpenCV, in its own integer arithmetic: hue 0..179 (degrees / 2),
saturation and value 0..255. Hue is what costs, so it is asked of few pixels. SciPy comes with
scikit-learn.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Mask = np.ndarray

EMPTY_BELOW = 15  # of 255: an image whose strongest saturation is weaker holds no tissue
CLOSING = 25  # pixels, side of the square
_SHIFT = 12  # OpenCV's fixed point
_HALF = 1 << (_SHIFT - 1)
_RANGE = np.arange(1, 256)
_PER_VALUE = np.concatenate([[0], np.rint((255 << _SHIFT) / _RANGE)]).astype(np.int32)
_PER_CHROMA = np.concatenate([[0], np.rint((180 << _SHIFT) / (6 * _RANGE))]).astype(np.int32)
# Saturation by 256 * value + chroma; chroma above value means nothing.
_SATURATION = ((np.arange(256) * _PER_VALUE[:, None] + _HALF) >> _SHIFT).astype(np.uint8).ravel()


class _Pixels:
    """Red, green, blue, value (the largest), low (the smallest), chroma (their difference) and
    saturation, uint8 [h, w] each, of RGB [h, w, 3]."""

    def __init__(self, rgb: np.ndarray):
        # Planes of their own: three times as fast as steps of three.
        self.red, self.green, self.blue = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
        self.value = np.maximum(np.maximum(self.red, self.green), self.blue)
        self.low = np.minimum(np.minimum(self.red, self.green), self.blue)
        self.chroma = self.value - self.low
        self.saturation = _SATURATION.take(self.value.astype(np.uint16) << 8 | self.chroma)

    def hue(self, where: np.ndarray | slice) -> np.ndarray:
        """Hue uint8 [n] of the pixels at `where`, places in the flat image."""
        colours = (self.red, self.green, self.blue, self.value, self.chroma)
        red, green, blue, value, chroma = (plane.ravel()[where] for plane in colours)
        red, green, blue, span = (plane.astype(np.int32) for plane in (red, green, blue, chroma))
        sector = np.where(
            value == red,
            green - blue,
            np.where(value == green, blue - red + 2 * span, red - green + 4 * span),
        )
        hue = (sector * _PER_CHROMA[chroma] + _HALF) >> _SHIFT
        hue[hue < 0] += 180
        return hue.astype(np.uint8)


def hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue (0..179), saturation and value (0..255) of uint8 RGB, each uint8 [h, w], as OpenCV's."""
    pixels = _Pixels(rgb)
    return pixels.hue(slice(None)).reshape(rgb.shape[:2]), pixels.saturation, pixels.value


def saturation(rgb: np.ndarray) -> np.ndarray:
    """Saturation alone (0..255), uint8 [h, w]: a fifth of the work of `hsv`."""
    return _Pixels(rgb).saturation


def paper_literal(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """The paper's bounds (appendix B): .5 < hue < .65, saturation > .1, .5 < value < .9, strict.

    Hue is OpenCV's divided by 255, i.e. 255..331.5 degrees, purple to pink: read in [0, 1] the
    bounds are cyan to blue and refuse every haematoxylin and eosin.
    """
    pixels = _Pixels(rgb)
    # Products of 255 and the bounds: 127.5, 165.75, 25.5, 127.5, 229.5.
    mask = (pixels.saturation > 25) & (pixels.value > 127) & (pixels.value < 230)
    where = np.flatnonzero(mask)
    hue = pixels.hue(where)
    mask.reshape(-1)[where] = (hue > 127) & (hue < 166)
    return mask


def ciga2021(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """`paper_literal` closed with a 25x25 square, as in the author's earlier code.

    What lies outside the image neither adds nor takes away, as in OpenCV.
    """
    mask = paper_literal(rgb).view(np.uint8)
    grown = ndimage.maximum_filter(mask, CLOSING, mode="constant", cval=0)
    return ndimage.minimum_filter(grown, CLOSING, mode="constant", cval=1).view(bool)


def ink(rgb: np.ndarray) -> Mask:
    """Pixels of blue, green, red or black pen: purer or darker than a stain gets.

    Bounds: saturation > .6 in cyan to blue (190..246 degrees), > .4 in green (80..190), > .75 in
    pure red (346..10), or value < .2. Tissue comes first: of real red pen a third is caught, its
    thin edges pass, as their colour is that of red blood cells.
    """
    return _ink(_Pixels(rgb))


def _ink(pixels: _Pixels) -> Mask:
    # Green the smallest and the others well above it: hue within 260..340 degrees, a stain's.
    stained = np.minimum(pixels.red, pixels.blue) - pixels.low > pixels.chroma // 3
    mask = (pixels.saturation > 102) & ~stained | (pixels.value < 51)
    where = np.flatnonzero(mask)
    hue, strength = pixels.hue(where), pixels.saturation.reshape(-1)[where]
    blue = (hue >= 95) & (hue <= 123) & (strength > 153)
    green = (hue >= 40) & (hue < 95) & (strength > 102)
    red = ((hue >= 173) | (hue <= 5)) & (strength > 191)
    mask.reshape(-1)[where] = blue | green | red | (pixels.value.reshape(-1)[where] < 51)
    return mask


def otsu_threshold(counts: np.ndarray) -> int | None:
    """The level t that parts a histogram int[256] into <= t and > t with the largest variance
    between the classes (Otsu 1979); the lowest such t. None where no level reaches 15."""
    levels = np.nonzero(counts)[0]
    if not len(levels) or levels[-1] < EMPTY_BELOW:
        return None
    counts = counts.astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    moment = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = moment / below - (moment[-1] - moment) / above
        between = np.where((below > 0) & (above > 0), below * above * gap**2, -1.0)
    return int(np.argmax(between > between.max() * (1 - 1e-12)))


def saturation_and_counts(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Saturation uint8 [h, w], and its histogram int64[256], in which ink counts as glass."""
    pixels = _Pixels(rgb)
    return pixels.saturation, _counts(pixels)


def _counts(pixels: _Pixels) -> np.ndarray:
    return np.bincount(np.where(_ink(pixels), 0, pixels.saturation).ravel(), minlength=256)


def otsu(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """Saturation above `threshold` and no ink; None takes the threshold from this image alone.

    A slide has one threshold for all its tiles, from `otsu_threshold` of its coarsest level.
    """
    pixels = _Pixels(rgb)
    if threshold is None:
        threshold = otsu_threshold(_counts(pixels))
        if threshold is None:
            return np.zeros(rgb.shape[:2], bool)
    mask = pixels.saturation > threshold
    return mask & ~_ink(pixels) if mask.any() else mask


def everything(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """Every pixel counts as tissue."""
    return np.ones(rgb.shape[:2], bool)


# `threshold` is used by otsu only.
RULES: dict[str, Callable[[np.ndarray, int | None], Mask]] = {
    "ciga2021": ciga2021,
    "paper_literal": paper_literal,
    "otsu": otsu,
    "none": everything,
}
