"""Leaves out of pretraining what a validation set is known to hold."""

import collections
import os
from collections.abc import Iterator, Sequence

import numpy as np

from histo_jax import catalogue
from histo_jax.data import overlap
from histo_jax.data.overlap import Part
from histo_jax.data.prepared import Prepared, list_prepared, open_prepared

OWN = "histo_labelled"  # the builder of one's own sets that are scored


def leave_out(
    data_dir: str | os.PathLike | None, sets: Sequence[Prepared], rows: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[str]]:
    """The rows of each set that no prepared validation set is known to hold.

    An image goes if a validation image has the same pixels or looks alike, or was cut from the
    same file, slide or patient; a set goes whole if the catalogue says that it holds a
    validation set.

    Args:
      data_dir: where validation sets are looked for; those in `sets` are no such.
      sets: to pretrain on.
      rows: int64 [n] of each set.

    Returns:
      The rows that stay, and what is to be said: what went and why, and what nobody could check.
    """
    names = {s.name for s in sets}
    builders = {OWN, *(entry.builder for entry in catalogue.load().values() if entry.validates)}
    held_out = [
        open_prepared(data_dir, name)
        for name in list_prepared(data_dir)
        if name not in names and name.split("/")[0] in builders
    ]
    against = [part for one in held_out for part in overlap.parts_of(one)]
    kept, said = [], []
    for one, wanted in zip(sets, rows, strict=True):
        if one.entry and one.entry.holds:
            kept.append(wanted[:0])
            said.append(f"{one.name}: left out whole, it holds {', '.join(one.entry.holds)}")
            continue
        stays, why = _unseen(one, wanted, against)
        kept.append(stays)
        said += [f"{one.name}: {why}"] if why else []
    return kept, [*said, *_unchecked(sets, held_out)]


def _unseen(one: Prepared, rows: np.ndarray, against: Sequence[Part]) -> tuple[np.ndarray, str]:
    """The rows that stay, and how many of the others went for which reason."""
    stays, why = [rows[:0]], collections.Counter[str]()
    parts = overlap.parts_of(one, rows) if against else []
    for part, looks in zip(parts, overlap.alike(parts, against), strict=True):
        seen = np.zeros(len(part.rows), bool)
        for reason, found in _reasons(part, against, looks):
            why[reason] += int((found & ~seen).sum())
            seen |= found
        stays.append(part.rows[~seen])
    if not against:
        return rows, ""
    told = ", ".join(f"{number:,} {reason}" for reason, number in why.items() if number)
    return np.sort(np.concatenate(stays)), f"left out {told}" if told else ""


def _reasons(
    part: Part, against: Sequence[Part], looks: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """(why, bool [n]) in turn."""
    pixels = np.concatenate([other.prints.pixels for other in against])
    yield "with the pixels of a validation image", np.isin(part.prints.pixels, pixels)
    for kind in ("file", "slide", "patient"):
        names = part.names(kind, across=True)
        there = np.concatenate([other.names(kind, across=True) for other in against])
        yield f"from the {kind} of one", np.isin(names, there[there != ""])
    yield "that look like one", looks


def _unchecked(sets: Sequence[Prepared], held_out: Sequence[Prepared]) -> list[str]:
    """What the answer doesn't cover."""
    here = {one.entry.id for one in held_out if one.entry}
    absent = [e.id for e in catalogue.load().values() if e.validates and e.id not in here]
    said = [f"not prepared here, so not checked: {', '.join(absent)}"] if absent else []
    unknown = [
        s.name
        for s in sets
        if s.card["options"].get("pseudonymise") or not (s.table["patient"] != "").any()
    ]
    if unknown and held_out:
        said.append(f"patients unknown or hidden, so not compared: {', '.join(unknown)}")
    return said
