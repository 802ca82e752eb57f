"""What to label next: the tiles from which most is to be expected, as a list to fill in."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histo_jax import files, pages
from histo_jax.errors import HistoError
from histo_jax.features import choosing, kmeans
from histo_jax.features.choosing import Chosen, Known
from histo_jax.features.search_page import place, seen, shrunk
from histo_jax.features.table import Table, open_table

HELP = "ranks the tiles to label next, as a list to fill in, with pictures"
COLUMNS = ("key", "slide", "x", "y", "rank", "score", "label")
MOST_SHOWN = 500
SIDE = 112  # pixels of a tile as shown

# What was done, and what the score is.
WORDS = {
    "clusters": (
        "The tiles nearest the centres of clusters in which none is labelled yet, "
        "one of each, larger clusters first.",
        "the cluster's share of all tiles",
    ),
    "uncertainty": (
        "The tiles between whose two likeliest classes a logistic regression on the labels so far "
        "can decide least.",
        "1 where the two are equally likely, 0 where one is certain",
    ),
    "random": ("Tiles drawn at random.", "the number drawn"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("features", nargs="+", type=Path, help="files of features, or folders")
    parser.add_argument(
        "--labels", nargs="+", type=Path, default=[],
        help="CSV with the columns key and label; rows whose label is empty count for nothing",
    )  # fmt: skip
    parser.add_argument("--n", type=int, default=100, help="how many tiles (100)")
    parser.add_argument("--by", choices=choosing.STRATEGIES, default="clusters")
    parser.add_argument("--seed", type=int, default=0, help="of clusters and of random tiles (0)")
    parser.add_argument(
        "--out", type=Path, default=Path("next.csv"), help="the list; a page is put beside it"
    )


def run(args: argparse.Namespace) -> None:
    """Chooses and writes the list and the page."""
    check_out(args.out)
    table = open_table(*args.features)
    known, classes = read_labels(args.labels, table)
    if args.by == "uncertainty" and len(classes) < 2:
        what = f"needs labels of two classes, {len(known.rows)} labels of {len(classes)} are given"
        remedy = "begin with --by clusters or --by random"
        raise HistoError("--by uncertainty", "class-absent", what, remedy)
    free = table.n - len(known.rows)
    if not 0 < args.n <= free:
        what = f"is {args.n}, {free:,} tiles have no label"
        raise HistoError("--n", "config", what, f"give 1 to {free:,}" if free else "")
    looks = args.by != "random"  # which looks at no feature
    folder = args.out.absolute().parent
    with kmeans.matrix(table, folder) if looks else contextlib.nullcontext() as x:
        chosen = choosing.STRATEGIES[args.by](x, table.keys, known, args.n, args.seed)
    write_list(args.out, table, chosen)
    page = write_page(args.out.with_suffix(".html"), table, chosen, args, len(known.rows), classes)
    print(f"{len(chosen.rows)} tiles by {args.by}; {len(known.rows)} of {table.n:,} have labels")
    print(f"wrote    {args.out}\nwrote    {page}")


def check_out(path: Path) -> None:
    """Refuses to write over labels that someone filled in.

    Raises:
      HistoError: `config`.
    """
    if path.exists():
        with files.open_csv(path) as reader:
            filled = sum(1 for line in reader if (line.get("label") or "").strip())
        if filled:
            remedy = "give it as --labels, and another --out"
            raise HistoError(path, "config", f"holds {filled} labels already", remedy)


def read_labels(paths: list[Path], table: Table) -> tuple[Known, list[str]]:
    """The labelled rows, and the names of the classes in alphabetical order.

    Raises:
      HistoError: a file that can't be read or lacks a column; a key that has no features; two
        labels of one key.
    """
    given: dict[str, str] = {}
    for path in paths:
        with files.open_csv(path) as reader:
            missing = {"key", "label"} - set(reader.fieldnames or ())
            if missing:
                what = f"has no column {' and no column '.join(sorted(missing))}"
                raise HistoError(path, "table", what, "give the columns key and label")
            for line in reader:
                key, label = line["key"], (line["label"] or "").strip()
                if label and given.setdefault(key, label) != label:
                    what = f"{key} is {label!r} here and {given[key]!r} before"
                    raise HistoError(path, "conflict", what, "keep one")
    found = [(row, key) for row, key in enumerate(table.keys.tolist()) if key in given]
    unknown = sorted(set(given) - {key for _, key in found})
    if unknown:
        what = f"{len(unknown)} of {len(given)} labelled tiles have no features, e.g. {unknown[0]}"
        remedy = "give the features of all, made as when the keys were"
        raise HistoError(", ".join(map(str, paths)), "features-missing", what, remedy)
    classes = sorted(set(given.values()))
    number = {name: i for i, name in enumerate(classes)}
    truth = [number[given[key]] for _, key in found]
    rows = [row for row, _ in found]
    return Known(np.array(rows, np.int64), np.array(truth, np.int64)), classes


def write_list(path: Path, table: Table, chosen: Chosen) -> None:
    """The list, its column `label` empty."""
    files.write_csv(path, COLUMNS, _lines(table, chosen))


def _lines(table: Table, chosen: Chosen) -> Iterator[list]:
    for rank, (row, score) in enumerate(zip(chosen.rows, chosen.scores, strict=True), 1):
        slide, inside = table.where(row)
        x, y = slide.coords[inside].tolist()
        yield [slide.keys[inside], slide.facts.slide, x, y, rank, f"{score:.6g}", ""]


def write_page(
    path: Path, table: Table, chosen: Chosen, args: argparse.Namespace, labelled: int,
    classes: list[str],
) -> Path:  # fmt: skip
    """The chosen tiles as one sheet, in the order of the list."""
    shown = []
    pairs = zip(chosen.rows[:MOST_SHOWN].tolist(), chosen.scores, strict=False)
    for rank, (row, score) in enumerate(pairs, 1):
        slide, inside = table.where(row)
        shown.append(
            {
                "rank": rank, "score": f"{score:.3g}", "slide": slide.facts.slide,
                "place": place(slide, inside), "picture": shrunk(table.picture(row), SIDE),
            }
        )  # fmt: skip
    how, score = WORDS[args.by]
    of = len(np.unique(table.slide_of(chosen.rows)))
    return pages.write(
        path, "choose.html", contents=[("tiles", "Tiles")], tiles=shown, n=len(chosen.rows),
        how=how, score=score, slides=of, all=table.n, labelled=labelled, classes=classes,
        list=args.out.name, facts=table.slides[0].facts, seen=seen(table.slides[0].facts),
        pictures=any(tile["picture"] for tile in shown),
    )  # fmt: skip
