"""A user's folder: which slides or images it holds, and what its tables say of them."""

import collections
import dataclasses
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from histo_jax.data.tables import read_table
from histo_jax.errors import HistoError
from histo_jax.slides.identity import dicom_series

SLIDE_TABLE, LABEL_TABLE, MASKS = "slides.csv", "labels.csv", "masks"
SLIDE_COLUMNS = ("file", "mpp", "patient", "label", "split")
LABEL_COLUMNS = ("file", "label", "target", "patient", "slide", "split")
SPLITS = ("train", "validation", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# What OpenSlide reads, by name; any other name is looked into.
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm",
)  # fmt: skip
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LISTED = 10  # names in one error


@dataclasses.dataclass(frozen=True)
class Item:
    """One slide or image and what is known about it; empty text and None are unknown.

    Attributes:
      file: where to read it; `name`: its path inside the folder.
      members: further files of it (DICOM instances), file excluded.
      regions: file of the regions drawn on it, where these make the labels of its tiles.
    """

    file: Path
    name: str
    members: tuple[Path, ...] = ()
    slide: str = ""
    patient: str = ""
    label: str | None = None
    target: float | None = None
    mpp: float | None = None
    mask: Path | None = None
    regions: Path | None = None
    split: str = "train"


def slides(folder: Path) -> list[Item]:
    """The slides below `folder` in the order of their names, with the facts of its slides.csv.

    A file counts as a slide by its suffix or by its first bytes (TIFF, DICOM); instances of one
    DICOM series are one slide. Their `slide` is their name.

    Raises:
      HistoError: nothing found; files that cannot be reached; a table that does not fit.
    """
    found, taken = [], set()
    for path in reachable(p for p in walk(folder) if _is_slide(p)):
        if path in taken:
            continue
        series = dicom_series(path) if path.is_file() else []
        members = tuple(p for p in series if p != path)
        taken.update(members)
        name = name_in(folder, path)
        found.append(Item(path, name, members, slide=name))
    if not found:
        remedy = f"give slides as {', '.join(SLIDE_SUFFIXES)}; images go to histo_patches"
        raise HistoError(folder, "no-slides", "no slide in it", remedy)
    table = folder / SLIDE_TABLE
    if not table.exists():
        return found
    rows = read_table(table, SLIDE_COLUMNS)
    _check_known(table, rows, {item.name for item in found})
    found = [_with_row(table, item, rows.get(item.name, {})) for item in found]
    _check_splits(table, found)
    return found


def images(folder: Path) -> list[Item]:
    """The images below `folder` (by suffix) in the order of their names.

    Raises:
      HistoError: nothing found; files that cannot be reached.
    """
    paths = reachable(p for p in walk(folder) if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        remedy = f"give images as {', '.join(IMAGE_SUFFIXES)}"
        raise HistoError(folder, "no-images", "no image in it", remedy)
    return [Item(path, name_in(folder, path)) for path in paths]


def labelled(folder: Path, ids: str | None = None) -> list[Item]:
    """Images with what is said about them: by labels.csv, else by class sub-folders, and masks.

    `ids` finds slides and patients in names, see `with_ids`.

    Raises:
      HistoError: labels.csv names missing files or does not fit; images outside class folders;
        images without their mask; nothing said about the images at all.
    """
    masks = folder / MASKS
    found = [item for item in images(folder) if masks not in item.file.parents]
    table = folder / LABEL_TABLE
    if table.exists():
        rows = read_table(table, LABEL_COLUMNS)
        _check_known(table, rows, {item.name for item in found})
        named = [item for item in found if item.name in rows]
        found = [_with_row(table, item, rows[item.name]) for item in named]
        found = with_ids(folder, found, ids)  # first: what is of one patient must be in one split
        _check_said(table, found, masks.is_dir())
        _check_splits(table, found)
    else:
        found = with_ids(folder, _by_class(folder, found, masks.is_dir()), ids)
    return _with_masks(masks, found) if masks.is_dir() else found


def with_ids(folder: Path, items: list[Item], pattern: str | None) -> list[Item]:
    """Slides and patients from the names of the files, by `ImageConfig.ids`; tables come first.

    Raises:
      HistoError: names the pattern does not find: they would go to any side of a split.
    """
    if pattern is None:
        return items
    found = [re.search(pattern, item.name) for item in items]
    silent = [item.name for item, match in zip(items, found, strict=True) if not match]
    if silent:
        what = f"ids={pattern!r} is not found in {len(silent)} names: {some(silent)}"
        raise HistoError(folder, "ids", what, "widen the pattern, or give labels.csv")
    return [
        dataclasses.replace(
            item, **{k: v for k, v in match.groupdict().items() if v and not getattr(item, k)}
        )
        for item, match in zip(items, found, strict=True)
    ]


def left_out(folder: Path, items: list[Item]) -> collections.Counter[str]:
    """What else lies below a folder of images, by suffix; tables and masks in use don't count."""
    used = {path for item in items for path in (item.file, item.mask)}
    used |= {folder / SLIDE_TABLE, folder / LABEL_TABLE}
    return collections.Counter(p.suffix.lower() for p in walk(folder) if p not in used)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, sorted, links followed once; hidden names left out."""
    seen = set()
    for root, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(root, name)


def name_in(folder: Path, path: Path) -> str:
    """The path inside the folder as text with `/`."""
    return as_text(path.relative_to(folder))


def as_text(path: Path) -> str:
    """A path with `/`; bytes that are no UTF-8 are escaped: pages and tables can't hold them."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _is_slide(path: Path) -> bool:
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return True
    if not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES or not os.access(path, os.R_OK):
        return False
    with open(path, "rb") as file:
        head = file.read(132)
    return head.startswith(_TIFF) or head[128:] == b"DICM"


def reachable(paths: Iterable[Path]) -> list[Path]:
    """All of them, or one error that lists those that cannot be read: before any work."""
    paths = list(paths)
    bad = [str(p) for p in paths if not os.access(p, os.R_OK)]
    if bad:
        what = f"no file behind the link, or no permission: {some(bad)}"
        raise HistoError(bad[0], "unreachable", what, "mend or remove them")
    return paths


def _check_known(table: Path, rows: dict, names: set[str]) -> None:
    missing = [name for name in rows if name not in names]
    if missing:
        what = f"names {len(missing)} files that are not in its folder: {some(missing)}"
        raise HistoError(table, "missing", what, "names are paths inside the folder, with `/`")


def _with_row(table: Path, item: Item, row: dict[str, str]) -> Item:
    known: dict = {key: row[key] for key in ("slide", "patient", "label") if key in row}
    for key in ("mpp", "target"):
        if key in row:
            known[key] = _number(table, item.name, key, row[key])
    split = row.get("split", "")
    if split and split not in SPLITS:
        what = f"{item.name} is in split {split!r}"
        raise HistoError(table, "split", what, f"known: {', '.join(SPLITS)}")
    return dataclasses.replace(item, **known, split=split)


def _number(table: Path, name: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = f"{column} of {name} is {text!r}, not a number"
        raise HistoError(table, "table", what, "like 0.25, with a point")
    return value


def _check_said(table: Path, items: list[Item], masks: bool) -> None:
    silent = [item.name for item in items if item.label is None and item.target is None]
    if silent and not masks:
        what = f"says neither label nor target of {some(silent)}"
        raise HistoError(table, "no-labels", what, "give one of them for every file")


def _check_splits(table: Path, items: list[Item]) -> None:
    """Fills `train` where nobody names a split; a patient or slide must be on one side."""
    without = [item.name for item in items if not item.split]
    if len(without) == len(items):
        items[:] = [dataclasses.replace(item, split="train") for item in items]
        return
    if without:
        raise HistoError(table, "split", f"names no split for {some(without)}", "fill them all")
    for unit in ("patient", "slide"):
        sides: dict[str, set[str]] = {}
        for item in items:
            if getattr(item, unit):
                sides.setdefault(getattr(item, unit), set()).add(item.split)
        torn = sorted(name for name, splits in sides.items() if len(splits) > 1)
        if torn:
            what = f"{unit}s in more than one split: {some(torn)}"
            raise HistoError(table, "leak", what, f"keep each {unit} in one split")


def _by_class(folder: Path, items: list[Item], masks: bool) -> list[Item]:
    """Labels from the first folder of each path; with masks, one folder or none is no class."""
    first = [item.name.split("/")[0] if "/" in item.name else "" for item in items]
    classes = set(first)
    if masks and len(classes) == 1:
        return items
    if "" in classes:
        loose = [item.name for item in items if "/" not in item.name]
        what = f"no {LABEL_TABLE}, and outside the class folders lie {some(loose)}"
        raise HistoError(folder, "no-labels", what, "one sub-folder a class, or labels.csv")
    if len(classes) < 2:
        what = f"one class only: {first[0]}"
        raise HistoError(folder, "no-labels", what, "one sub-folder a class, or labels.csv")
    return [dataclasses.replace(item, label=name) for item, name in zip(items, first, strict=True)]


def _with_masks(masks: Path, items: list[Item]) -> list[Item]:
    """Pairs images with masks/<stem>.png."""
    there = {path.stem: path for path in walk(masks) if path.suffix.lower() == ".png"}
    stems: dict[str, str] = {}
    for item in items:
        if stems.setdefault(item.file.stem, item.name) != item.name:
            what = f"one mask for {stems[item.file.stem]} and {item.name}"
            raise HistoError(masks / f"{item.file.stem}.png", "mask", what, "rename one of them")
    missing = [item.name for item in items if item.file.stem not in there]
    if missing:
        raise HistoError(masks, "mask", f"no <name>.png for {some(missing)}", "add the masks")
    return [dataclasses.replace(item, mask=there[item.file.stem]) for item in items]


def some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
