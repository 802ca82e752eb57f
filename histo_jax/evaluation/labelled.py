"""The labelled rows of a prepared set, and the splits they are scored on."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import splits

SPLITS = ("paper", "grouped")


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled rows of a prepared set.

    Attributes:
      rows: int64 [n] in the set's table.
      truth: int64 [n] classes, or float64 [n] targets in 0..100.
      classes: names in label order; None for regression.
      strata: int64 [n], what every part should have its share of: the class; for regression the
        tenth of the target, within the class where images have one too.
      groups: int64 [n], what must stay on one side.
      has_ids: whether any group holds more than one image.
      unit: what groups are: patients | slides | patients or slides | source images.
      names: text [n], the patient, else the slide; empty where neither is known.
      keys, split: text [n].
      slides: text [n]; empty: unknown.
    """

    rows: np.ndarray
    truth: np.ndarray
    classes: tuple[str, ...] | None
    strata: np.ndarray
    groups: np.ndarray
    has_ids: bool
    unit: str
    names: np.ndarray
    keys: np.ndarray
    split: np.ndarray
    slides: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """One split to score.

    Attributes:
      split_by: paper | grouped | official.
      seed: of the drawn labels, of the head, of the untrained network, and of the split, unless
        all repeats share one.
      parts: int8 [n], index into `splits.PARTS`, or `splits.UNUSED`.
      fraction: share of the training labels that are used, 0..1.
      pool: int64, positions of all training images, their labels used or not.
    """

    split_by: str
    seed: int
    parts: np.ndarray
    fraction: float
    pool: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """Positions int64 of one part."""
        return np.flatnonzero(self.parts == splits.PARTS.index(part))


def labelled(prepared: Prepared) -> Labelled:
    """Selects the rows with a target, or where no row has one, those with a class.

    Raises:
      HistoError: neither is there; one class or one target alone; targets outside 0..100, or all
        within 0..1: errors are reported in percent points, and a fraction read as percent would
        look a hundred times better.
    """
    table = prepared.table
    label, target = table.get("label"), table.get("target")
    if target is not None and np.isfinite(target).any():
        rows = np.flatnonzero(np.isfinite(target))
        truth, classes = target[rows].astype(np.float64), None
        low, high = truth.min(), truth.max()
        if low < 0 or high > 100 or high <= 1:
            what = f"targets run from {low:g} to {high:g}, wanted percent, 0..100"
            raise HistoError(prepared.path, "target", what, "multiply fractions by 100 and rebuild")
        if low == high:
            what = f"every target is {low:g}: there is nothing to learn"
            raise HistoError(prepared.path, "target", what, "label images that differ")
        kind = np.zeros(len(rows), np.int64) if label is None else label[rows].astype(np.int64)
        strata = np.zeros_like(kind)
        for number in np.unique(kind):
            within = kind == number
            strata[within] = 10 * number + splits.quantile_bins(truth[within])
    elif label is not None and (label >= 0).any():
        rows = np.flatnonzero(label >= 0)
        truth = strata = label[rows].astype(np.int64)
        known = prepared.card["classes"] or [str(c) for c in range(truth.max() + 1)]
        if truth.max() >= len(known):
            what = f"label {truth.max()} has no name among {len(known)} classes"
            raise HistoError(prepared.path, "label", what, "build it again with its classes")
        classes = tuple(known)
        if len(np.unique(truth)) < 2:
            what = f"every label is {classes[truth[0]]!r}: there is nothing to tell apart"
            raise HistoError(prepared.path, "class-absent", what, "label at least two classes")
    else:
        remedy = "give labels.csv (file, label or target) and build again"
        raise HistoError(prepared.path, "no-labels", "holds no label and no target", remedy)
    columns = {name: column[rows] for name, column in table.items()}
    groups, has_ids = splits.group_ids(columns)
    split = columns.get("split", np.full(len(rows), "train"))
    unit, names = unit_and_names(columns)
    slides = columns.get("slide", np.full(len(rows), ""))
    return Labelled(
        rows, truth, classes, strata, groups, has_ids, unit, names, columns["key"], split, slides
    )


def unit_and_names(columns: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """What groups are, in words, and each image's patient, else its slide."""
    empty = np.full(len(columns["key"]), "")
    patient, slide = columns.get("patient", empty), columns.get("slide", empty)
    names = np.where(patient != "", patient, slide)
    if (patient != "").all():
        return "patients", names
    if (patient != "").any():
        return "patients or slides", names
    return ("slides" if (slide != "").any() else "source images"), names


def plans(cfg: EvalConfig, prepared: Prepared, found: Labelled) -> list[Plan]:
    """All splits of a run and the shares of their labels, checked before any work.

    An official split replaces the drawn ones. Without ids, `grouped` would be `paper` under a
    better name and is left out.

    Raises:
      HistoError: an unknown split; only `grouped` asked for and no ids; a class absent from a part.
    """
    for split_by in cfg.split_by:
        if split_by not in SPLITS:
            known = f"known: {', '.join(SPLITS)}"
            raise HistoError("config.split_by", "config", f"holds {split_by!r}", known)
    for fraction in cfg.fractions:
        if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
            what = f"holds {fraction!r}"
            raise HistoError("config.fractions", "config", what, "shares are above 0 and at most 1")
    # Of targets no tenth must be there: one image of each would be most of a small set.
    kinds = found.truth if found.classes else np.zeros(len(found.rows), np.int64)
    made = []
    for seed in range(cfg.seed, cfg.seed + cfg.repeats):
        for split_by, parts in _split(cfg, prepared, found, cfg.seed if cfg.one_split else seed):
            unit = np.arange(len(found.rows)) if split_by == "paper" else found.groups
            splits.check(prepared.path, parts, found.truth, found.classes or (), unit)
            pool = np.flatnonzero(parts == 0)
            for share in dict.fromkeys(map(float, cfg.fractions)):
                kept = splits.draw_labels(parts, found.keys, kinds, share, seed)
                made.append(Plan(split_by, seed, kept, share, pool))
    return sorted(made, key=lambda plan: plan.split_by != "paper")


def _split(
    cfg: EvalConfig, prepared: Prepared, found: Labelled, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and parts of each split of one seed."""
    given = splits.official(
        prepared.path, found.keys, found.strata, found.groups, found.split, seed
    )
    if given is not None:
        yield "official", given
        return
    kinds = [s for s in cfg.split_by if s == "paper" or found.has_ids]
    if not kinds:
        what = "has no patients, slides or shared source images to group by"
        remedy = "name them in labels.csv, or use split_by=paper"
        raise HistoError(prepared.path, "no-groups", what, remedy)
    for kind in kinds:
        if kind == "paper":
            yield kind, splits.paper(found.keys, found.strata, seed)
        else:
            yield kind, splits.grouped(found.keys, found.strata, found.groups, seed)
