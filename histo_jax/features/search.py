"""Nearest tiles to a query: a tile of the table, or an image of one's own."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.features import nearest, queries, search_page
from histo_jax.features.nearest import Hits
from histo_jax.features.queries import Query
from histo_jax.features.table import Table, open_table

HELP = "nearest tiles to a tile or to an image of one's own, with pictures"
VALUE = {"cosine": "cosine", "euclid": "distance"}  # the name of the number


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument("features", nargs="+", type=Path, help="files of features, or folders")
    parser.add_argument(
        "--image", nargs="+", type=Path, default=[], help="images to look for, or folders of them"
    )
    parser.add_argument("--checkpoint", help="the features' own encoder, for --image")
    parser.add_argument("--key", nargs="+", default=[], help="tiles to look for, by key")
    parser.add_argument("--slide", help="with --xy: the slide of the tile to look for")
    parser.add_argument("--xy", help="X,Y: a level-0 pixel in the tile to look for")
    parser.add_argument("--top", type=int, default=20, help="how many tiles a query (20)")
    parser.add_argument("--metric", choices=nearest.METRICS, default="cosine")
    parser.add_argument("--within", metavar="SLIDE", help="look in this slide alone")
    parser.add_argument(
        "--across", action="store_true", help="leave out the slide that the query is of"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("search"), help="folder of search.html, .csv, .json"
    )


def run(args: argparse.Namespace) -> None:
    """Looks, prints a table and writes the page."""
    table = open_table(*args.features)
    asked = _asked(args, table)
    left_out = [_left_out(table, query, args.within, args.across) for query in asked]
    for query, ranges in zip(asked, left_out, strict=True):
        _check_top(args.top, table.n - sum(stop - start for start, stop in ranges), query)
    vectors = [query.vector for query in asked]
    found = nearest.nearest(table, vectors, args.top, args.metric, left_out)
    rows = [lines(table, query, hits) for query, hits in zip(asked, found, strict=True)]
    written = write(args, table, asked, found, rows)  # before `| head` has seen enough
    print(as_text(rows, VALUE[args.metric]))
    for path in written:
        print(f"wrote    {path}")


def _asked(args: argparse.Namespace, table: Table) -> list[Query]:
    """Everything to look for, images first."""
    if bool(args.slide) != bool(args.xy):
        raise HistoError("--xy", "config", "goes with --slide", "give both, or --key")
    if not (args.image or args.key or args.xy):
        raise HistoError("search", "config", "nothing to look for", "give --image, --key or --xy")
    if args.within and args.across:
        raise HistoError("--across", "config", "goes not with --within", "give one of them")
    if args.image and args.across:
        what, remedy = "an image is of no slide of the table", "leave it out, or give --key"
        raise HistoError("--across", "config", what, remedy)
    if args.image and not args.checkpoint:
        remedy = "give the checkpoint the features were made with"
        raise HistoError("--checkpoint", "config", "is needed to look for an image", remedy)
    rows = [queries.row_of(table, key) for key in args.key]
    if args.xy:
        rows.append(queries.row_at(table, args.slide, *_pixel(args.xy)))
    paths = queries.image_files(args.image)
    given = queries.images(table, paths, args.checkpoint) if paths else []
    return given + [queries.tile(table, row) for row in rows]


def _pixel(text: str) -> tuple[int, int]:
    try:
        x, y = map(int, text.split(","))
    except ValueError as error:
        remedy = "two whole numbers, e.g. 4096,2048"
        raise HistoError("--xy", "config", f"is {text!r}", remedy) from error
    return x, y


def _left_out(
    table: Table, query: Query, within: str | None, across: bool
) -> list[tuple[int, int]]:
    """Rows that are no answer, none in two of the ranges: itself, and slides not looked in."""
    spans = list(zip(table.starts[:-1].tolist(), table.starts[1:].tolist(), strict=True))
    kept = range(len(spans))
    if within:
        kept = queries.slides_named(table, within, "--within")
    elif across:
        own = table.where(query.row)[0].facts.slide
        kept = [i for i, slide in enumerate(table.slides) if slide.facts.slide != own]
    out = [span for i, span in enumerate(spans) if i not in set(kept)]
    if query.row is not None and not any(start <= query.row < stop for start, stop in out):
        out.append((query.row, query.row + 1))
    return out


def _check_top(top: int, there: int, query: Query) -> None:
    if not 0 < top <= there:
        what = f"is {top}, {there:,} tiles are looked at for {query.name}"
        raise HistoError("--top", "config", what, f"give 1 to {there:,}" if there else "look wider")


def lines(table: Table, query: Query, hits: Hits) -> list[dict[str, Any]]:
    """A row a hit of one query."""
    found = []
    for rank, (row, value) in enumerate(zip(hits.rows, hits.values, strict=True), 1):
        slide, inside = table.where(row)
        x, y = slide.coords[inside].tolist()
        found.append(
            {
                "query": query.name, "rank": rank, "value": float(value),
                "slide": slide.facts.slide, "x": x, "y": y, "key": str(slide.keys[inside]),
            }
        )  # fmt: skip
    return found


def as_text(found: Sequence[list[dict]], value: str) -> str:
    """A table a query, for the terminal."""
    said = []
    for rows in found:
        wide = max(len("slide"), *(len(row["slide"]) for row in rows))
        said.append(
            f"{rows[0]['query']}\n  rank {value:>9}  {'slide':{wide}} {'x':>8} {'y':>8}  key"
        )
        for row in rows:
            number, place = f"{row['value']:>9.4f}", f"{row['x']:>8} {row['y']:>8}"
            said.append(f"  {row['rank']:>4} {number}  {row['slide']:{wide}} {place}  {row['key']}")
    return "\n".join(said)


def write(
    args: argparse.Namespace, table: Table, asked: list[Query], found: list[Hits], rows: list
) -> list[Path]:
    """`search.csv`, `search.json` and `search.html`."""
    names = {"value": VALUE[args.metric]}
    named = [{names.get(k, k): v for k, v in row.items()} for part in rows for row in part]
    files.write_csv(args.out / "search.csv", named[0], (row.values() for row in named))
    facts = table.slides[0].facts
    about = {
        "schema": 1, "metric": args.metric, "within": args.within, "across": args.across,
        "tiles": table.n, "slides": len(table.slides), "encoder": facts.encoder,
        "layer": facts.layer, "checkpoint": facts.checkpoint, "hits": named,
    }  # fmt: skip
    files.write_json(args.out / "search.json", about)
    page = search_page.write(
        args.out / "search.html", table, asked, found, args.metric, _where(args)
    )
    return [page, args.out / "search.csv", args.out / "search.json"]


def _where(args: argparse.Namespace) -> str:
    """Where was looked, in words."""
    if args.within:
        return f"in the slide {args.within} alone"
    return "in all slides but the query's own" if args.across else "in all slides"
