"""The datasets of the paper: a table of all, or how to get one and build it.

python -m histo_jax.catalogue
python -m histo_jax.catalogue glas2015
"""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator

from histo_jax import catalogue, errors, files
from histo_jax.catalogue import Entry
from histo_jax.data import prepared

HEADINGS = {
    "patch": "Patches for pretraining",
    "slides": "Slides for pretraining (post_nat_brca: for clustering)",
    "labelled": "Labelled, for scores",
    "outlined": "Slides with outlined regions, for scores",
}
COLUMNS = ("id", "organ", "stain", "resolution", "paper", "on disk", "access", "licence")
_WIDE = {"organ": 20, "stain": 16, "resolution": 20, "licence": 30}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("id", nargs="?", help="a dataset; left out: a table of all")
    parser.add_argument("--data_dir", help="default: TFDS_DATA_DIR, else TFDS's default")
    return parser.parse_args()


def main(flags: argparse.Namespace) -> int:
    """Prints the table or one dataset."""
    text = one(catalogue.find(flags.id)) if flags.id else table(on_disk(flags.data_dir))
    print("\n".join(text))
    return 0


def on_disk(data_dir: str | None) -> dict[str, int]:
    """Images or slides read by the prepared sets of each dataset; the whole set before variants."""
    found: dict[str, int] = {}
    for name in prepared.list_prepared(data_dir):
        folder = prepared.default_data_dir(data_dir) / name
        cards = sorted(folder.glob(f"*/{prepared.CARD}"), key=lambda p: p.stat().st_mtime)
        card = files.read_json(cards[-1])
        known = card["options"].get("catalogue")
        if known and (known not in found or not card["options"].get("variant")):
            summary = card["summary"]
            found[known] = summary.get("fit", {}).get("resize", summary["read"])
    return found


def table(found: dict[str, int]) -> Iterator[str]:
    """Appendix F.1's table, with what is prepared here."""
    entries = list(catalogue.load().values())
    rows = {entry.id: _row(entry, found) for entry in entries}
    widths = [max(len(row[i]) for row in [COLUMNS, *rows.values()]) for i in range(len(COLUMNS))]

    def line(cells: tuple[str, ...]) -> str:
        padded = (
            f"{cell:>{width}}" if name in ("paper", "on disk") else f"{cell:<{width}}"
            for name, cell, width in zip(COLUMNS, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    yield line(COLUMNS)
    for kind, heading in HEADINGS.items():
        members = [entry for entry in entries if entry.kind == kind]
        yield f"\n{heading}: {len(members)} sets, {sum(e.paper for e in members):,}"
        yield from (line(rows[entry.id]) for entry in members)
    yield "\npython -m histo_jax.catalogue <id>: how to get it, and the command that builds it"


def _row(entry: Entry, found: dict[str, int]) -> tuple[str, ...]:
    resolution = entry.magnification + (f", {entry.mpp:g} µm" if entry.mpp else "")
    cells = {
        "id": entry.id, "organ": entry.organ, "stain": entry.stain, "resolution": resolution,
        "paper": f"{entry.paper:,}", "access": entry.access, "licence": entry.licence or "unknown",
        "on disk": f"{found[entry.id]:,}" if entry.id in found else "-",
    }  # fmt: skip
    return tuple(
        textwrap.shorten(cells[name], _WIDE.get(name, 99), placeholder="…") for name in COLUMNS
    )


def one(entry: Entry) -> Iterator[str]:
    """All about one dataset, in the order in which it is needed."""
    release = f"{entry.release:,}" if entry.release else "unknown"
    unit = "slides" if entry.kind in ("slides", "outlined") else "images"
    yield f"{entry.id}: {entry.name}, {entry.organ}, {entry.stain}"
    yield f"{unit}: {entry.paper:,} in the paper, {release} in the release"
    yield from _told("resolution", _row(entry, {})[COLUMNS.index("resolution")])
    yield from _told("licence", entry.licence or "unknown: ask before you use it")
    yield from _told("citation", entry.citation + (f" doi:{entry.doi}" if entry.doi else ""))
    yield "\nTo get it"
    yield from _told("page", f"{entry.homepage} ({entry.access})")
    for step in entry.get:
        yield from _told("", step)
    for name in entry.files:
        yield from _told("file", name)
    for name, digests in (entry.digests | entry.doubted).items():
        doubt = ", not sure" if name in entry.doubted else ""
        for digest in digests:
            yield from _told("digest", f"{name} {digest}{doubt}")
    yield "\nWhat must lie in the folder, at any depth, unpacked"
    yield from _layout(entry)
    for quirk in entry.quirks:
        yield from _told("note", quirk)
    if entry.confidence != "high":
        yield from _told("note", f"how sure this layout is: {entry.confidence}")
    yield "\nTo build it"
    yield f"{entry.command} <folder>"
    for name in entry.layout.variants:
        config = name
        if not entry.validates:
            known = {"name": f"{entry.id}_{name}", "catalogue": entry.id, "variant": name}
            config = f"'{json.dumps(known)}'"
        yield f"tfds build tfds_builders/{entry.builder} --config {config} --manual_dir <folder>"


def _layout(entry: Entry) -> Iterator[str]:
    layout = entry.layout
    yield from _told("read", "  ".join(layout.images))
    yield from _told("such as", layout.example)
    if layout.leave_out:
        yield from _told("not read", "  ".join(layout.leave_out))
    if layout.masks:
        yield from _told("masks", layout.masks.file)
    if layout.outlines:
        yield from _told("outlines", layout.outlines.file)
    if layout.experts:
        yield from _told("maps", layout.experts.file)
    for table in layout.tables:
        yield from _told("table", table.file)
    yield from _told("splits", f"must not tear a {entry.unit} apart")


def _told(what: str, text: str) -> list[str]:
    width = max(40, min(100, shutil.get_terminal_size().columns))
    return textwrap.wrap(
        text, width, initial_indent=f"  {what:<11}", subsequent_indent=" " * 13,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


if __name__ == "__main__":
    flags = arguments()
    sys.exit(errors.run(lambda: main(flags), debug=flags.debug))
