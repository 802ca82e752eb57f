"""Which images, slides and patients prepared sets have in common, and the splits of one set."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from histo_jax.data.fingerprints import NEAR, Fingerprints, fingerprints, near_pairs
from histo_jax.data.prepared import Prepared

LEAST_NAME = 8  # characters: shorter names ("07", "A03") mean something else in every set
SHARED = ("exact", "near", "files", "slides", "patients")  # what a report counts of two parts
EXAMPLES = 20  # images that a report names of each kind


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One split of a set.

    Attributes:
      rows: int64 [n] of the set's index; `prints` are of those.
    """

    prepared: Prepared
    split: str
    rows: np.ndarray
    prints: Fingerprints

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{self.prepared.name}:{self.split}"

    @property
    def keys(self) -> np.ndarray:
        """Text [n]."""
        return self.prepared.table["key"][self.rows]

    @functools.cached_property
    def _files(self) -> np.ndarray:
        return np.array([key.partition("-")[0] for key in self.keys.tolist()], np.str_)

    def names(self, kind: str, across: bool) -> np.ndarray:
        """Text [n]: `slide`, `patient`, or `file`, the digest of what an image was cut from.

        Empty where it is unknown, or says nothing in another set: too short, or pseudonymised.
        """
        if kind == "file":
            return self._files
        names = self.prepared.table[kind][self.rows]
        if across:
            hidden = self.prepared.card["options"].get("pseudonymise", False)
            names = np.where((np.char.str_len(names) < LEAST_NAME) | hidden, "", names)
        return names


def parts_of(prepared: Prepared, rows: np.ndarray | None = None) -> list[Part]:
    """The splits of a set, of some rows if they are given, with their fingerprints.

    Raises:
      HistoError: a damaged record.
    """
    prints = fingerprints(prepared)
    rows = np.arange(prepared.n) if rows is None else rows
    splits = prepared.table["split"][rows]
    return [
        Part(prepared, split, rows[splits == split], _some(prints, rows[splits == split]))
        for split in np.unique(splits).tolist()
    ]


def compare(parts: Sequence[Part]) -> dict[str, Any]:
    """What every two parts share, and which images come more than once in one.

    Returns:
      `sets`: what was compared; `pairs`, those with anything in common: names `a` and `b`, `leak`
      where they are splits of one set and share more than looks, `exact` and `near`: how many
      images of a have a twin in b and the other way round; `files`, `slides`, `patients`: the
      names they share; `examples`.
    """
    looks = _Looks(parts)
    pairs = []
    for i, j in itertools.combinations_with_replacement(range(len(parts)), 2):
        a, b = parts[i], parts[j]
        found = _pair(a, b, looks, i, j)
        if any(map(any, (found[kind] for kind in SHARED))):
            pairs.append(found)
    told = [
        {"name": part.name, "images": len(part.rows), "flat": int(part.prints.flat.sum()),
         "content_hash": part.prepared.card["content_hash"]}
        for part in parts
    ]  # fmt: skip
    return {"sets": told, "pairs": pairs}


def _pair(a: Part, b: Part, looks: "_Looks", i: int, j: int) -> dict[str, Any]:
    exact = (twins(a, b), twins(b, a))
    near = (looks.like(i, j) & ~exact[0], looks.like(j, i) & ~exact[1])
    shared = {f"{kind}s": [] for kind in ("file", "slide", "patient")}
    same_set = a.prepared is b.prepared
    if a is not b:
        for kind in ("file", "slide", "patient"):
            both = np.intersect1d(a.names(kind, not same_set), b.names(kind, not same_set))
            shared[f"{kind}s"] = [name for name in both.tolist() if name]
    certain = any(map(any, (exact[0], *shared.values())))
    return {
        "a": a.name, "b": b.name, "leak": same_set and a is not b and certain,
        "exact": [int(side.sum()) for side in exact],
        "near": [int(side.sum()) for side in near],
        **shared,
        "examples": list(_examples(a, b, exact[0], near[0])),
    }  # fmt: skip


def twins(a: Part, b: Part) -> np.ndarray:
    """bool [n of a]: the image has the same pixels as one of b, or as another where a is b."""
    if a is not b:
        return np.isin(a.prints.pixels, b.prints.pixels)
    _, which, times = np.unique(a.prints.pixels, return_inverse=True, return_counts=True)
    return times[which] > 1


class _Looks:
    """Images that look alike, over all parts; flat ones look like none."""

    def __init__(self, parts: Sequence[Part]):
        looks = [part.prints.look[~part.prints.flat] for part in parts]
        self.distinct = np.unique(np.concatenate([np.zeros(0, np.uint64), *looks]))
        self.pairs = near_pairs(self.distinct)
        self.parts = parts
        self.count = np.zeros((len(parts), len(self.distinct)), np.int64)
        for row, look in zip(self.count, looks, strict=True):
            np.add.at(row, np.searchsorted(self.distinct, look), 1)

    def like(self, i: int, j: int) -> np.ndarray:
        """bool [n of part i]: the image looks like one of part j, or like another where i is j."""
        there = self.count[j] > (i == j)
        u, v = self.pairs.T
        known = there.copy()
        known[u[self.count[j][v] > 0]] = True
        known[v[self.count[j][u] > 0]] = True
        prints = self.parts[i].prints
        found = np.zeros(len(prints.look), bool)
        at = np.searchsorted(self.distinct, prints.look[~prints.flat])
        found[~prints.flat] = known[at]
        return found


def alike(parts: Sequence[Part], others: Sequence[Part]) -> list[np.ndarray]:
    """For each of `parts` bool [n]: the image looks like one of any of the others."""
    looks = _Looks([*parts, *others])
    nothing = [np.zeros(len(part.rows), bool) for part in parts]
    for i, found in enumerate(nothing):
        for j in range(len(parts), len(looks.parts)):
            found |= looks.like(i, j)
    return nothing


def _examples(a: Part, b: Part, exact: np.ndarray, near: np.ndarray) -> Iterator[list[str]]:
    """Keys of two images and how they are alike, for the first images of a."""
    for found, how in ((exact, "the same"), (near, "alike")):
        for image in np.flatnonzero(found)[:EXAMPLES].tolist():
            if how == "the same":
                other = b.prints.pixels == a.prints.pixels[image]
            else:
                other = np.bitwise_count(b.prints.look ^ a.prints.look[image]) <= NEAR
                other &= ~b.prints.flat
            if a is b:
                other[image] = False
            yield [str(a.keys[image]), str(b.keys[np.argmax(other)]), how]


def told(report: dict[str, Any]) -> Iterator[str]:
    """A report in words: a line a pair of parts."""
    for pair in sorted(report["pairs"], key=lambda pair: not pair["leak"]):
        said = [
            f"{there[0]:,} and {there[1]:,} images {how}"
            for how, there in (("the same", pair["exact"]), ("alike", pair["near"]))
            if any(there)
        ]
        if pair["a"] == pair["b"]:
            said = [text.partition(" and ")[0] + text[text.index(" images") :] for text in said]
        for kind in ("files", "slides", "patients"):
            names = pair[kind]
            if names:
                said.append(f"{len(names):,} {kind if len(names) > 1 else kind[:-1]}")
        where = f"{pair['a']} and {pair['b']}" if pair["a"] != pair["b"] else f"within {pair['a']}"
        yield f"{'LEAK  ' if pair['leak'] else ''}{where}: {', '.join(said)}"
    images = sum(part["images"] for part in report["sets"])
    flat = sum(part["flat"] for part in report["sets"])
    splits = len(report["sets"])
    yield f"compared {images:,} images of {splits} splits; {flat:,} are too flat to be alike"


def _some(prints: Fingerprints, rows: np.ndarray) -> Fingerprints:
    return Fingerprints(*(column[rows] for column in vars(prints).values()))
