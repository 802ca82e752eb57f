"""slides.csv and labels.csv as rows by file."""

import difflib
from pathlib import Path

from histo_jax.errors import HistoError
from histo_jax.files import open_csv


def read_table(path: Path, columns: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """A CSV table by its column `file`; cells stripped, empty ones left out.

    Raises:
      HistoError: not readable; unknown or missing columns; a row that is too long, or comes twice.
    """
    rows: dict[str, dict[str, str]] = {}
    with open_csv(path, strict=True) as reader:
        header = [(name or "").strip() for name in reader.fieldnames or []]
        _check_header(path, header, columns)
        reader.fieldnames = header
        for row in reader:
            line = f"line {reader.line_num}"
            if None in row or None in row.values():
                what = f"{line} has not {len(header)} cells"
                raise HistoError(path, "table", what, "one a column; quote those with commas")
            row = {key: cell.strip() for key, cell in row.items() if cell.strip()}
            name = row.pop("file", "")
            if not name or name in rows:
                what = f"{line} names {name} again" if name else f"{line} names no file"
                raise HistoError(path, "table", what, "one row a file")
            rows[name] = row
    if not rows:
        raise HistoError(path, "table", "has no rows", "one row a file")
    return rows


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    if len(header) == 1 and (mark := next((m for m in ";\t" if m in header[0]), None)):
        what = f"parts its columns by {mark!r}"
        raise HistoError(path, "table", what, "save it with commas, numbers with points")
    for name in header:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(columns)}"
            raise HistoError(path, "table", f"unknown column {name!r}", remedy)
    if len(set(header)) != len(header) or "file" not in header:
        what = f"has the columns {', '.join(header) or 'none'}"
        raise HistoError(path, "table", what, "`file` and each other column once")
