"""Who trains, who chooses, who is tested: pure functions of keys, labels, groups and a seed.

The order of the records plays no part: everything is drawn from hashes of the keys.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from histo_jax.errors import HistoError

PARTS = ("train", "validation", "test")  # a split is an int8 array of indices into this
UNUSED = 3  # in a split: a training image whose label was not drawn
FRACTIONS = (0.5, 0.25, 0.25)  # paper, section 4.2
ATTEMPTS = 64  # orders of groups tried until every class is in every part
TILE_KEY = re.compile(r"(.+)-\d+--?\d+--?\d+")  # <source>-<level>-<x>-<y>


def quotas(n: int, fractions: Sequence[float] = FRACTIONS) -> tuple[int, ...]:
    """Shares of `n` items by largest remainder; ties go to train, then validation."""
    exact = [n * f for f in fractions]
    counts = [int(e) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: n - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def paper(
    keys: np.ndarray, strata: np.ndarray, seed: int, fractions: Sequence[float] = FRACTIONS
) -> np.ndarray:
    """The paper's split: 50/25/25 of each stratum, images of one patient on any side.

    Args:
      keys: str [n], unique.
      strata: int [n], the class, or `quantile_bins` of a target.
      seed: of the draw.
      fractions: share of each part.

    Returns:
      int8 [n], index into `PARTS`.
    """
    parts = np.empty(len(keys), np.int8)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[_shuffle(keys[members], f"{seed}")]
        parts[members] = np.repeat(np.arange(3), quotas(len(members), fractions))
    return parts


def grouped(
    keys: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
) -> np.ndarray:
    """No group on two sides: groups in order of size, each to the part that lacks its classes most.

    Orders of equal-sized groups are tried until every stratum is in every part; where none is
    found the best one returns, and `check` names what is missing.

    Args:
      keys: str [n], unique.
      strata: int [n], the class, or `quantile_bins` of a target.
      groups: [n], from `group_ids`.
      seed: of the draw.
      fractions: share of each part; 0 leaves a part empty.

    Returns:
      int8 [n], index into `PARTS`.
    """
    strata = np.unique(strata, return_inverse=True)[1]
    best, fewest = None, np.inf
    for attempt in range(ATTEMPTS):
        parts = _deal(keys, strata, groups, f"{seed}/{attempt}", np.asarray(fractions))
        present = np.zeros((3, strata.max() + 1), bool)
        present[parts, strata] = True
        missing = int((~present[np.asarray(fractions) > 0]).sum())
        if missing < fewest:
            best, fewest = parts, missing
        if missing == 0:
            break
    return best


def draw_labels(
    parts: np.ndarray, keys: np.ndarray, strata: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Keeps a share of the training labels; the rest becomes `UNUSED`.

    Of each stratum max(1, floor(fraction·n + 1/2)) images, the first of a seeded order: smaller
    shares of one seed lie inside larger ones.

    Args:
      parts: int8 [n], index into `PARTS`.
      keys: str [n], unique.
      strata: int [n], the class; all one for targets.
      fraction: in (0, 1].
      seed: of the draw.
    """
    kept = parts.copy()
    for stratum in np.unique(strata):
        members = np.flatnonzero((strata == stratum) & (parts == 0))
        members = members[_shuffle(keys[members], f"labels/{seed}")]
        kept[members[max(1, int(fraction * len(members) + 0.5)) :]] = UNUSED
    return kept


def official(
    path: object,
    keys: np.ndarray,
    strata: np.ndarray,
    groups: np.ndarray,
    split: np.ndarray,
    seed: int,
) -> np.ndarray | None:
    """The split the set came with, or None where it came with none.

    A set with `test` but no `validation` gives a quarter of its training groups to validation.

    Raises:
      HistoError: a group is in two parts; a part is unknown; there is validation but no test.
    """
    names = set(np.unique(split).tolist()) - {""}
    if names <= {"train"}:
        return None
    if not names <= set(PARTS) or not {"train", "test"} <= names or (split == "").any():
        what = "has the official parts " + ", ".join(repr(n) for n in np.unique(split).tolist())
        raise HistoError(path, "split", what, "name them train, validation and test")
    parts = np.array([PARTS.index(s) for s in split.tolist()], np.int8)
    if "validation" not in names:
        train = np.flatnonzero(parts == 0)
        parts[train] = grouped(keys[train], strata[train], groups[train], seed, (0.75, 0.25, 0.0))
    _check_groups(path, keys, groups, parts)
    return parts


def group_ids(table: dict[str, np.ndarray]) -> tuple[np.ndarray, bool]:
    """Which images must stay on one side: same patient, else same slide, else same source image.

    Images of identical bytes are one group, whoever they are said to come from. An empty patient
    is filled from the slide's other images where those name exactly one.

    Args:
      table: columns `key`, and where known `patient`, `slide`, `sha256`, each [n].

    Returns:
      int64 [n] group numbers, and whether any group has two images or more.
    """
    keys = table["key"].tolist()
    empty = [""] * len(keys)
    slides = table["slide"].tolist() if "slide" in table else empty
    patients = table["patient"].tolist() if "patient" in table else empty
    known: dict[str, set] = {}
    for slide, patient in zip(slides, patients, strict=True):
        if slide and patient:
            known.setdefault(slide, set()).add(patient)
    names = []
    for key, slide, patient in zip(keys, slides, patients, strict=True):
        if not patient and len(known.get(slide, ())) == 1:
            (patient,) = known[slide]
        tile = TILE_KEY.fullmatch(key)
        source = ("image", tile[1] if tile else key)
        names.append(("patient", patient) if patient else ("slide", slide) if slide else source)
    numbers = {name: i for i, name in enumerate(sorted(set(names)))}
    groups = np.array([numbers[name] for name in names], np.int64)
    if "sha256" in table:
        groups = _merge(groups, np.unique(table["sha256"], return_inverse=True)[1])
    return groups, len(np.unique(groups)) < len(groups)


def quantile_bins(target: np.ndarray) -> np.ndarray:
    """Strata of a regression target: up to ten bins of equal counts, eight images or more each."""
    bins = int(np.clip(len(target) // 8, 1, 10))
    edges = np.quantile(target, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, target, side="right")


def check(
    path: object, parts: np.ndarray, labels: np.ndarray, classes: Sequence[str], groups: np.ndarray
) -> None:
    """Refuses a split whose score would mean nothing, before any work is done.

    Args:
      path: the set, for the message.
      parts: int8 [n].
      labels: int [n], looked at only where there are classes.
      classes: names in label order; empty for regression.
      groups: [n], what the split held together: `group_ids`, or a number for each image.

    Raises:
      HistoError: a part is empty, or a class is absent from one.
    """
    for p, part in enumerate(PARTS):
        if not (parts == p).any():
            what = f"{len(np.unique(groups))} groups leave the {part} part empty"
            remedy = "label at least 3 patients, slides or single images"
            raise HistoError(path, "split-empty", what, remedy)
        for c, name in enumerate(classes):
            if not (labels[parts == p] == c).any():
                count = len(np.unique(groups[labels == c]))
                kind = "images" if len(np.unique(groups)) == len(groups) else "patients or slides"
                what = f"class {name!r} is absent from the {part} part, it has {count} {kind}"
                remedy = f"label it in at least 3 {kind}, or leave it out of the set"
                if kind != "images":
                    remedy += ", or give split_by=paper alone, which parts images of one patient"
                raise HistoError(path, "class-absent", what, remedy)


def _deal(
    keys: np.ndarray, strata: np.ndarray, groups: np.ndarray, salt: str, fractions: np.ndarray
) -> np.ndarray:
    names, numbers = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), strata.max() + 1))
    np.add.at(counts, (numbers, strata), 1)
    sizes = counts.sum(1)
    first = {}  # a group's smallest key stands for it: group numbers may change with the set
    for number, key in zip(numbers.tolist(), keys.tolist(), strict=True):
        first[number] = min(first.get(number, key), key)
    order = _shuffle(np.array([first[g] for g in range(len(names))]), salt)
    order = order[np.argsort(-sizes[order], kind="stable")]
    wanted = fractions[:, None] * counts.sum(0)
    have, part_of = np.zeros_like(wanted), np.empty(len(names), np.int8)
    scale = np.where(wanted > 0, wanted, 1)
    closed = np.where(fractions > 0, 0, -np.inf)
    for g in order:
        lack = ((wanted - have) / scale) @ (counts[g] / sizes[g]) + closed
        part_of[g] = np.argmax(lack)
        have[part_of[g]] += counts[g]
    return part_of[numbers]


def _shuffle(keys: np.ndarray, salt: str) -> np.ndarray:
    digests = [hashlib.sha256(f"{salt}:{key}".encode()).digest() for key in keys.tolist()]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)


def _merge(groups: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Joins groups that share a value of `same`, directly or through others."""
    parent = list(range(int(groups.max()) + 1)) if len(groups) else []

    def root(g: int) -> int:
        while parent[g] != g:
            parent[g] = parent[parent[g]]
            g = parent[g]
        return g

    owner: dict[int, int] = {}
    for group, value in zip(groups.tolist(), same.tolist(), strict=True):
        a, b = root(group), root(owner.setdefault(value, group))
        parent[max(a, b)] = min(a, b)
    return np.array([root(g) for g in groups.tolist()], np.int64)


def _check_groups(path: object, keys: np.ndarray, groups: np.ndarray, parts: np.ndarray) -> None:
    """Refuses groups on two sides of an official split; names up to five images of them."""
    sides: dict[int, set] = {}
    for group, part in zip(groups.tolist(), parts.tolist(), strict=True):
        sides.setdefault(group, set()).add(part)
    leaking = [g for g, s in sides.items() if len(s) > 1]
    if leaking:
        some = ", ".join(str(keys[np.flatnonzero(groups == g)[0]]) for g in leaking[:5])
        what = f"{len(leaking)} patients, slides or images are in two official parts, e.g. {some}"
        raise HistoError(path, "split-leak", what, "keep each in one part and build again")
