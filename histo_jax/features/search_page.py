"""`search.html`: queries beside what was found, and where on the slides it lies."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histo_jax import pages
from histo_jax.features.nearest import Hits
from histo_jax.features.queries import Query
from histo_jax.features.store import SlideFeatures
from histo_jax.features.table import Table

MOST_QUERIES = 100  # shown
MOST_SLIDES = 6  # overviews a query
SIDE = 112  # pixels of a tile as shown
OVERVIEW = 320  # pixels, longer side


@dataclasses.dataclass(frozen=True)
class Place:
    """A slide seen whole, with the tiles of it that matter.

    Attributes:
      name: of the slide.
      picture: data URI.
      extent: (width, height) of the picture in level-0 pixels.
      dots: (words, x, y, whether it is the query), centres in the picture's level-0 pixels.
    """

    name: str
    picture: str
    extent: tuple[int, int]
    dots: list[tuple[str, float, float, bool]]


def write(
    path: Path, table: Table, asked: list[Query], found: list[Hits], metric: str, where: str
) -> Path:
    """Writes the page.

    Args:
      path: of the page.
      table: the features.
      asked, found: queries and their hits.
      metric: of `nearest.METRICS`.
      where: was looked, in words.

    Raises:
      HistoError: a file of features that can't be read, or `path` can't be written.
    """
    overview = functools.cache(lambda number: shrunk(table.slides[number].overview(), OVERVIEW))
    shown = [
        _shown(table, query, hits, overview)
        for query, hits in zip(asked[:MOST_QUERIES], found, strict=False)
    ]
    facts = table.slides[0].facts
    return pages.write(
        path,
        "search.html",
        contents=[(f"q{i}", row["name"]) for i, row in enumerate(shown)],
        queries=shown,
        asked=len(asked),
        tiles=table.n,
        slides=len(table.slides),
        facts=facts,
        seen=seen(facts),
        metric=metric,
        where=where,
        pictures=any(hit["picture"] for row in shown for hit in row["hits"]),
    )


def seen(facts: Any) -> str:
    """What a tile shows, in words."""
    size = f"{facts.patch_size} by {facts.patch_size} pixels"
    if np.isfinite(facts.mpp) and facts.mpp > 0:
        size += f", {facts.patch_size * facts.mpp:.0f} µm a side"
    return size


def shrunk(picture: Image.Image | None, side: int) -> str:
    """A picture as a data URI, empty where there is none."""
    return pages.jpeg(np.asarray(picture), 80, side) if picture else ""


def _shown(table: Table, query: Query, hits: Hits, overview: Any) -> dict[str, Any]:
    rows, of = hits.rows.tolist(), table.slide_of(hits.rows).tolist()
    found = []
    for rank, (row, number, value) in enumerate(zip(rows, of, hits.values, strict=True), 1):
        slide, inside = table.where(row)
        found.append(
            {
                "rank": rank, "value": f"{value:.3f}", "slide": slide.facts.slide, "number": number,
                "place": place(slide, inside),
                "picture": shrunk(table.picture(row), SIDE),
            }
        )  # fmt: skip
    at = {} if query.row is None else {query.row: "the query"}
    at |= {row: f"{hit['rank']}" for row, hit in zip(rows, found, strict=True)}
    name, key = query.name, ""
    if query.row is not None:
        slide, inside = table.where(query.row)
        name, key = f"{slide.facts.slide} · {place(slide, inside)}", query.name
    return {
        "name": name, "key": key, "picture": shrunk(query.picture, 2 * SIDE),
        "hits": found, "places": places(table, at, overview),
        "more": len({hit["number"] for hit in found}) > MOST_SLIDES,
    }  # fmt: skip


def place(slide: SlideFeatures, inside: int) -> str:
    """Where a tile lies, in level-0 pixels; of a patch its key."""
    if not slide.facts.patch_size_level0:
        return str(slide.keys[inside])
    return ", ".join(map(str, slide.coords[inside].tolist()))


def places(table: Table, at: dict[int, str], overview: Any) -> list[Place]:
    """The slides of these rows (row: what to call it), in their order, that have an overview."""
    of: dict[int, list[int]] = {}
    for row in at:
        of.setdefault(int(table.slide_of(np.array([row]))[0]), []).append(row)
    found = []
    for number, rows in of.items():
        slide, facts = table.slides[number], table.slides[number].facts
        placed = facts.overview_width and facts.patch_size_level0
        if len(found) == MOST_SLIDES or not placed or not overview(number):
            continue
        corner = np.array([facts.overview_x, facts.overview_y])
        inside = np.array(rows) - table.starts[number]
        centres = slide.coords[inside] - corner + facts.patch_size_level0 / 2
        dots = [
            (at[row], *centre, at[row] == "the query")
            for row, centre in zip(rows, centres.tolist(), strict=True)
        ]
        extent = (facts.overview_width, facts.overview_height)
        found.append(Place(facts.slide, overview(number), extent, dots[::-1]))
    return found
