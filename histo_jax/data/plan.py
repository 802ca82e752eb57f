"""What a build will read, and whether a prepared set is of just that."""

import dataclasses
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from histo_jax import files
from histo_jax.data.folders import Item, name_in
from histo_jax.data.names import Names
from histo_jax.data.prepared import CARD
from histo_jax.errors import HistoError


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a build will read.

    Attributes:
      folder: the user's.
      items: slides or images.
      sources: for the card: `{name: {size, mtime_ns, row}}`, `row` a digest of what is said of it.
      tile_labels: of single tiles, by regions drawn on slides; known once these are cut.
    """

    folder: Path
    items: list[Item]
    sources: dict[str, dict]
    tile_labels: frozenset[str] = frozenset()

    # Kept: they look at every item, and are asked for at every record.

    @functools.cached_property
    def classes(self) -> tuple[str, ...] | None:
        """Names in label order, numbers by their value; None without labels."""
        labels = {item.label for item in self.items if item.label is not None} | self.tile_labels
        order = int if all(re.fullmatch(r"\d+", label) for label in labels) else str
        return tuple(sorted(labels, key=lambda label: (order(label), label))) or None

    @functools.cached_property
    def target(self) -> bool:
        """Whether any item has a target."""
        return any(item.target is not None for item in self.items)

    @functools.cached_property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the items."""
        return tuple(dict.fromkeys(item.split for item in self.items))

    @functools.cached_property
    def mask(self) -> bool:
        """Whether items have masks: all or none."""
        return any(item.mask is not None for item in self.items)


def sources(folder: Path, items: list[Item], names: Names) -> dict[str, dict]:
    """The files of a plan by name: size, time and what is said of them."""
    found = {}
    for item in items:
        row = (item.slide, item.patient, item.label, item.target, item.mpp, item.split)
        said = names(digest(row)[:16])
        for path in filter(None, (item.file, *item.members, item.mask, item.regions)):
            stat = path.stat()
            facts = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "row": said}
            found[names(name_in(folder, path))] = facts
    return found


def is_current(version: Path, plan: Plan, options: dict[str, Any]) -> bool:
    """Whether the set in a version folder is what `plan` gives; False where files were added.

    Raises:
      HistoError: it was made by other options, or of files that changed or vanished since.
    """
    card = files.read_json(version / CARD)
    remedy = "add --overwrite to build it anew, or give the config another name"
    old = card["options"]
    changed = [
        f"{name} was {old.get(name)!r} and is now {options.get(name)!r}"
        for name in sorted({*old, *options})
        if old.get(name) != options.get(name)
    ]
    if changed:
        what = f"was built by other options: {', '.join(changed)}"
        raise HistoError(version, "options-changed", what, remedy)
    before, now = card["sources"], plan.sources
    for verb, names in (
        ("vanished", before.keys() - now.keys()),
        ("changed", {name for name in before if name in now and before[name] != now[name]}),
    ):
        if names:
            what = f"{len(names)} files {verb} since it was built, e.g. {min(names)}"
            raise HistoError(version, f"files-{verb}", what, remedy)
    return before == now


def digest(value: Any) -> str:
    """sha256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
