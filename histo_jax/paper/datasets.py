"""Table F.1: the datasets of pretraining, the paper's counts beside those found here."""

from collections.abc import Iterator
from pathlib import Path

from histo_jax import catalogue, files
from histo_jax.catalogue.__main__ import on_disk
from histo_jax.paper.show import DOUBT, slug

NAME = "Table F.1"
ABOUT = "The datasets of pretraining: patches, or slides"
HEAD = ("dataset", "organ", "resolution", "stain", "here", "release", "paper")
DIFFERS = "The public release has another count."
# What the paper says of all of them.
SAID = (
    "The text counts 57 datasets, the table has 56 rows; one caption says 60.",
    "The text counts 206 thousand images in the sets of patches; these rows sum to 39,035.",
    "Its counts of TCGA are those of frozen sections (GDC's Tissue Slide), which it doesn't say.",
)


def rows(data_dir: str | None) -> list[tuple[tuple[str, ...], bool]]:
    """Each dataset's cells as `HEAD`, and whether the paper's number is doubted."""
    found = on_disk(data_dir)
    made = []
    for entry in catalogue.load().values():
        if entry.kind not in ("patch", "slides") or not entry.pool:
            continue
        here = f"{found[entry.id]:,}" if entry.id in found else "not here"
        release = "unknown" if entry.release is None else f"{entry.release:,}"
        cells = (entry.name, entry.organ, entry.magnification, entry.stain, here, release)
        doubted = entry.release not in (None, entry.paper)
        made.append(((*cells, f"{entry.paper:,}"), doubted))
    return made


def markdown(data_dir: str | None) -> str:
    """The table and its remarks."""
    lines = [HEAD]
    for cells, doubted in rows(data_dir):
        lines.append((*cells[:-1], cells[-1] + DOUBT * doubted))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    told = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([f"{NAME}: {ABOUT}", "", *told, "", *SAID, f"{DOUBT} {DIFFERS}"])


def write(data_dir: str | None, folder: Path) -> None:
    """`table-f.1.md` and `.csv`."""
    path = folder / f"{slug(NAME)}.md"
    files.write_text(path, f"{markdown(data_dir)}\n")
    lines = ((*cells, DIFFERS if doubted else "") for cells, doubted in rows(data_dir))
    files.write_csv(path.with_suffix(".csv"), (*HEAD, "doubted"), lines)


def pool(data_dir: str | None) -> Iterator[str]:
    """Names of the datasets of pretraining that are prepared here."""
    found = on_disk(data_dir)
    known = (e for e in catalogue.load().values() if e.kind in ("patch", "slides") and e.pool)
    yield from (entry.name for entry in known if entry.id in found)
