"""Tiles picked by their clusters: nearest, balanced, or of all clusters but some."""

import numpy as np

from histo_jax.features.kmeans import Clusters


def nearest(found: Clusters, each: int, of: np.ndarray | None = None) -> np.ndarray:
    """int64 [m] rows: of every cluster the `each` nearest its centre, nearest first.

    Clusters come in their order, ties by row; one with fewer tiles gives all. `of` limits it to
    some clusters.
    """
    order = np.lexsort((found.distances, found.labels))  # stable: ties by row
    return _first(order, found, each, of)


def drawn(found: Clusters, each: int, of: np.ndarray, seed: int) -> np.ndarray:
    """int64 [m] rows: of every cluster named, `each` at random, or all it has."""
    dice = np.random.default_rng(seed).random(len(found.labels))
    return _first(np.lexsort((dice, found.labels)), found, each, of)


def balanced(found: Clusters, count: int, seed: int) -> np.ndarray:
    """int64 [<=count] rows at random, as evenly over the clusters as they allow; by cluster."""
    dice = np.random.default_rng(seed).random(len(found.labels))
    order = np.lexsort((dice, found.labels))
    turn = np.empty(len(order), np.int64)
    turn[order] = _place(found.labels[order])
    rows = np.lexsort((dice, turn))[:count]
    return rows[np.lexsort((rows, found.labels[rows]))]


def _first(order: np.ndarray, found: Clusters, each: int, of: np.ndarray | None) -> np.ndarray:
    labels = found.labels[order]
    kept = _place(labels) < each
    if of is not None:
        kept &= np.isin(labels, of)
    return order[kept]


def _place(labels: np.ndarray) -> np.ndarray:
    """int64 [n]: how many of the same label stand before each, where equals stand together."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    lengths = np.diff(starts, append=len(labels))
    return np.arange(len(labels)) - np.repeat(starts, lengths)
