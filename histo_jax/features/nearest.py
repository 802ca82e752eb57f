"""The rows of a table nearest to some vectors: exact, by matrix product, a block of rows at a time.

float32 products find who may be among the nearest: each comes with a bound on its rounding. The few
that remain are compared in float64, so that neither the block's size nor the device decides.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.errors import HistoError
from histo_jax.features.table import BLOCK, Table

METRICS = ("cosine", "euclid")
TOGETHER = 64  # queries a pass
ROUNDING = 2.0**-24  # of one float32 operation
AGAIN = 4096  # rows compared in float64 at once

Ranges = Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """What is nearest to one vector, nearest first; of equals the lower row comes first.

    Attributes:
      rows: int64 [k] of the table.
      values: float64 [k], cosines or Euclidean distances.
    """

    rows: np.ndarray
    values: np.ndarray


def nearest(
    table: Table,
    vectors: np.ndarray,
    k: int,
    metric: str = "cosine",
    left_out: Sequence[Ranges] | None = None,
    block: int = BLOCK,
) -> list[Hits]:
    """The `k` rows nearest to each vector.

    Args:
      table: where to look, read once for every `TOGETHER` vectors.
      vectors: float32 [q, width].
      k: how many, at most as many as are not left out.
      metric: one of `METRICS`; the cosine with a vector of zeros is 0.
      left_out: for each vector the rows that are no answer, as (first, behind the last).
      block: rows at a time; plays no part in the answer.

    Raises:
      HistoError: `features-not-finite`.
    """
    left_out = left_out or [()] * len(vectors)
    found = []
    for start in range(0, len(vectors), TOGETHER):
        some = slice(start, start + TOGETHER)
        found += _pass(
            table, np.asarray(vectors[some], np.float32), k, metric, left_out[some], block
        )
    return found


def _pass(
    table: Table, vectors: np.ndarray, k: int, metric: str, left_out: Sequence[Ranges], block: int
) -> list[Hits]:
    padded = np.pad(vectors, ((0, _size(len(vectors)) - len(vectors)), (0, 0)))
    queries = jax.device_put(padded)
    kept = [_Candidates(k) for _ in vectors]
    block = min(block, _size(table.n))  # a small table is not padded to a large block
    for start, x in table.blocks(block):
        here = [_inside(ranges, start, len(x)) for ranges in left_out]
        if all(mask.all() for mask in here):
            continue
        full = np.pad(x, ((0, block - len(x)), (0, 0))) if len(x) < block else x
        score, slack = map(np.asarray, _scores(full, queries, metric))
        score, slack = score[: len(x)], np.broadcast_to(slack, score.shape)
        if not np.isfinite(score).all():
            raise _not_finite(table, start, score)
        for i, candidates in enumerate(kept):
            at = np.flatnonzero(~here[i])
            middle, bound = score[at, i], slack[at, i]
            candidates.add(start + at, middle - bound, middle + bound)
    return [_ordered(table, v, c.rows, k, metric) for v, c in zip(vectors, kept, strict=True)]


class _Candidates:
    """Rows that may be among the k best: their score at best is not below the k-th at worst."""

    def __init__(self, k: int):
        self.k = k
        self.rows = np.zeros(0, np.int64)
        self._low, self._high = np.zeros((2, 0), np.float32)

    def add(self, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Takes rows of a block, with the least and the most that each may score."""
        if len(self.rows) >= self.k:
            some = high >= self._threshold()
            rows, low, high = rows[some], low[some], high[some]
        self.rows = np.concatenate([self.rows, rows])
        self._low = np.concatenate([self._low, low])
        self._high = np.concatenate([self._high, high])
        if len(self.rows) > self.k:
            some = self._high >= self._threshold()
            self.rows, self._low, self._high = self.rows[some], self._low[some], self._high[some]

    def _threshold(self) -> float:
        return np.partition(self._low, -self.k)[-self.k]


def _ordered(table: Table, vector: np.ndarray, rows: np.ndarray, k: int, metric: str) -> Hits:
    """The candidates by their float64 values."""
    parts = [
        exact(table.rows(rows[start : start + AGAIN]), vector, metric)
        for start in range(0, len(rows), AGAIN)
    ]
    values = np.concatenate([np.zeros(0), *parts])
    order = np.lexsort((rows, -values if metric == "cosine" else values))[:k]
    return Hits(rows[order], values[order])


def exact(x: np.ndarray, vector: np.ndarray, metric: str) -> np.ndarray:
    """Cosines or distances float64 [n] of rows [n, width], each by the same sums as alone."""
    x, vector = x.astype(np.float64), vector.astype(np.float64)
    if metric == "euclid":
        return np.sqrt(((x - vector) ** 2).sum(1))
    lengths = np.sqrt((x * x).sum(1)) * np.sqrt((vector * vector).sum())
    return (x * vector).sum(1) / np.where(lengths > 0, lengths, 1)


@functools.partial(jax.jit, static_argnums=2)
def _scores(x: jax.Array, queries: jax.Array, metric: str) -> tuple[jax.Array, jax.Array]:
    """What orders rows as the metric does, higher is nearer, [n, q]; how wrong it may be at most,
    [n, q] or [1, 1]."""
    products = jnp.matmul(x, queries.T, precision=jax.lax.Precision.HIGHEST)
    squares = (x * x).sum(1, keepdims=True)
    lengths = jnp.sqrt((queries * queries).sum(1))[None]
    share = jnp.float32((x.shape[1] + 8) * ROUNDING)  # of a sum of so many products
    if metric == "cosine":
        whole = jnp.sqrt(squares) * lengths
        return products / jnp.where(whole > 0, whole, 1), (3 * share)[None, None]
    return 2 * products - squares, share * (2 * jnp.sqrt(squares) * lengths + 2 * squares)


def _inside(ranges: Ranges, start: int, n: int) -> np.ndarray:
    """Which of the rows `start` to `start + n` lie in any range, bool [n]."""
    mask = np.zeros(n, bool)
    for first, behind in ranges:
        mask[max(first - start, 0) : max(behind - start, 0)] = True
    return mask


def _size(n: int) -> int:
    """The next power of two: programs are compiled for few shapes."""
    return 1 << max(n - 1, 0).bit_length()


def _not_finite(table: Table, start: int, score: np.ndarray) -> HistoError:
    slide, inside = table.where(start + int(np.flatnonzero(~np.isfinite(score).all(1))[0]))
    what = f"row {inside} holds numbers that are not finite, or too large to multiply"
    return HistoError(slide.path, "features-not-finite", what, "was the pretraining stable?")
