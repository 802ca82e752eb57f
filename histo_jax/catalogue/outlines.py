"""Regions outlined on a whole slide, in Aperio ImageScope's XML, and the mask of a tile of it."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histo_jax.catalogue.entries import Outlines
from histo_jax.errors import HistoError


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A polygon [n, 2] of (x, y) in level-0 pixels, and the value inside."""

    value: int
    polygon: np.ndarray


def read(path: Path, said: Outlines) -> list[Region]:
    """The regions in the order of the file; what its label says nothing known of is 0.

    Raises:
      HistoError: `mask`: no such XML, no region, or corners that are no numbers.
    """
    try:
        found = list(ElementTree.parse(path).iter("Region"))
        regions = [Region(_value(region, said), _polygon(region)) for region in found]
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        what = f"not readable as outlines: {error}"
        raise HistoError(path, "mask", what, "fetch the file again") from error
    if not regions:
        raise HistoError(path, "mask", "outlines no region", "fetch the file again")
    return [region for region in regions if len(region.polygon) > 2]


def draw(regions: list[Region], x: int, y: int, side: int) -> Image.Image:
    """The mask of the tile at (x, y), level-0 pixels: uint8; later regions lie on earlier ones."""
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    for region in regions:
        low, high = region.polygon.min(axis=0), region.polygon.max(axis=0)
        if (high < (x, y)).any() or (low > (x + side, y + side)).any():
            continue
        moved = region.polygon - (x, y)
        pen.polygon([tuple(corner) for corner in moved.tolist()], fill=region.value)
    return mask


def _value(region: ElementTree.Element, said: Outlines) -> int:
    named = region.find("Attributes/Attribute")
    text = region.get("Text", "") if named is None else named.get("Value", "")
    return next((v for word, v in said.values.items() if word in text.lower()), 0)


def _polygon(region: ElementTree.Element) -> np.ndarray:
    corners = region.iterfind("Vertices/Vertex")
    polygon = np.array([(float(c.get("X")), float(c.get("Y"))) for c in corners])
    return polygon.reshape(-1, 2)
