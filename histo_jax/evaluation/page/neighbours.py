"""The training images that the features call most alike, for some test images."""

import dataclasses

import numpy as np

from histo_jax.evaluation import knn, splits
from histo_jax.evaluation.labelled import Labelled, Plan
from histo_jax.evaluation.linear import standardise

SHOWN = 5  # neighbours of each query
MOST = 12  # queries


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Queries and their neighbours, nearest first, as positions among the labelled images.

    Attributes:
      queries: int64 [q] test images.
      nearest: int64 [q, k] training images.
      agree: share in 0..1 of the k nearest with the query's class, over the whole test part; for
        regression the mean distance of their targets, percent points.
    """

    queries: np.ndarray
    nearest: np.ndarray
    agree: float


def find(x: np.ndarray, plan: Plan, found: Labelled) -> Found:
    """Neighbours of test images drawn by the plan's seed, the same number of every class.

    Features float32 [n, width] are standardised by the training part, as k-NN is scored. With
    targets, their tenths stand for classes.
    """
    train, test = plan.rows("train"), plan.rows("test")
    a, b = standardise(x[train], x[test])
    _, at = knn.neighbours(a, b, SHOWN)
    nearest = train[at]
    truth = found.truth
    near, own = truth[nearest], truth[test][:, None]
    agree = (near == own).mean() if found.classes else np.abs(near - own).mean()
    chosen = draw(truth[test] if found.classes else splits.quantile_bins(truth[test]), plan.seed)
    return Found(test[chosen], nearest[chosen], float(agree))


def draw(kinds: np.ndarray, seed: int, most: int = MOST) -> np.ndarray:
    """Positions of as many of each kind as fit into `most`, at least one of the first kinds."""
    rng = np.random.default_rng(seed)
    present = np.unique(kinds)
    each = max(1, most // len(present))
    if len(present) > most:
        present = np.sort(rng.permutation(present)[:most])
    order = rng.permutation(len(kinds))
    return np.concatenate([order[kinds[order] == kind][:each] for kind in present])
