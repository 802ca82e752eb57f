"""Which slides of a folder have regions drawn on them: files beside them, of QuPath or ASAP."""

import dataclasses
from pathlib import Path

from histo_jax.data import folders
from histo_jax.data.folders import Item
from histo_jax.errors import HistoError

SUFFIXES = (".geojson", ".xml")


def drawn_on(folder: Path, items: list[Item]) -> tuple[list[Item], list[str]]:
    """The slides that have a file of regions, which then give the labels, and what is to be said.

    The file lies beside the slide and has its name, with `.geojson` or `.xml` for the ending or
    behind it.

    Raises:
      HistoError: `no-regions`: nowhere; `regions`: two files for a slide, or two slides for one.
    """
    beside: dict[Path, list[Path]] = {}
    for path in folders.walk(folder):
        if path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink()):  # no pipe
            beside.setdefault(path.with_suffix(""), []).append(path)
    found, owners = [], {}
    for item in items:
        names = dict.fromkeys((item.file, item.file.with_suffix("")))
        of_it = [path for name in names for path in beside.get(name, ())]
        if len(of_it) > 1:
            what = f"two files of regions: {', '.join(path.name for path in of_it)}"
            raise HistoError(item.file, "regions", what, "keep one of them")
        for path in folders.reachable(of_it):
            if path in owners:
                what = f"lies beside two slides, {owners[path]} and {item.name}"
                remedy = f"call it {item.file.name}{path.suffix} or as the other"
                raise HistoError(path, "regions", what, remedy)
            owners[path] = item.name
            found.append(dataclasses.replace(item, regions=path, label=None))
    if not found:
        what = f"no file of regions beside any of {len(items):,} slides"
        remedy = "export them as <name of the slide>.geojson (QuPath) or .xml (ASAP)"
        raise HistoError(folder, "no-regions", what, remedy)
    return found, _said(folder, items, found, beside, set(owners))


def _said(
    folder: Path, items: list[Item], found: list[Item], beside: dict, used: set[Path]
) -> list[str]:
    notes = []
    without = sorted({item.name for item in items} - {item.name for item in found})
    if without:
        some = folders.some(without)
        notes.append(f"{len(without):,} slides have no regions and are left out: {some}")
    alone = [folders.name_in(folder, p) for some in beside.values() for p in some if p not in used]
    if alone:
        notes.append(
            f"{len(alone):,} files of regions have no slide: {folders.some(sorted(alone))}"
        )
    if any(item.label is not None for item in items):
        notes.append(f"the labels are those of the regions, not of {folders.SLIDE_TABLE}")
    return notes
