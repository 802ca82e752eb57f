"""Folders of the catalogue's datasets: which files are meant, and what is known of each."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from histo_jax import files
from histo_jax.catalogue import Entry, experts, load, tables
from histo_jax.catalogue.layout import any_of, facts, how, is_meant, pattern
from histo_jax.data import folders
from histo_jax.data import plan as plans
from histo_jax.data.folders import Item
from histo_jax.errors import HistoError
from histo_jax.slides.identity import container


def images(
    folder: Path, entry: Entry, variant: str | None, work: Path | None = None
) -> tuple[list[Item], list[str]]:
    """The images of a dataset below `folder`, and what should be said about them.

    What takes long to read is kept in `work`.

    Raises:
      HistoError: `layout`: none there, or not named as the catalogue says; what masks and tables
        lack.
    """
    names = {folders.name_in(folder, path): path for path in folders.walk(folder)}
    meant = [name for name in names if is_meant(entry.layout, name, variant)]
    if not meant:
        raise _nothing(folder, entry, variant)
    folders.reachable(names[name] for name in meant)
    known = {name: facts(entry, name) for name in meant}
    items = [Item(names[name], name, **(known[name] or {})) for name in meant]
    notes = _silent(folder, entry, [name for name in meant if known[name] is None])
    said, remarks = tables.read(entry, folder, names, meant)
    items = [dataclasses.replace(item, **said.get(item.name, {})) for item in items]
    if any(table.target for table in entry.layout.tables):
        items, without = _with_targets(folder, entry, items)
        remarks += without
    if entry.layout.experts:
        items, without = _with_classes(entry, items, names, variant, work)
        remarks += without
    if entry.layout.masks:
        items = _with_masks(entry, items)
    return items, [*notes, *remarks, *_doubts(entry, items, variant)]


def slides(folder: Path, entry: Entry, variant: str | None) -> tuple[list[Item], list[str]]:
    """As `images`, of slides; what slides.csv says comes first.

    A DICOM series goes by the name that the archive gave it, where its files state one.
    """
    items, silent = [], []
    for item in folders.slides(folder):
        called = container(item.file)
        texts = [f"{item.name}/{called}.dcm"] if called else []
        texts.append(item.name)
        if not any(is_meant(entry.layout, text, variant) for text in texts):
            continue
        known = next((k for k in (facts(entry, text) for text in texts) if k is not None), None)
        if known is None:
            silent.append(item.name)
            known = {}
        patient = item.patient or known.get("patient", "")
        slide = known.get("slide", item.slide)
        items.append(dataclasses.replace(item, slide=slide, patient=patient))
    if not items:
        raise _nothing(folder, entry, variant)
    return items, [*_silent(folder, entry, silent), *_doubts(entry, items, variant)]


def check_archives(folder: Path, entry: Entry) -> list[str]:
    """Hashes the archives of a release that still lie in the folder; what is to be said of them.

    Raises:
      HistoError: `checksum`: one is not what its publisher gave out.
    """
    notes = []
    known = {**entry.digests, **entry.doubted}
    for path in (path for path in folders.walk(folder) if path.name in known):
        wanted = known[path.name]
        found = [
            f"{how}:{files.file_digest(path, how)}"
            for how in sorted({one.partition(":")[0] for one in wanted})
        ]
        if set(found) & set(wanted):
            notes.append(f"{path.name} is the file that was published")
            continue
        what = f"is {' '.join(found)}, not {' or '.join(wanted)}"
        if path.name in entry.digests:
            remedy = "fetch it again, unpack it again; or remove it if it is a newer release"
            raise HistoError(path, "checksum", what, remedy)
        notes.append(f"{path.name} {what}: damaged, or another release")
    return notes


def told(entry: Entry) -> dict[str, str]:
    """What TFDS's dataset_info.json says of a dataset."""
    description = f"{entry.name}: {entry.organ}, {entry.stain}."
    licence = entry.licence or "unknown"
    return {
        "description": description, "citation": entry.citation, "homepage": entry.homepage,
        "license": licence,
    }  # fmt: skip


def card(entry: Entry | None, notes: list[str]) -> dict[str, Any] | None:
    """What the card says of a dataset, and of what was odd about the folder."""
    if entry is None:
        return None
    names = (
        "id", "name", "organ", "stain", "magnification", "licence", "citation", "homepage", "doi",
        "paper", "release", "unit", "confidence",
    )  # fmt: skip
    told = {name: getattr(entry, name) for name in names}
    return told | {"quirks": list(entry.quirks), "notes": notes}


def no_config(configs: Sequence[Any], name: object, what: str) -> HistoError:
    """Why a name is no config: its dataset is another builder's, or nobody's."""
    if name in load():
        what = f"{name} is built by tfds_builders/{load()[name].builder}, not here"
        return HistoError("--config", "config", what)
    near = difflib.get_close_matches(str(name), [config.name for config in configs], 1)
    remedy = f"did you mean {near[0]}?" if near else "name your own: '{\"name\": …}'"
    return HistoError("--config", "config", what, remedy)


def _nothing(folder: Path, entry: Entry, variant: str | None) -> HistoError:
    layout = entry.layout
    wanted = layout.images if variant is None else layout.variants[variant]
    kind = "slide" if entry.kind in ("slides", "outlined") else "image"
    what = f"holds no {kind} of {entry.id}: looked for {' and '.join(wanted)} at any depth"
    return HistoError(folder, "layout", what, how(entry))


def _silent(folder: Path, entry: Entry, names: list[str]) -> list[str]:
    """Names that say nothing: of a labelled set they would go to any part of a split."""
    if not names:
        return []
    what = f"{len(names):,} names are not as the catalogue knows them: {folders.some(names)}"
    if entry.kind in ("labelled", "outlined"):
        raise HistoError(folder, "layout", what, how(entry))
    return [f"{what}; their {entry.unit}s stay unknown"]


def _doubts(entry: Entry, items: list[Item], variant: str | None) -> list[str]:
    doubts = []
    if entry.confidence == "low":
        doubts.append("its layout is not known: every image in the folder is taken, look at some")
    array = any(item.file.suffix == ".npy" for item in items)
    if entry.release not in (None, len(items)) and variant is None and not array:
        doubts.append(f"{len(items):,} of the {entry.release:,} that were released are here")
    return doubts


def _with_targets(folder: Path, entry: Entry, items: list[Item]) -> tuple[list[Item], list[str]]:
    kept = [item for item in items if item.target is not None]
    if not kept:
        wanted = " and ".join(table.file for table in entry.layout.tables)
        raise HistoError(folder, "layout", f"no {wanted} with a target of any image", how(entry))
    without = len(items) - len(kept)
    return kept, [f"{without:,} images without a target are left out"] if without else []


def _with_classes(
    entry: Entry,
    items: list[Item],
    names: dict[str, Path],
    variant: str | None,
    work: Path | None,
) -> tuple[list[Item], list[str]]:
    """Classes read from the experts' maps; those of files read before are taken from `work`."""
    said, reading = entry.layout.experts, variant or experts.READINGS[0]
    # By its name alone: every image has its own pattern, and there may be thousands of files.
    there: dict[str, list[str]] = {}
    for name in names:
        there.setdefault(name.split("/")[-1], []).append(name)
    path = work and work / "classes.json"  # reading hundreds of maps takes minutes
    known = files.read_json(path) if path and path.exists() else {}
    labelled = []
    for item in tqdm(items, unit=" images", desc="Reading maps", leave=False):
        wanted = said.file.replace("{stem}", item.file.stem)
        near = there.get(wanted.split("/")[-1], ())
        maps = sorted(names[name] for name in near if pattern(wanted).fullmatch(name))
        stats = [path.stat() for path in maps]
        facts = [reading, repr(said), *((s.st_size, s.st_mtime_ns) for s in stats)]
        key = f"{item.name} {plans.digest(facts)}"
        if key not in known:
            known[key] = experts.read_class(maps, said, reading)
        labelled.append(dataclasses.replace(item, label=known[key]))
    if path:
        files.write_json(path, known)
    kept = [item for item in labelled if item.label is not None]
    if not kept:
        raise HistoError(items[0].file, "layout", f"no map {said.file} of any image", how(entry))
    without = len(items) - len(kept)
    return kept, [f"{without:,} images that no expert drew on are left out"] if without else []


def _with_masks(entry: Entry, items: list[Item]) -> list[Item]:
    """Pairs images with the masks beside them."""
    said, paired, missing = entry.layout.masks, [], []
    for item in items:
        mask = item.file.with_name(said.file.replace("{stem}", item.file.stem))
        if any_of(said.unmasked, item.name):
            paired.append(item)
        elif mask.is_file():
            paired.append(dataclasses.replace(item, mask=mask))
        else:
            missing.append(item.name)
    if missing:
        what = f"no {said.file} beside {folders.some(missing)}"
        raise HistoError(items[0].file.parent, "mask", what, "add the masks")
    return paired
