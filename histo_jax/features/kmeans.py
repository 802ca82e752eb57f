"""Mini-batch k-means on features that stay on the disk, and how much of the spread it explains."""

import contextlib
import dataclasses
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from histo_jax.errors import HistoError
from histo_jax.features.table import Table
from histo_jax.training.progress import live

BATCH = 4096  # rows of a step
BLOCK = 16384  # rows read at once


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster each tile is in.

    Attributes:
      labels: int32 [n], in 0..k-1.
      distances: float32 [n], Euclidean, to the cluster's centre.
      centres: float32 [k, width].
      explained: share of the variance between the clusters, in 0..1.
    """

    labels: np.ndarray
    distances: np.ndarray
    centres: np.ndarray
    explained: float

    @property
    def k(self) -> int:
        """How many were asked for; some may hold no tile."""
        return len(self.centres)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [k]: tiles of each."""
        return np.bincount(self.labels, minlength=self.k)


@contextlib.contextmanager
def matrix(table: Table, folder: Path, l2: bool = False) -> Iterator[np.ndarray]:
    """All features as one float32 [n, width] on the disk, each row of length 1 where `l2`.

    Features of several files are copied to a file in `folder` that has no name, so that nothing
    is left however this ends.

    Raises:
      HistoError: `features-not-finite`, `write-failed`.
    """
    with _nameless(folder) as file:
        alone = len(table.slides) == 1 and not l2
        for start, block in table.blocks(BLOCK):
            finite = np.isfinite(block).all(1)
            if not finite.all():
                slide, row = table.where(start + int(np.argmin(finite)))
                what = f"holds features that are not finite, of {slide.keys[row]} for one"
                remedy = "was the pretraining stable? extract them anew"
                raise HistoError(slide.path, "features-not-finite", what, remedy)
            if l2:
                length = np.linalg.norm(block, axis=1, keepdims=True)
                block = block / np.where(length > 0, length, 1)
            if not alone:
                _append(file, block, folder)
        if alone:
            yield table.slides[0].features
        else:
            yield np.memmap(file, np.float32, "r", shape=(table.n, table.width))


def fit(x: np.ndarray, k: int, seed: int) -> MiniBatchKMeans:
    """scikit-learn's mini-batch k-means with k-means++ on float32 [n, width], left unlabelled.

    Equal x, k and seed give equal centres, but not on every number of threads or every machine.
    """
    model = MiniBatchKMeans(
        k, batch_size=BATCH, init_size=3 * max(k, BATCH), n_init=1, random_state=seed,
        compute_labels=False, verbose=1,
    )  # fmt: skip
    with (
        tqdm(desc=f"k={k:,}, first centres", unit=" steps", disable=not live()) as bar,
        contextlib.redirect_stdout(_Steps(bar, f"k={k:,}")),
        # k-means++ multiplies slim matrices: where cores are busy, threads wait for one another.
        threadpool_limits(1, user_api="blas"),
    ):
        return model.fit(x)


def assign(x: np.ndarray, model: MiniBatchKMeans) -> Clusters:
    """Gives every row of x its nearest centre, block after block."""
    centres = model.cluster_centers_.astype(np.float32)
    labels, distances = np.empty(len(x), np.int32), np.empty(len(x), np.float32)
    name = f"k={len(centres):,}, all tiles"
    with tqdm(total=len(x), desc=name, unit=" tiles", unit_scale=True, disable=not live()) as bar:
        for start in range(0, len(x), BLOCK):
            block = np.asarray(x[start : start + BLOCK])
            rows = slice(start, start + len(block))
            labels[rows] = model.predict(block)
            distances[rows] = np.linalg.norm(block - centres[labels[rows]], axis=1)
            bar.update(len(block))
    return Clusters(labels, distances, centres, explained_variance(x, labels))


def explained_variance(x: np.ndarray, labels: np.ndarray) -> float:
    """1 - SSE/SST, about the means of the members; 1 where all rows are equal.

    Args:
      x: float [n, width].
      labels: int [n], from 0.
    """
    counts = np.bincount(labels).astype(np.float64)
    sums = np.zeros((len(counts), x.shape[1]))
    for rows, of in _sorted_blocks(labels):
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        sums[of[starts]] += np.add.reduceat(x[rows].astype(np.float64), starts)
    means = sums / np.maximum(counts, 1)[:, None]
    within = sum(float(np.square(x[rows] - means[of]).sum()) for rows, of in _sorted_blocks(labels))
    between = float(counts @ np.square(means - sums.sum(0) / counts.sum()).sum(1))
    return between / (between + within) if between + within else 1.0


def _sorted_blocks(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of each block in the order of their labels, and those labels."""
    for start in range(0, len(labels), BLOCK):
        order = np.argsort(labels[start : start + BLOCK], kind="stable")
        yield start + order, labels[start + order]


@contextlib.contextmanager
def _nameless(folder: Path) -> Iterator[Any]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        yield file


def _append(file: Any, block: np.ndarray, folder: Path) -> None:
    left = memoryview(block.tobytes())
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> HistoError:
    return HistoError(folder, "write-failed", f"cannot write: {error.strerror}")


class _Steps(io.TextIOBase):
    """Moves a bar by what `verbose=1` prints; other words change nothing."""

    def __init__(self, bar: tqdm, name: str):
        self._bar, self._name = bar, name

    def write(self, text: str) -> int:
        if found := re.search(r"step (\d+)/\d+.*inertia: ([\d.]+)$", text):
            self._bar.set_description_str(self._name, refresh=False)
            self._bar.set_postfix_str(f"mean square distance {float(found[2]):.4g}", refresh=False)
            self._bar.update(int(found[1]) - self._bar.n)
        return len(text)
