"""A table as text: ours beside the paper's, what is doubted marked and explained below."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from histo_jax import files
from histo_jax.paper import numbers
from histo_jax.paper.found import Result

DOUBT = "!"


@dataclasses.dataclass(frozen=True)
class Cell:
    """As shown: ours, whether that is a number, the paper's, and the footnote's number or 0."""

    ours: str
    known: bool
    paper: str
    note: int


@dataclasses.dataclass(frozen=True)
class Shown:
    """A table with both numbers.

    Attributes:
      table: the paper's.
      results: ours by (row, column).
      remarks: on what ours were made of.
    """

    table: numbers.Table
    results: Mapping[tuple[str, str], Result]
    remarks: tuple[str, ...] = ()

    @property
    def footnotes(self) -> list[str]:
        """Why numbers are doubted, each reason once."""
        return list(dict.fromkeys(self.table.doubted.values()))

    def cell(self, row: str, column: str) -> Cell:
        """One cell."""
        place = row, column
        result, doubt = self.results.get(place, Result(word="not run")), self.table.doubted
        note = self.footnotes.index(doubt[place]) + 1 if place in doubt else 0
        return Cell(result.text, result.mean is not None, f"{self.table.values[place]:,.1f}", note)

    @property
    def done(self) -> tuple[int, int]:
        """How many cells have a number of ours, of how many."""
        known = [self.cell(r, c).known for r in self.table.rows for c in self.table.columns]
        return sum(known), len(known)


def markdown(shown: Shown) -> str:
    """Ours, and in brackets the paper's."""
    table = shown.table
    labels = max(row.count(" / ") for row in table.rows) + 1
    lines = [[*[""] * labels, *(numbers.COLUMNS[c] for c in table.columns)]]
    for row in table.rows:
        cells = (shown.cell(row, column) for column in table.columns)
        lines.append([*row.split(" / "), *(f"{c.ours} ({_paper(c)})" for c in cells)])
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    rows = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    below = ["Ours ± standard deviation, in brackets the paper's.", *told(shown)]
    below += [f"{DOUBT}{number} {why}" for number, why in enumerate(shown.footnotes, 1)]
    return "\n".join([f"{table.name}: {table.about}", "", *rows, "", *below])


def _paper(cell: Cell) -> str:
    return cell.paper + (f"{DOUBT}{cell.note}" if cell.note else "")


def told(shown: Shown) -> Iterator[str]:
    """What stands below a table, but for the footnotes."""
    table = shown.table
    more = "; BreastPathQ: mean absolute error in percent points, lower is better"
    yield f"Macro-F1 in percent{more if 'bpq' in table.columns else ''}."
    if table.note:
        yield table.note
    yield from shown.remarks


def write(shown: Shown, folder: Path) -> None:
    """`table-d.7.md`, and a line a cell in `table-d.7.csv`."""
    path = folder / f"{slug(shown.table.name)}.md"
    files.write_text(path, f"{markdown(shown)}\n")
    head = ("table", "row", "column", "unit", "ours", "sd", "n", "paper", "doubted")
    files.write_csv(path.with_suffix(".csv"), head, _lines(shown))


def _lines(shown: Shown) -> Iterator[list]:
    for place, value in shown.table.values.items():
        result = shown.results.get(place, Result(word="not run"))
        ours = [result.word if result.mean is None else f"{result.mean:.4f}"]
        ours += ["" if result.spread is None else f"{result.spread:.4f}", result.n or ""]
        why = shown.table.doubted.get(place, "")
        unit = numbers.unit(place[1])
        yield [shown.table.name, *place, unit, *ours, f"{value:.1f}", why]


def slug(name: str) -> str:
    """A name as part of a file's: `Fig. C.7` is `fig-c.7`."""
    return name.lower().replace(". ", "-").replace(" ", "-")
