"""Regions that somebody drew on a slide, in QuPath (GeoJSON) or ASAP (XML): labels of its tiles."""

import collections
import dataclasses
import hashlib
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histo_jax.catalogue.outlines import Region, draw
from histo_jax.errors import HistoError
from histo_jax.slides.grid import Grid
from histo_jax.slides.reasons import refusal
from histo_jax.slides.source import Slide

LEAST = 0.5  # share of a tile that its class covers
FINE = 16  # places along a tile's side at which regions are looked at
MARGIN = 0.01  # of the slide's longer side: so far a hand may slip over the edge
MOST_CLASSES = 255
_AREAS = {"Polygon": lambda places: [places], "MultiPolygon": list}
_AT_ONCE = 2**22  # places

# (what it is called in errors, class or "", one tuple of rings a polygon); None: no area.
Shape = tuple[str, str, list[tuple[np.ndarray, ...]] | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """The regions of a slide.

    Attributes:
      digest: sha256 of the file.
      classes: names in order; a region's value is 1 + its class's number, 0 for none.
      regions: the largest first: they are drawn over one another.
      remarks: what of the file was left out.
    """

    digest: str
    classes: tuple[str, ...]
    regions: list[Region]
    remarks: tuple[str, ...]

    def cells(self, grid: Grid) -> np.ndarray:
        """uint8 [cells]: 1 + the number of the class that covers half of a cell or more, else 0."""
        out = np.zeros((grid.rows, grid.columns), np.uint8)
        high = max(1, _AT_ONCE // (FINE * FINE * max(1, grid.columns)))
        for top in range(0, grid.rows if self.classes else 0, high):
            rows = min(high, grid.rows - top)
            y, size = grid.y + top * grid.stride, (grid.columns * FINE, rows * FINE)
            fine = draw(self.regions, grid.x, y, *size, grid.stride / FINE)
            fine = fine.reshape(rows, FINE, grid.columns, FINE)
            for value in np.flatnonzero(np.bincount(fine.ravel()))[1:].tolist():
                covered = np.count_nonzero(fine == value, axis=(1, 3))
                out[top : top + rows][covered >= LEAST * FINE * FINE] = value
        return out.ravel()


def read(path: str | Path, slide: Slide) -> Drawn:
    """The regions that a file gives to a slide.

    QuPath counts pixels from the scanned part's corner, ASAP from the slide's.

    Raises:
      HistoError: `regions`: not readable; `regions-outside`: not of this slide.
    """
    path, told = Path(path), collections.Counter()

    def bad(what: str, reason: str = "regions") -> HistoError:
        return refusal(slide.path, reason, f"{path.name}: {what}")

    try:
        data = path.read_bytes()
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}") from error
    form, corner = (
        (_asap, (0, 0)) if path.suffix.lower() == ".xml" else (_geojson, slide.bounds[:2])
    )
    slack = MARGIN * max(slide.dimensions)
    named: list[tuple[str, tuple[np.ndarray, ...]]] = []
    try:
        for name, label, polygons in form(data):
            if polygons is None or not label:
                told["areas" if polygons is None else "class"] += 1
                continue
            for rings in polygons:
                rings = tuple(ring + corner for ring in rings)
                for place in (end(ring, axis=0) for ring in rings for end in (np.min, np.max)):
                    if (place < -slack).any() or (place > np.add(slide.dimensions, slack)).any():
                        what = "{} reaches {:.0f}, {:.0f}, outside a slide of {}x{} pixels"
                        what = what.format(name, *place, *slide.dimensions)
                        raise bad(what, "regions-outside")
                named.append((label, rings))
    except ValueError as error:
        raise bad(str(error)) from error
    # QuPath: what a name with a star covers is of no class.
    classes = tuple(sorted({label for label, _ in named if not label.endswith("*")}))
    if len(classes) > MOST_CLASSES:
        raise bad(f"{len(classes)} classes, at most {MOST_CLASSES} may be")
    values = {label: number for number, label in enumerate(classes, 1)}
    regions = [Region(values.get(label, 0), rings) for label, rings in named]
    regions.sort(key=lambda region: -np.prod(np.subtract(*region.box()[::-1])))
    return Drawn(hashlib.sha256(data).hexdigest(), classes, regions, _remarks(told, classes))


def _remarks(told: collections.Counter, classes: tuple[str, ...]) -> tuple[str, ...]:
    said = []
    if told["class"]:
        said.append(f"{told['class']:,} drawn regions without a class left out")
    if told["areas"]:
        said.append(f"{told['areas']:,} drawn points, lines and detections left out")
    return (*said, *(() if classes else ("no region with a class is drawn",)))


def _geojson(data: bytes) -> Iterator[Shape]:
    """A FeatureCollection, a list of Features, or one Feature."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    if isinstance(said, dict):
        said = said["features"] if "features" in said else [said]
    if not isinstance(said, list):
        raise ValueError("holds no list of features")
    for number, feature in enumerate(said, 1):
        name = f"feature {number}"
        try:
            properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
            areas = _AREAS.get(geometry.get("type"))
            if properties.get("objectType", "annotation") != "annotation" or areas is None:
                yield name, "", None
                continue
            polygons = areas(geometry["coordinates"])
            shape = name, _label(properties), [_rings(polygon) for polygon in polygons]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{name} is no Feature of GeoJSON") from error
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        yield shape


def _label(properties: dict[str, Any]) -> str:
    """The class; QuPath writes one of several parts as a list."""
    said = properties.get("classification") or {}
    names = said.get("names") or [said.get("name") or ""]
    return " ".join(": ".join(names).split())  # one line: TFDS lists classes so


def _rings(polygon: list) -> tuple[np.ndarray, ...]:
    if not polygon:
        raise ValueError("has no corner")
    return tuple(_ring(ring) for ring in polygon)


def _ring(corners: list) -> np.ndarray:
    """float64 [n, 2]."""
    try:
        ring = np.array(corners)
    except ValueError:  # not all of one length
        ring = np.array(())
    if ring.ndim != 2 or len(ring) < 3 or ring.shape[1] < 2 or ring.dtype.kind not in "iuf":
        raise ValueError("its corners aren't three or more pairs of numbers")
    if not np.isfinite(ring).all():
        raise ValueError("a corner is not finite")
    return ring[:, :2].astype(np.float64)


def _asap(data: bytes) -> Iterator[Shape]:
    """`Annotation`s of `Coordinate`s; the class is the group that one is part of."""
    root, number = None, 0
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(data), ("start", "end")):
            if root is None:
                root = element
                if root.tag != "ASAP_Annotations":
                    raise ValueError(f"is no XML of ASAP: it begins <{root.tag}>")
            if event == "end" and element.tag == "Annotation":
                number += 1
                yield _annotation(f"annotation {number}", element)
                element.clear()  # a file may hold millions of corners
    except ElementTree.ParseError as error:
        raise ValueError(f"is no XML: {error}") from error


def _annotation(name: str, element: ElementTree.Element) -> Shape:
    group = " ".join(element.get("PartOfGroup", "None").split())
    corners = [(c.get("Order"), c.get("X"), c.get("Y")) for c in element.iter("Coordinate")]
    if element.get("Type") in ("Dot", "PointSet", "Measurement"):
        return name, "", None
    try:
        places = [tuple(float(number) for number in corner) for corner in corners]
        places.sort(key=lambda place: place[0])
        rings = (_ring([place[1:] for place in places]),)
    except TypeError as error:
        raise ValueError(f"{name}: a corner lacks its Order, X or Y") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return name, "" if group == "None" else group, [rings]
