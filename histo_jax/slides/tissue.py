"""Which pixels are tissue: the rules by name, each uint8 RGB [h, w, 3] -> bool [h, w].

HSV is the 8-bit one of OpenCV, in its own integer arithmetic: hue 0..179 (degrees / 2),
saturation and value 0..255. SciPy comes with scikit-learn.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

Mask = np.ndarray

EMPTY_BELOW = 15  # of 255: an image whose strongest saturation is weaker holds no tissue
CLOSING = 25  # pixels, side of the square
_SHIFT = 12  # OpenCV's fixed point
_RANGE = np.arange(1, 256)
_PER_VALUE = np.concatenate([[0], np.rint((255 << _SHIFT) / _RANGE)]).astype(np.int32)
_PER_CHROMA = np.concatenate([[0], np.rint((180 << _SHIFT) / (6 * _RANGE))]).astype(np.int32)


def _value_chroma(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest channel and largest minus smallest, uint8 [h, w]."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = np.maximum(np.maximum(red, green), blue)
    return value, value - np.minimum(np.minimum(red, green), blue)


def _saturation(value: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    return ((chroma * _PER_VALUE[value] + (1 << (_SHIFT - 1))) >> _SHIFT).astype(np.uint8)


def hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue (0..179), saturation and value (0..255) of uint8 RGB, each uint8 [h, w], as OpenCV's."""
    value, chroma = _value_chroma(rgb)
    red, green, blue = (rgb[..., i].astype(np.int32) for i in range(3))
    span = chroma.astype(np.int32)
    sector = np.where(
        value == rgb[..., 0],
        green - blue,
        np.where(value == rgb[..., 1], blue - red + 2 * span, red - green + 4 * span),
    )
    hue = (sector * _PER_CHROMA[chroma] + (1 << (_SHIFT - 1))) >> _SHIFT
    hue[hue < 0] += 180
    return hue.astype(np.uint8), _saturation(value, chroma), value


def saturation(rgb: np.ndarray) -> np.ndarray:
    """Saturation alone (0..255), uint8 [h, w]: a quarter of the work of `hsv`."""
    return _saturation(*_value_chroma(rgb))


def paper_literal(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """The paper's bounds (appendix B): .5 < hue < .65, saturation > .1, .5 < value < .9, strict.

    Hue is OpenCV's divided by 255, i.e. 255..331.5 degrees, purple to pink: read in [0, 1] the
    bounds are cyan to blue and refuse every haematoxylin and eosin.
    """
    hue, strength, value = hsv(rgb)
    # Products of 255 and the bounds: 127.5, 165.75, 25.5, 127.5, 229.5.
    return (hue > 127) & (hue < 166) & (strength > 25) & (value > 127) & (value < 230)


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
    hue, strength, value = hsv(rgb)
    blue = (hue >= 95) & (hue <= 123) & (strength > 153)
    green = (hue >= 40) & (hue < 95) & (strength > 102)
    red = ((hue >= 173) | (hue <= 5)) & (strength > 191)
    return blue | green | red | (value < 51)


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


def saturation_counts(rgb: np.ndarray) -> np.ndarray:
    """Histogram int64[256] of the saturation of all pixels; ink counts as glass."""
    return np.bincount(np.where(ink(rgb), 0, saturation(rgb)).ravel(), minlength=256)


def otsu(rgb: np.ndarray, threshold: int | None = None) -> Mask:
    """Saturation above `threshold` and no ink; None takes the threshold from this image alone.

    A slide has one threshold for all its tiles, from `otsu_threshold` of its coarsest level.
    """
    if threshold is None:
        threshold = otsu_threshold(saturation_counts(rgb))
        if threshold is None:
            return np.zeros(rgb.shape[:2], bool)
    mask = saturation(rgb) > threshold
    return mask & ~ink(rgb) if mask.any() else mask


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
