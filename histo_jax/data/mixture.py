"""Several prepared sets read as one."""

import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from histo_jax.data import held_out
from histo_jax.data.prepared import Prepared, default_data_dir, list_prepared, open_prepared
from histo_jax.errors import HistoError

AUTO = ("histo_wsi/*", "histo_patches/*")  # the unlabelled sets of our builders
FIELD = "config.data.datasets"
LEAST, MOST = 10, 2000  # images of a set, where a percentage is asked for (paper, section 5.4)
PREPARE = (
    "prepare one: `tfds build tfds_builders/histo_wsi --manual_dir <slides>` or "
    "`tfds build tfds_builders/histo_patches --manual_dir <images>`; or try `make demo`"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """The images of some sets, counted 0 … n-1 through all of them.

    Attributes:
      sets: the prepared sets.
      split: which part of them.
      rows: for each set the rows of that split in `set.table`, int64.
      weights: share of each set in a batch; None = each image once an epoch.
      remarks: what was left out of them, and what could not be checked.
    """

    sets: tuple[Prepared, ...]
    split: str
    rows: tuple[np.ndarray, ...]
    weights: tuple[float, ...] | None
    remarks: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images of each set."""
        return tuple(len(rows) for rows in self.rows)

    @property
    def n(self) -> int:
        """Images of all sets."""
        return sum(self.sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sets."""
        return tuple(s.name for s in self.sets)

    @property
    def content_hashes(self) -> tuple[str, ...]:
        """Content hash of each set, all splits."""
        return tuple(s.card["content_hash"] for s in self.sets)

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of what is read and in which order of records: the same data, the same one."""
        keys = [
            s.table["key"][rows].tobytes() for s, rows in zip(self.sets, self.rows, strict=True)
        ]
        orders = [hashlib.sha256(k).hexdigest() for k in keys]
        facts = [self.names, self.content_hashes, orders, self.weights]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def locate(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which set (int64) and which row of its table (int64) the images are."""
        which = np.searchsorted(np.cumsum(self.sizes), images, side="right")
        return which, self._all_rows[images]

    @functools.cached_property
    def _all_rows(self) -> np.ndarray:
        return np.concatenate(self.rows)


def open_mixture(
    data_dir: str | os.PathLike | None,
    datasets: str | Sequence[tuple[str, float | None]],
    split: str = "train",
    percent: float | None = None,
    seed: int = 0,
    exclude_validation: bool = False,
    where: Sequence[tuple[str, str]] = (),
) -> Mixture:
    """Opens and checks the sets of a run.

    Args:
      data_dir: see `default_data_dir`.
      datasets: `((name or glob, weight or None), …)`, or `"auto"` = every prepared `histo_wsi`
        and `histo_patches` set, but those of the catalogue that the paper doesn't pretrain on.
        What a glob matches shares its weight by size.
      split: `train`, `train+test`, `all`.
      percent: of the images of each set, see `draw`; None = all.
      seed: of that draw.
      where: only sets of which the catalogue says so, see `says`.
      exclude_validation: leave out first what a prepared validation set holds, see `held_out`.

    Raises:
      HistoError: a name or glob that matches nothing or twice; weights for some sets only, or not
        positive; no image in the split; a damaged set.
    """
    auto = datasets == "auto"
    if isinstance(datasets, str):
        datasets = [(name, None) for name in (_auto(data_dir) if auto else [datasets])]
    weighted = [weight is not None for _, weight in datasets]
    if any(weighted) and not all(weighted):
        raise HistoError(FIELD, "weights", "only some sets have a weight", "give all or none one")
    if not all(weight is None or 0 < weight < float("inf") for _, weight in datasets):
        raise HistoError(FIELD, "weights", "a weight is not a positive number")

    expanded = [(_expand(data_dir, pattern), weight) for pattern, weight in datasets]
    names = [name for found, _ in expanded for name in found]
    for name in names:
        if names.count(name) > 1:
            raise HistoError(FIELD, "twice", f"{name} is named more than once", "name it once")
    if not names:
        what = f"no prepared set {' or '.join(AUTO)} in {default_data_dir(data_dir)}"
        raise HistoError(FIELD, "no-set", what, PREPARE)
    sets = [open_prepared(data_dir, name) for name in names]
    if auto:
        sets = [s for s in sets if s.entry is None or s.entry.pool]
    sets = [s for s in sets if says(s, where)]
    rows, remarks = [_rows(s, split) for s in sets], []
    if exclude_validation:
        rows, remarks = held_out.leave_out(data_dir, sets, rows)
    rows = [draw(s.table["key"], r, percent, seed) for s, r in zip(sets, rows, strict=True)]
    weights = _weights(expanded, {s.name: len(r) for s, r in zip(sets, rows, strict=True)})
    kept = [(s, r) for s, r in zip(sets, rows, strict=True) if len(r)]
    if not kept:
        why = remarks or [f"no set is {where}" if where else "none is of the pool"]
        what = f"nothing is left: {'; '.join(why)}"
        raise HistoError(FIELD, "no-set", what, "name other sets, or ask for less")
    return Mixture(
        sets=tuple(s for s, _ in kept),
        split=split,
        rows=tuple(r for _, r in kept),
        weights=tuple(weights[s.name] for s, _ in kept) if any(weighted) else None,
        remarks=tuple(remarks),
    )


def open_run(config: Any) -> Mixture:
    """The sets that a run reads; `config` is a `histo_jax.config.Config`. See `open_mixture`."""
    data = config.data
    return open_mixture(
        data.dir, data.datasets, data.split, data.percent, config.seed,
        exclude_validation=data.exclude_validation, where=data.where,
    )  # fmt: skip


def _weights(
    expanded: Sequence[tuple[list[str], float | None]], sizes: dict[str, int]
) -> dict[str, float]:
    """The weight of each set: those of one pattern share its weight by size."""
    return {
        name: (weight or 0) * sizes.get(name, 0) / max(sum(sizes.get(n, 0) for n in found), 1)
        for found, weight in expanded
        for name in found
    }


def says(prepared: Prepared, where: Sequence[tuple[str, str]]) -> bool:
    """Whether the catalogue says this of a set, of every name one of the values asked for.

    Args:
      prepared: a set; of one that is not in the catalogue nothing is said.
      where: (`organ`, `stain`, `magnification` or `id`, pattern), e.g. `("organ", "breast")`;
        a variant that is called by a magnification is of that one alone.
    """
    entry = prepared.entry
    if not where or entry is None:
        return not where
    variant = prepared.card["options"].get("variant") or ""
    for name in {name for name, _ in where}:
        known = getattr(entry, name).split(", ")
        if name == "magnification" and variant in known:
            known = [variant]
        wanted = [pattern for key, pattern in where if key == name]
        if not any(fnmatch.fnmatch(one, pattern) for one in known for pattern in wanted):
            return False
    return True


def pool_size(n: int, percent: float | None) -> int:
    """How many of a set's `n` images: `percent` of them, at least 10, at most 2,000; None: all."""
    if percent is None:
        return n
    return min(max(round(percent / 100 * n), LEAST), MOST, n)


def draw(keys: np.ndarray, rows: np.ndarray, percent: float | None, seed: int) -> np.ndarray:
    """The rows whose keys hash lowest, in their order: fewer of one seed lie inside more.

    Args:
      keys: str [N], of all records.
      rows: int64 [n] into `keys`.
      percent: see `pool_size`.
      seed: of the hash.
    """
    size = pool_size(len(rows), percent)
    if size == len(rows):
        return rows
    hashes = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys[rows].tolist()]
    lowest = sorted(range(len(rows)), key=hashes.__getitem__)[:size]
    return rows[np.sort(lowest)]


def _rows(prepared: Prepared, split: str) -> np.ndarray:
    rows = prepared.rows(split)
    if not len(rows):
        splits = ", ".join(np.unique(prepared.table["split"])) or "none"
        what = f"no image in split {split}"
        raise HistoError(prepared.path, "no-split", what, f"it has: {splits}")
    return rows


def _auto(data_dir: str | os.PathLike | None) -> list[str]:
    here = list_prepared(data_dir)
    return [name for pattern in AUTO for name in fnmatch.filter(here, pattern)]


def _expand(data_dir: str | os.PathLike | None, pattern: str) -> list[str]:
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    here = list_prepared(data_dir)
    found = fnmatch.filter(here, pattern)
    if not found:
        hint = f"prepared here: {', '.join(here) or 'none'}"
        where = default_data_dir(data_dir)
        raise HistoError(FIELD, "no-set", f"{pattern} matches no set in {where}", hint)
    return found
