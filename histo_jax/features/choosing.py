"""Which tiles to label next: one from each cluster, those a classifier is least sure of, any.

All take features float32 [n, width], in memory or mapped, and answer with tiles that have no label.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from histo_jax.evaluation import linear, logistic
from histo_jax.features import kmeans

MOST_CLUSTERS = 4096
BLOCK = 65536  # rows looked at at once
SAMPLE = 4096  # rows, evenly spaced, whose mean and deviation standardise all


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """What is labelled so far.

    Attributes:
      rows: int64 [m] of the features.
      truth: int64 [m], classes from 0.
    """

    rows: np.ndarray
    truth: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """Tiles to label, the first first.

    Attributes:
      rows: int64 [m].
      scores: float64 [m], what they were ordered by, see the strategies.
    """

    rows: np.ndarray
    scores: np.ndarray


def clusters(x: np.ndarray, keys: np.ndarray, known: Known, n: int, seed: int) -> Chosen:
    """Tiles nearest the centres of clusters without a label, larger clusters first.

    There are as many clusters as tiles labelled and wanted, so each of `n` can be of another one:
    see `spread`. The score is the cluster's share of all tiles.
    """
    k = min(len(x), n + len(known.rows), MOST_CLUSTERS)
    made = kmeans.assign(x, kmeans.fit(x, k, seed))
    return spread(made.labels, made.distances, known.rows, n)


def spread(labels: np.ndarray, distances: np.ndarray, known: np.ndarray, n: int) -> Chosen:
    """The tiles without a label in turns, a cluster gives one a turn.

    The turn of a tile is how many of its cluster have a label or lie nearer the centre. Within a
    turn larger clusters come first.

    Args:
      labels: int [n], clusters.
      distances: float [n], of each tile to its centre.
      known: rows that have a label.
      n: how many.
    """
    sizes = np.bincount(labels)
    had = np.bincount(labels[known], minlength=len(sizes))
    free = np.setdiff1d(np.arange(len(labels)), known)
    free = free[np.lexsort((free, distances[free], labels[free]))]
    of = labels[free]
    turn = had[of] + np.arange(len(free)) - np.searchsorted(of, of)
    best = np.lexsort((free, -sizes[of], turn))[:n]
    return Chosen(free[best], sizes[of[best]] / len(labels))


def uncertainty(x: np.ndarray, keys: np.ndarray, known: Known, n: int, seed: int) -> Chosen:
    """Tiles for which a classifier's two likeliest classes are closest.

    The classifier is `classify`. The score is 1 minus the distance of their shares: 1 is a toss-up.
    """
    shares = classify(x, known)
    free = np.setdiff1d(np.arange(len(x)), known.rows)
    scores = []
    for start in range(0, len(free), BLOCK):
        two = np.sort(shares(free[start : start + BLOCK]), 1)[:, -2:]
        scores.append(1 - (two[:, 1] - two[:, 0]))
    scores = np.concatenate(scores)
    best = np.lexsort((free, -scores))[:n]
    return Chosen(free[best], scores[best])


def classify(x: np.ndarray, known: Known) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on what is labelled: gives shares [m, classes] of any rows.

    Features are standardised by evenly spaced rows of all. λ is 1 / labels (scikit-learn's C = 1):
    with so few labels none are left to choose it by.
    """
    some = np.asarray(x[:: -(-len(x) // SAMPLE)])
    train = linear.standardise(some, x[known.rows])[1]
    model = logistic.at(train, known.truth, 1 / len(train))
    classes = int(known.truth.max()) + 1
    return lambda rows: logistic.shares(model, linear.standardise(some, x[rows])[1], classes)


def random(x: np.ndarray, keys: np.ndarray, known: Known, n: int, seed: int) -> Chosen:
    """Any tiles: the order is that of a number in 0..1, the score, made of seed and key."""
    free = np.setdiff1d(np.arange(len(keys)), known.rows)
    digests = (hashlib.sha256(f"choose/{seed}:{key}".encode()).digest() for key in keys[free])
    scores = np.array([int.from_bytes(digest[:8]) / 2**64 for digest in digests])
    best = np.lexsort((free, scores))[:n]
    return Chosen(free[best], scores[best])


STRATEGIES = {"clusters": clusters, "uncertainty": uncertainty, "random": random}
