"""Regions outlined on a whole slide: read from Aperio ImageScope's XML, and drawn."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from histo_jax.catalogue.entries import Outlines
from histo_jax.errors import HistoError


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A polygon and the value inside, 1 to 255 or 0.

    Attributes:
      value: of the pixels inside.
      rings: float [n, 2] each, corners (x, y) in level-0 pixels; what lies inside an odd number of
        them is inside: one outline, or one with its holes.
    """

    value: int
    rings: tuple[np.ndarray, ...]

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Its least and its largest (x, y)."""
        return self.rings[0].min(axis=0), self.rings[0].max(axis=0)


def read(path: Path, said: Outlines) -> list[Region]:
    """The regions in the order of the file; what its label says nothing known of is 0.

    Raises:
      HistoError: `mask`: no such XML, no region, or corners that are no numbers.
    """
    try:
        found = list(ElementTree.parse(path).iter("Region"))
        regions = [Region(_value(region, said), (_polygon(region),)) for region in found]
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        what = f"not readable as outlines: {error}"
        raise HistoError(path, "mask", what, "fetch the file again") from error
    if not regions:
        raise HistoError(path, "mask", "outlines no region", "fetch the file again")
    return [region for region in regions if len(region.rings[0]) > 2]


def draw(
    regions: list[Region], x: float, y: float, width: int, height: int, step: float = 1.0
) -> np.ndarray:
    """What lies where, uint8 [height, width]; later regions lie on earlier ones, 0 is none.

    Args:
      regions: to draw.
      x, y: the top left corner in level-0 pixels.
      width, height: of the picture.
      step: level-0 pixels that a pixel of the picture is wide; its middle counts.
    """
    out = np.zeros((height, width), np.uint8)
    for region in regions:
        low, high = ((corner - (x, y)) / step for corner in region.box())
        left, top = np.floor(low).clip(0, (width, height)).astype(int)
        right, bottom = np.ceil(high).clip(0, (width, height)).astype(int)
        if left < right and top < bottom:
            rings = [(ring - (x, y)) / step - (left, top) for ring in region.rings]
            part = out[top:bottom, left:right]
            part[_inside(rings, right - left, bottom - top)] = region.value
    return out


def _inside(rings: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """Whether the middle of each pixel is inside an odd number of rings: bool [height, width]."""
    begin = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    falls = begin[:, 1] > end[:, 1]
    upper, lower = np.where(falls[:, None], (end, begin), (begin, end))
    # An edge is crossed by the rows whose middle lies between its ends.
    first, last = (np.ceil(side[:, 1] - 0.5).clip(0, height).astype(int) for side in (upper, lower))
    edge = np.repeat(np.arange(len(first)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
    along = (row + 0.5 - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
    at = upper[edge, 0] + along * (lower[edge, 0] - upper[edge, 0])
    column = np.ceil(at - 0.5).clip(0, width).astype(int)
    crossed = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    return np.cumsum(crossed.reshape(height, width + 1)[:, :width], axis=1) % 2 == 1


def _value(region: ElementTree.Element, said: Outlines) -> int:
    named = region.find("Attributes/Attribute")
    text = region.get("Text", "") if named is None else named.get("Value", "")
    return next((v for word, v in said.values.items() if word in text.lower()), 0)


def _polygon(region: ElementTree.Element) -> np.ndarray:
    corners = region.iterfind("Vertices/Vertex")
    polygon = np.array([(float(c.get("X")), float(c.get("Y"))) for c in corners]).reshape(-1, 2)
    if not np.isfinite(polygon).all():
        raise ValueError("a corner is no number")
    return polygon
