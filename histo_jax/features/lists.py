"""Tiles and their clusters as CSV, written slide by slide so that no list of all keys is held."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histo_jax import files
from histo_jax.features.kmeans import Clusters
from histo_jax.features.store import SlideFeatures
from histo_jax.features.table import Table

COLUMNS = ("key", "slide", "x", "y", "cluster", "distance")


def write(path: Path, table: Table, found: Clusters, rows: np.ndarray | None = None) -> None:
    """Writes these rows in their order, or all in the table's.

    Raises:
      HistoError: `write-failed`.
    """
    lines = _every(table, found) if rows is None else _ordered(table, found, rows)
    files.write_csv(path, COLUMNS, lines)


def _every(table: Table, found: Clusters) -> Iterator[tuple]:
    for i, slide in enumerate(table.slides):
        yield from _lines(slide, found, int(table.starts[i]), np.arange(slide.n))


def _ordered(table: Table, found: Clusters, rows: np.ndarray) -> list[tuple]:
    lines: list[tuple] = [()] * len(rows)
    of = table.slide_of(rows)
    for i in np.unique(of):
        places, start = np.flatnonzero(of == i), int(table.starts[i])
        new = _lines(table.slides[i], found, start, rows[places] - start)
        for place, line in zip(places, new, strict=True):
            lines[place] = line
    return lines


def _lines(slide: SlideFeatures, found: Clusters, start: int, inside: np.ndarray) -> list[tuple]:
    again = SlideFeatures(slide.path)  # whose keys are forgotten with it
    labels, distances = found.labels[start + inside], found.distances[start + inside]
    said = zip(again.keys[inside], again.coords[inside], labels, distances, strict=True)
    name = slide.facts.slide
    return [(key, name, x, y, label, f"{far:.6g}") for key, (x, y), label, far in said]
