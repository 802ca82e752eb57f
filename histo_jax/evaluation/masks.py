"""Sets with masks: what is to be found in their images, and the images as they are stored."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from histo_jax.data.images import read_masks, read_whole
from histo_jax.data.prepared import Prepared
from histo_jax.data.record import IGNORE
from histo_jax.errors import HistoError
from histo_jax.evaluation import labelled, splits
from histo_jax.evaluation.features import HELD


@dataclasses.dataclass(frozen=True, eq=False)
class Masked(labelled.Labelled):
    """A set with masks, as `labelled.plans` takes it.

    `truth` is the share of pixels that are not of class 0, in percent; `strata` its tenths, within
    the label where images have one too; `classes` is None: a class need not be in every part.

    Attributes:
      kinds: names of the mask's classes.
      shapes: int64 [n, 2], height and width of images and masks.
      pixels: int64 [n, k], pixels of each class.
    """

    kinds: tuple[str, ...]
    shapes: np.ndarray
    pixels: np.ndarray


def masked(prepared: Prepared) -> Masked:
    """Reads every mask once.

    Raises:
      HistoError: a record without mask; one class alone; mask values that are not 0..k-1, or 255
        for what counts for nothing.
    """
    table, rows = prepared.table, np.arange(prepared.n)
    shapes, counts = [], []
    for mask in read_masks(prepared, rows):
        shapes.append(mask.shape)
        counts.append(np.bincount(mask.ravel(), minlength=IGNORE + 1))
    pixels = np.array(counts, np.int64)[:, :IGNORE]
    _check(prepared, pixels)
    pixels = pixels[:, pixels.any(0)]
    share = 100 * pixels[:, 1:].sum(1) / np.maximum(pixels.sum(1), 1)
    kind = table.get("label", np.zeros(len(rows))).astype(np.int64)
    strata = np.zeros_like(kind)
    for number in np.unique(kind):
        within = kind == number
        strata[within] = 10 * number + splits.quantile_bins(share[within])
    groups, has_ids = splits.group_ids(table)
    unit, names = labelled.unit_and_names(table)
    k = pixels.shape[1]
    return Masked(
        rows=rows, truth=share, classes=None, strata=strata, groups=groups, has_ids=has_ids,
        unit=unit, names=names, keys=table["key"],
        split=table.get("split", np.full(len(rows), "train")),
        slides=table.get("slide", np.full(len(rows), "")),
        kinds=("background", "foreground") if k == 2 else tuple(f"class {c}" for c in range(k)),
        shapes=np.array(shapes, np.int64), pixels=pixels,
    )  # fmt: skip


def _check(prepared: Prepared, pixels: np.ndarray) -> None:
    """Refuses values of masks that are not 0..k-1; `pixels` int64 [n, 255]."""
    values = np.flatnonzero(pixels.any(0))
    odd = values[values >= len(values)]
    if len(odd):
        key = prepared.table["key"][np.flatnonzero(pixels[:, odd[0]])[0]]
        seen = ", ".join(str(v) for v in values[:10].tolist()) + (", …" if len(values) > 10 else "")
        what = f"masks hold the values {seen}, not 0 to {len(values) - 1}: {odd[0]} in {key}"
        remedy = "number the classes from 0 without gaps, or build with instance_masks"
        raise HistoError(prepared.path, "mask-classes", what, remedy)
    if len(values) < 2:
        only = f"of class {values[0]}" if len(values) else "to be ignored"
        what = f"every pixel of every mask is {only}: there is nothing to tell apart"
        raise HistoError(prepared.path, "mask-classes", what, "give masks of at least two classes")


class Originals:
    """Images and masks of a set as large as they are stored; kept where they take little memory.

    Attributes:
      prepared, found: the set.
    """

    def __init__(self, prepared: Prepared, found: Masked):
        self.prepared, self.found = prepared, found
        area = int(found.shapes.prod(1).sum())
        self._images = kept(lambda rows: read_whole(prepared, rows), found.rows, 3 * area)
        self._masks = kept(lambda rows: read_masks(prepared, rows), found.rows, area)

    def images(self, at: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [h, w, 3] of the positions `at` in `found`."""
        return self._images(at)

    def masks(self, at: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [h, w] of the positions `at` in `found`."""
        return self._masks(at)


def kept(
    read: Callable[[np.ndarray], Iterator[np.ndarray]], rows: np.ndarray, size: int
) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
    """`read(rows[at])` as a function of `at`; arrays of up to `HELD` bytes are read once."""
    held: list[np.ndarray] = []

    def some(at: np.ndarray) -> Iterator[np.ndarray]:
        if size > HELD:
            yield from read(rows[at])
            return
        if not held:
            held.extend(read(rows))
        yield from (held[i] for i in at.tolist())

    return some
