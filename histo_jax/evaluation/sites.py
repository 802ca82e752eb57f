"""How much of patient and scanner the features know: asked as one asks for the class."""

from pathlib import Path
from typing import Any

import numpy as np

from histo_jax.config import EvalConfig
from histo_jax.data.prepared import Prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import linear, metrics, splits
from histo_jax.evaluation.labelled import Labelled, Plan
from histo_jax.files import open_csv

FEWEST = 8  # images of a patient or scanner to be asked about
MOST = 64  # patients, those with most images
BY = ("key", "slide", "patient")


def tables(cfg: EvalConfig, prepared: Prepared, found: Labelled) -> dict[str, np.ndarray]:
    """For each question the answer for every labelled image, text [n], empty where unknown.

    `patient` (or `slide`) as the set knows it, and the other columns of `cfg.sites`.

    Raises:
      HistoError: the file isn't readable, or has no column that the set has.
    """
    known = {found.unit.split(" ")[0].removesuffix("s"): found.names}
    known = {name: values for name, values in known.items() if (values != "").any()}
    if cfg.sites is None:
        return known
    with open_csv(cfg.sites) as reader:
        lines = list(reader)
    header = list(lines[0]) if lines else []
    by = next((name for name in BY if name in header), None)
    if by is None or len(header) < 2:
        what = f"has the columns {', '.join(map(str, header)) or 'none'}"
        raise HistoError(cfg.sites, "table", what, f"one of {', '.join(BY)}, and what to ask for")
    own = prepared.table[by][found.rows].tolist()
    for column in header:
        if column not in BY:
            said = {line[by]: (line[column] or "").strip() for line in lines}
            known[column] = np.array([said.get(name, "") for name in own])
    if not any((values != "").any() for values in known.values()):
        what = f"names no {by} of {prepared.name}"
        raise HistoError(Path(cfg.sites), "table", what, f"its {by}s are like {own[0]!r}")
    return known


def rows(entrant: Any, x: np.ndarray, plans: list[Plan], ledger: Any) -> list[dict]:
    """A row a question and seed: balanced accuracy of a linear layer, of chance, of class alone.

    Images are parted at random, so that every patient is on every side: the reverse of a grouped
    split. `by_class` is what one would get who knew nothing but the image's class: where patients
    differ in their tissue, part of the answer is no stain.

    Args:
      entrant: see `entrants.Entrant`.
      x: float32 [n, width], its features for these plans.
      plans: their seeds draw the parts.
      ledger: see `run.Ledger`; what it has a row of is not asked again.
    """
    made = []
    have = {(row["init"], row["site"], row["seed"]) for row in ledger.sites}
    for seed in dict.fromkeys(plan.seed for plan in plans):
        for name, values in ledger.asked.items():
            if (entrant.name, name, seed) not in have:
                row = ask(x, values, ledger.found, entrant.decay, seed)
                made += [{"init": entrant.name, "site": name, "seed": seed, **row}] if row else []
    return made


def ask(x: np.ndarray, values: np.ndarray, found: Labelled, decay: float, seed: int) -> dict | None:
    """One question, `values` text [n]; None where there are no two names with enough images."""
    at, site, names = _numbered(values)
    if len(names) < 2:
        return None
    parts = splits.paper(found.keys[at], site, seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    even = linear.standardise(*(x[at[rows]] for rows in (train, validation, test)))
    problem = linear.Problem(even[0], site[train], even[1], site[validation], seed)
    (heads,) = linear.fit([problem], classes=len(names), decay=decay)
    said = linear.outputs(linear.best(heads), even[2]).argmax(1)
    usual = _usual(found.strata[at[train]], site[train], found.strata[at[test]])
    return {
        "n": len(test), "names": len(names), "chance": 1 / len(names),
        "value": _balanced(site[test], said, len(names)),
        "by_class": _balanced(site[test], usual, len(names)),
    }  # fmt: skip


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of the names that have enough of them, each's number, and the names."""
    names, counts = np.unique(values[values != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    chosen = np.sort(names[[i for i in order if counts[i] >= FEWEST][:MOST]])
    at = np.flatnonzero(np.isin(values, chosen))
    return at, np.searchsorted(chosen, values[at]), chosen


def _usual(kind: np.ndarray, site: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The most frequent site of each kind in the training part, for the images asked about."""
    counts = np.zeros((max(kind.max(), asked.max()) + 1, site.max() + 1), np.int64)
    np.add.at(counts, (kind, site), 1)
    return counts.argmax(1)[asked]


def _balanced(truth: np.ndarray, said: np.ndarray, count: int) -> float:
    return float(metrics.balanced_accuracy(metrics.confusion(truth, said, count)))
