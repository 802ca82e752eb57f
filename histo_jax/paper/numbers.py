"""The numbers that the paper prints, with its reasons to be doubted."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("numbers.yaml")
# Columns: heading.
COLUMNS = {
    "bach": "BACH", "nct": "NCT", "breakhis": "BreakHis", "lymph": "Lymph",
    "gleason": "Gleason2019", "cls": "mean of 5", "bpq": "BreastPathQ, L1",
    "bach_seg": "BACH masks", "dp19": "DigestPath2019", "seg": "mean of 2",
}  # fmt: skip
MEANS = {"cls": ("bach", "nct", "breakhis", "lymph", "gleason"), "seg": ("bach_seg", "dp19")}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as printed.

    Attributes:
      name: "Table D.7".
      about: what it is of.
      note: what a reader should know; may be empty.
      columns: keys of `COLUMNS`.
      rows: names of the rows, " / " between their labels.
      values: by (row, column).
      doubted: why, by (row, column).
    """

    name: str
    about: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: Mapping[tuple[str, str], float]
    doubted: Mapping[tuple[str, str], str]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Sets that are scored: the columns, means as what they are of."""
        every = [task for column in self.columns for task in MEANS.get(column, (column,))]
        return tuple(dict.fromkeys(every))


def unit(column: str) -> str:
    """Of a column's numbers."""
    return "L1, percent points" if column == "bpq" else "macro-F1, percent"


@functools.cache
def load() -> Mapping[str, Table]:
    """All tables with scores, in the paper's order."""
    return {name: _table(name, said) for name, said in yaml.safe_load(FILE.read_text()).items()}


def _table(name: str, said: dict) -> Table:
    columns = tuple(said["columns"])
    rows = {str(row): numbers for row, numbers in said["rows"].items()}
    values = {
        (row, column): float(number)
        for row, numbers in rows.items()
        for column, number in zip(columns, numbers, strict=True)
    }
    doubted = {
        (str(row), column): doubt["why"]
        for doubt in said.get("doubted", ())
        for row in doubt["rows"]
        for column in doubt["columns"]
    }
    unknown = doubted.keys() - values.keys()
    assert not unknown, f"{name}: doubted, but not there: {unknown}"
    return Table(name, said["about"], said.get("note", ""), columns, tuple(rows), values, doubted)
