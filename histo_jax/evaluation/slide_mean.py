"""One example a slide: the mean of its tiles' features; who is right about slides, not tiles."""

import dataclasses

import numpy as np

from histo_jax.data.prepared import Prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import splits
from histo_jax.evaluation.labelled import Labelled, Plan

NAME = "slide_mean"


@dataclasses.dataclass(frozen=True, eq=False)
class Slides:
    """The slides of a labelled set.

    Attributes:
      first: int64 [slides], position of one tile of each, which stands for it.
      of: int64 [n], the slide of each tile.
    """

    first: np.ndarray
    of: np.ndarray

    def mean(self, x: np.ndarray) -> np.ndarray:
        """float32 [slides, width] of the tiles' features [n, width]."""
        order = np.argsort(self.of, kind="stable")
        begins = np.searchsorted(self.of[order], np.arange(len(self.first)))
        sums = np.add.reduceat(x[order], begins, axis=0, dtype=np.float64)
        return (sums / np.bincount(self.of)[:, None]).astype(np.float32)

    def parts(self, plan: Plan, found: Labelled) -> np.ndarray | None:
        """int8 [slides], index into `splits.PARTS`, or `splits.UNUSED`: those of the tiles, and the
        plan's share of the slides' labels; None where the plan tears a slide."""
        tiles = plan.parts.copy()
        tiles[plan.pool] = splits.PARTS.index("train")  # labels used or not
        parts = tiles[self.first]
        if (parts[self.of] != tiles).any():
            return None
        kinds = found.truth if found.classes else np.zeros(len(tiles), np.int64)
        keys, kinds = found.keys[self.first], kinds[self.first]
        return splits.draw_labels(parts, keys, kinds, plan.fraction, plan.seed)


def slides(found: Labelled) -> Slides:
    """Which tiles are of one slide."""
    _, first, of = np.unique(found.slides, return_index=True, return_inverse=True)
    return Slides(first, of)


def check(prepared: Prepared, found: Labelled, plans: list[Plan]) -> None:
    """Refuses a set whose labels aren't the slides', before any work.

    Raises:
      HistoError: `no-groups`: tiles of unknown slides; `slide-labels`: one slide, several labels;
        `config`: no split that keeps slides whole.
    """
    unknown = np.count_nonzero(found.slides == "")
    if unknown:
        what = f"{NAME} needs the slide of each image, unknown of {unknown} of {len(found.slides)}"
        raise HistoError(prepared.path, "no-groups", what, "name them in labels.csv, column slide")
    seen = slides(found)
    torn = np.flatnonzero(found.truth != found.truth[seen.first][seen.of])
    if len(torn):
        what = f"{NAME} needs one label a slide, {found.slides[torn[0]]} has several"
        remedy = "label slides, in slides.csv, or leave this protocol out"
        raise HistoError(prepared.path, "slide-labels", what, remedy)
    if all(seen.parts(plan, found) is None for plan in plans):
        what = f"tears the slides apart that {NAME} is to score"
        raise HistoError("config.split_by", "config", what, "add 'grouped'")
