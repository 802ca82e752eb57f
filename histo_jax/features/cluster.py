"""The command `cluster`: k-means on the features of many slides, and everything made of it."""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.features import cluster_pages, cluster_slides, elbow, kmeans, lists, sampling
from histo_jax.features.kmeans import Clusters
from histo_jax.features.table import Table, open_table

HELP = "group the tiles of many slides by their features; sheets, lists, overlays, GeoJSON"
SAVED = "clusters.npz"
SHOWN = 8  # clusters laid over the slides where none is named


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("features", type=Path, nargs="+", help="files of features, or folders of them")
    add("--k", type=int, help="clusters; left out with --elbow: where the curve bends")
    add("--out", type=Path, required=True, help="folder for what is made")
    add("--elbow", metavar="FROM:TO:STEP", help="explained variance for a grid of k first")
    add("--seed", type=int, default=0, help="of k-means and of what is drawn")
    add("--l2", action="store_true", help="give every tile's features length 1 first")
    add("--each", type=int, default=10, help="tiles a cluster in the lists")
    add("--show", metavar="3,17", help="clusters laid over the slides; else the largest")
    add(
        "--clusters",
        metavar="3,17",
        help="those you look for: negatives.csv is of all others",
    )


def run(args: argparse.Namespace) -> None:
    """Clusters, or takes up what the folder holds, and writes everything.

    Raises:
      HistoError: `clusters`: k, a grid or a cluster that can't be, or no tile at all.
    """
    table = open_table(*args.features)
    _check(table, args)
    slides = cluster_pages.counted(len(table.slides))
    print(f"{table.n:,} tiles of {slides}, {table.width} numbers each", flush=True)
    found, curve = _clustered(table, args)
    filled = int((found.sizes > 0).sum())
    print(f"k={found.k:,}: {filled:,} clusters hold tiles, {100 * found.explained:.2f} % explained")
    shown = _numbers("--show", args.show, found.k)
    if shown is None:
        shown = np.argsort(-found.sizes, kind="stable")[: min(SHOWN, filled)]
    chosen = _numbers("--clusters", args.clusters, found.k)
    lists.write(args.out / "clusters.csv", table, found)
    lists.write(args.out / "representatives.csv", table, found, sampling.nearest(found, args.each))
    if chosen is not None:
        others = np.setdiff1d(np.arange(found.k), chosen)
        rows = sampling.drawn(found, args.each, others, args.seed)
        lists.write(args.out / "negatives.csv", table, found, rows)
    laid = cluster_slides.write(args.out, table, found, [int(number) for number in shown])
    page = cluster_pages.write(args.out, table, found, curve, laid, args.seed, args.l2)
    print(f"the page: {page}")


def _check(table: Table, args: argparse.Namespace) -> None:
    if not table.n:
        what, remedy = "no tile in all of these features", "extract slides with tissue"
        raise HistoError(args.features[0], "clusters", what, remedy)
    if args.k is None and not args.elbow:
        raise HistoError("--k", "clusters", "says how many clusters", "or --elbow finds out")
    ks = [*([] if args.k is None else [args.k]), *(elbow.grid(args.elbow) if args.elbow else ())]
    for k in ks:
        if not 1 <= k <= table.n:
            what = f"{k:,} clusters of {table.n:,} tiles can't be"
            raise HistoError("--k" if k == args.k else "--elbow", "clusters", what, "take fewer")
    for flag, text in (("--show", args.show), ("--clusters", args.clusters)):
        _numbers(flag, text, args.k or table.n)  # before hours are spent
    if args.each < 1:
        raise HistoError("--each", "clusters", f"{args.each} tiles a cluster can't be", "1 or more")


def _clustered(table: Table, args: argparse.Namespace) -> tuple[Clusters, elbow.Elbow | None]:
    """The clusters, made or taken up, and the curve where it was asked for."""
    of, curve, saved = _identity(table, args.seed, args.l2), None, args.out / SAVED
    found = _load(saved, of, args.k)
    if found is not None and not args.elbow:
        print(f"{saved} is of these features and options: taken up", flush=True)
        return found, None
    with kmeans.matrix(table, args.out, args.l2) as x:
        if args.elbow:
            curve = elbow.search(x, elbow.grid(args.elbow), args.seed, of, args.out)
        k = args.k or curve.bend
        found = _load(saved, of, k)
        if found is None:
            begun = time.perf_counter()
            model = kmeans.fit(x, k, args.seed)
            fitted = time.perf_counter()
            found = kmeans.assign(x, model)
            took = f"{fitted - begun:.1f} s, all tiles in {time.perf_counter() - fitted:.1f} s"
            print(f"centres in {model.n_steps_:,} steps, {took}", flush=True)
            _save(saved, of, found)
            (args.out / "negatives.csv").unlink(missing_ok=True)  # of other clusters
    return found, curve


def _identity(table: Table, seed: int, l2: bool) -> str:
    """Digest of the files and of all else that k-means depends on but k."""
    stats = [(slide.path, slide.path.stat()) for slide in table.slides]
    said = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return hashlib.sha256(json.dumps([said, seed, l2]).encode()).hexdigest()


def _save(path: Path, of: str, found: Clusters) -> None:
    with files.atomic(path) as file:
        np.savez(
            file, of=of, labels=found.labels, distances=found.distances, centres=found.centres,
            explained=found.explained,
        )  # fmt: skip


def _load(path: Path, of: str, k: int | None) -> Clusters | None:
    """What an earlier run made of the same features and options; None: nothing."""
    try:
        with np.load(path) as held:
            if str(held["of"]) != of or len(held["centres"]) != k:
                return None
            explained = float(held["explained"])
            return Clusters(held["labels"], held["distances"], held["centres"], explained)
    except (OSError, ValueError, KeyError, EOFError):  # none, or damaged: made again
        return None


def _numbers(flag: str, text: str | None, k: int) -> np.ndarray | None:
    """`3,17` as numbers of clusters; None where the flag is left out."""
    if text is None:
        return None
    try:
        numbers = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        what = "is no list of clusters' numbers"
        raise HistoError(f"{flag} {text}", "clusters", what, "as 3,17,40") from error
    for number in numbers:
        if not 0 <= number < k:
            what = f"no cluster {number}"
            raise HistoError(f"{flag} {text}", "clusters", what, f"they are 0 to {k - 1}")
    return np.array(numbers)
