"""What each way of choosing would have been worth, on a set whose labels are all known."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from histo_jax import files, pages
from histo_jax.data.prepared import Prepared, open_prepared
from histo_jax.errors import HistoError
from histo_jax.evaluation import metrics, paired, splits
from histo_jax.evaluation.labelled import Labelled, labelled
from histo_jax.evaluation.page import svg
from histo_jax.features import choosing
from histo_jax.features.choosing import Known
from histo_jax.features.table import Table, open_table
from histo_jax.training.progress import live

HELP = "score over labels of each way of choosing, on a labelled set"
PARTS = (0.5, 0.0, 0.5)  # of the groups: to choose from, none, to score on
LEAST_SEEDS = 5
FLOOR = "random"


@dataclasses.dataclass(frozen=True)
class Point:
    """A score: `by` a strategy, of one seed, with so many labels."""

    by: str
    seed: int
    labels: int
    macro_f1: float


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("features", nargs="+", type=Path, help="files of features, or folders")
    parser.add_argument("--dataset", required=True, help="the prepared labelled set they are of")
    parser.add_argument("--data_dir", help="where it is; else TFDS_DATA_DIR, else TFDS's default")
    parser.add_argument("--n", type=int, default=12, help="labels a round (12)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds (8)")
    parser.add_argument(
        "--seeds", type=int, default=10, help="splits, each with a start of its own"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("label_curve"), help="folder of label_curve.html and .csv"
    )


def run(args: argparse.Namespace) -> None:
    """Simulates and writes the page."""
    for flag, least in (("n", 1), ("rounds", 1), ("seeds", LEAST_SEEDS)):
        if getattr(args, flag) < least:
            what = f"is {getattr(args, flag)}"
            raise HistoError(f"--{flag}", "config", what, f"give {least} or more")
    table = open_table(*args.features)
    prepared = open_prepared(args.data_dir, args.dataset)
    found = labelled(prepared)
    if not found.classes:
        what, remedy = "has targets; the curve is of classes", "give a set with classes"
        raise HistoError(prepared.path, "no-labels", what, remedy)
    x = table.rows(rows_of(table, found.keys))
    made, points = [split(prepared, found, seed) for seed in range(args.seeds)], []
    smallest = min(len(pool) for pool, _ in made)
    if args.n * args.rounds > smallest:
        what = f"{args.rounds} rounds of {args.n} are more than the {smallest} tiles to choose from"
        raise HistoError("--rounds", "config", what, f"give at most {smallest // args.n}")
    bar = tqdm(total=len(made), unit=" seeds", file=sys.stderr, disable=not live())
    with bar, threadpool_limits(1):  # small problems: threads would wait for one another
        for seed, (pool, test) in enumerate(made):
            points.append(Point("all", seed, len(pool), score(x, found, pool, test)))
            for by in choosing.STRATEGIES:
                points += simulate(x, found, pool, test, by, seed, args.n, args.rounds)
            bar.update()
    rows = summary(points)
    print(as_text(rows))
    for path in write(args, table, prepared, found, points, rows):
        print(f"wrote    {path}")


def rows_of(table: Table, keys: np.ndarray) -> np.ndarray:
    """The rows of these keys.

    Raises:
      HistoError: `features-missing`.
    """
    row = {key: i for i, key in enumerate(table.keys.tolist())}
    missing = [key for key in keys.tolist() if key not in row]
    if missing:
        what = f"{len(missing)} of {len(keys)} labelled images have no features, e.g. {missing[0]}"
        raise HistoError(table.slides[0].path, "features-missing", what, "extract the whole set")
    return np.array([row[key] for key in keys.tolist()], np.int64)


def split(prepared: Prepared, found: Labelled, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions to choose from and to score on; no group in both. An official split is kept.

    Raises:
      HistoError: `class-absent`: from one of the two.
    """
    keys, strata, groups = found.keys, found.strata, found.groups
    parts = splits.official(prepared.path, keys, strata, groups, found.split, seed)
    if parts is None:
        parts = splits.grouped(keys, strata, groups, seed, PARTS)
    pool, test = (np.flatnonzero(parts == splits.PARTS.index(p)) for p in ("train", "test"))
    for c, name in enumerate(found.classes):
        for part in (pool, test):
            if not (found.truth[part] == c).any():
                what = f"class {name!r} is in one half only, of {len(np.unique(groups))} groups"
                remedy = "label it in at least two patients or slides"
                raise HistoError(prepared.path, "class-absent", what, remedy)
    return pool, test


def simulate(
    x: np.ndarray, found: Labelled, pool: np.ndarray, test: np.ndarray,
    by: str, seed: int, n: int, rounds: int,
) -> Iterator[Point]:  # fmt: skip
    """Chooses `n` of the pool, learns their labels, scores, and again.

    The first labels of `uncertainty` are those of `random`.
    """
    inside = np.zeros(0, np.int64)
    for _ in range(rounds):
        known = Known(inside, found.truth[pool[inside]])
        start = by == "uncertainty" and len(np.unique(known.truth)) < 2
        strategy = choosing.STRATEGIES[FLOOR if start else by]
        chosen = strategy(x[pool], found.keys[pool], known, n, seed)
        inside = np.concatenate([inside, chosen.rows])
        yield Point(by, seed, len(inside), score(x, found, pool[inside], test))


def score(x: np.ndarray, found: Labelled, rows: np.ndarray, test: np.ndarray) -> float:
    """Macro-F1 on `test` of `choosing.classify` on the labels of `rows`."""
    truth, classes = found.truth[rows], len(found.classes)
    if len(np.unique(truth)) < 2:
        said = np.full(len(test), truth[0])
    else:
        said = choosing.classify(x, Known(rows, truth))(test).argmax(1)
    return float(metrics.macro_f1(metrics.confusion(found.truth[test], said, classes)))


def summary(points: list[Point]) -> list[dict]:
    """Means over seeds, and how far from random on the same splits.

    Returns:
      Rows `by, labels, macro_f1, ci, gain, gain_ci, wins, seeds`; no gain of random itself.
    """
    of: dict[tuple[str, int], dict[int, float]] = {}
    for point in points:
        place = point.by, (0 if point.by == "all" else point.labels)
        of.setdefault(place, {})[point.seed] = point.macro_f1
    pool = round(np.mean([point.labels for point in points if point.by == "all"]))
    rows = []
    for (by, labels), scores in sorted(
        of.items(), key=lambda item: (item[0][1] or 2**62, item[0][0])
    ):
        values = np.array([scores[seed] for seed in sorted(scores)])
        row = {
            "by": by, "labels": labels or pool, "macro_f1": float(values.mean()),
            "ci": paired.interval(values), "seeds": len(values),
        }  # fmt: skip
        if labels and by != FLOOR:
            gain = values - np.array([of[FLOOR, labels][seed] for seed in sorted(scores)])
            row |= {
                "gain": float(gain.mean()), "gain_ci": paired.interval(gain),
                "wins": int((gain > 0).sum()),
            }  # fmt: skip
        rows.append(row)
    return rows


def as_text(rows: list[dict]) -> str:
    """The table, for the terminal."""
    said = [f"labels  {'by':11}  macro-F1  95 %            over random, 95 %         better in"]
    for row in rows:
        low, high = row["ci"]
        line = (
            f"{row['labels']:>6}  {row['by']:11}  {row['macro_f1']:8.3f}  {low:.3f} to {high:.3f}"
        )
        if "gain" in row:
            low, high = row["gain_ci"]
            line += (
                f"  {row['gain']:+.3f}, {low:+.3f} to {high:+.3f}  {row['wins']} of {row['seeds']}"
            )
        said.append(line)
    return "\n".join(said)


def write(
    args: argparse.Namespace, table: Table, prepared: Prepared, found: Labelled,
    points: list[Point], rows: list[dict],
) -> list[Path]:  # fmt: skip
    """`label_curve.csv`, a line a score, and `label_curve.html`."""
    head = [field.name for field in dataclasses.fields(Point)]
    files.write_csv(args.out / "label_curve.csv", head, map(dataclasses.astuple, points))
    names = list(choosing.STRATEGIES)
    counts = np.bincount(found.truth, minlength=len(found.classes)).tolist()
    page = pages.write(
        args.out / "label_curve.html", "label_curve.html",
        contents=[("curve", "The curve"), ("numbers", "Numbers")],
        rows=rows, figure=figure(rows, names), facts=table.slides[0].facts, dataset=prepared.name,
        legend=[(svg.SIGNS[i], f"var(--c{i})", name) for i, name in enumerate(names)],
        seeds=args.seeds, n=args.n, images=len(found.rows), unit=found.unit,
        classes=list(zip(found.classes, counts, strict=True)),
        official=len(set(found.split.tolist()) - {"train"}) > 0,
    )  # fmt: skip
    return [page, args.out / "label_curve.csv"]


def figure(rows: list[dict], names: list[str]) -> str:
    """Mean scores over labels, one line a strategy; dashed what all labels give."""

    def paint(axes) -> None:
        for i, name in enumerate(names):
            some = [row for row in rows if row["by"] == name]
            labels, values = [r["labels"] for r in some], [r["macro_f1"] for r in some]
            half = [row["ci"][1] - row["macro_f1"] for row in some]
            axes.errorbar(
                labels, values, half, color=svg.COLOURS[i], marker=svg.MARKERS[i], markersize=5,
                elinewidth=0.8, capsize=2, alpha=0.9,
            )  # fmt: skip
        top = next(row["macro_f1"] for row in rows if row["by"] == "all")
        axes.axhline(top, color=svg.SOFT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlabel="labels", xlim=(0, None))

    ends = ", ".join(
        f"{name} {[r['macro_f1'] for r in rows if r['by'] == name][-1]:.3f}" for name in names
    )
    return svg.draw("labelcurve", f"macro-F1 over labels; at the end {ends}", (5.0, 3.2), paint)
