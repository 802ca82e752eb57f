"""What the CSV files of a dataset say of its images."""

import collections
import math
from collections.abc import Iterable
from pathlib import Path

from histo_jax.catalogue.entries import Entry, Table
from histo_jax.catalogue.layout import pattern
from histo_jax.errors import HistoError
from histo_jax.files import open_csv


def read(
    entry: Entry, folder: Path, files: Iterable[str], images: Iterable[str]
) -> tuple[dict[str, dict], list[str]]:
    """Patients and targets by image, and a line for every table that is not there.

    Args:
      entry: whose tables these are.
      folder: that the paths are inside of.
      files: paths of all files, among them the tables.
      images: paths of the images.

    Raises:
      HistoError: `table`: not readable, lacks a column, or says what is no number.
    """
    files, images = list(files), list(images)
    said: dict[str, dict] = {}
    notes = []
    for table in entry.layout.tables:
        paths = [folder / name for name in files if pattern(table.file).fullmatch(name)]
        if not paths:
            kinds = " and ".join(k for k in ("patient", "target") if getattr(table, k))
            notes.append(f"no {table.file} in the folder: no {kinds} from it")
            continue
        known = _of_images(table, [row for path in paths for row in _rows(path, table)])
        depth = table.image.count("/") + 1
        for name in images:
            end = "/".join(name.split("/")[-depth:])
            if end in known:
                said.setdefault(name, {}).update(known[end])
    return said, notes


def _rows(path: Path, table: Table) -> list[dict[str, str]]:
    """The rows, their columns in lower case, and in `image` the path they are about."""
    with open_csv(path, skipinitialspace=True) as reader:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
        columns = set(reader.fieldnames)
    wanted = {table.patient.lower()} - {""}
    if wanted - columns or (table.target and not columns & set(table.target)):
        lacking = sorted(wanted - columns) or [" or ".join(table.target)]
        what = f"lacks the column {lacking[0]}, has {', '.join(sorted(columns)) or 'none'}"
        raise HistoError(path, "table", what)
    try:
        for number, row in enumerate(rows):
            row["image"] = table.image.format(**row)
            row["line"] = f"{path}, row {number + 1}"
    except KeyError as error:
        raise HistoError(path, "table", f"lacks the column {error.args[0]}") from error
    return rows


def _of_images(table: Table, rows: list[dict[str, str]]) -> dict[str, dict]:
    known: dict[str, dict] = collections.defaultdict(dict)
    targets = collections.defaultdict(list)
    for row in rows:
        if table.patient and row[table.patient.lower()]:
            known[row["image"]]["patient"] = row[table.patient.lower()]
        for column in table.target:
            if row.get(column):
                targets[row["image"]].append(_number(row[column], row["line"]))
    for image, values in targets.items():
        mean = table.scale * math.fsum(values) / len(values)
        known[image]["target"] = round(mean, 6)  # 0.07 * 100 is 7
    return known


def _number(text: str, line: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HistoError(line, "table", f"{text!r} is no number")
    return value
