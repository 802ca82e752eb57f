"""What a build read, skipped and why."""

import collections
import math
from pathlib import Path

from histo_jax import files
from histo_jax.data.folders import IMAGE_SUFFIXES, Item
from histo_jax.data.names import Names
from histo_jax.errors import HistoError
from histo_jax.files import file_digest

SHARE, LEAST = 0.1, 5  # of the files may be refused, whichever is more
_SHOWN, _KINDS = 10, 5  # refused files, and suffixes, that a summary names


class Log:
    """Counts, and `quarantine.jsonl`: one line a refused file."""

    def __init__(self, work: Path, unit: str, files_found: int, names: Names):
        self.path = work / "quarantine.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self._unit, self._found, self._names = unit, files_found, names
        self._counts: collections.Counter[str] = collections.Counter()
        self._skipped: collections.Counter[str] = collections.Counter()
        self._tiles: collections.Counter[str] = collections.Counter()
        self._left_out: collections.Counter[str] = collections.Counter()
        self._fits: collections.Counter[str] = collections.Counter()
        self._seen: dict[str, Item] = {}
        self._pixels: dict[str, Item] = {}
        self._lines: list[str] = []

    def count(self, what: str) -> None:
        """Adds one to a count of the summary."""
        self._counts[what] += 1

    def tiles(self, counts: dict[str, int]) -> None:
        """Adds what became of the cells of a slide's grid."""
        self._tiles.update(counts)

    def fits(self, size: tuple[int, int], side: int) -> None:
        """Adds what an image of (width, height) gives under each `fit`, with squares of `side`."""
        tiles = (size[0] // side) * (size[1] // side)
        self._fits.update({"resize": 1, "tile": tiles, "crop": min(tiles, 1)})

    def left_out(self, suffixes: dict[str, int]) -> None:
        """Adds files that nobody reads, by suffix."""
        self._left_out.update(suffixes)

    def note(self, item: Item, text: str) -> None:
        """Keeps a line for the end."""
        self._lines.append(f"{item.name}: {text}")

    def refuse(self, item: Item, error: HistoError, stage: str, sha256: str) -> None:
        """Quarantines an item."""
        self._skipped[error.reason] += 1
        hidden = error.what.replace(str(item.file), item.name)
        self.note(item, f"skipped, {hidden}" + (f" ({error.remedy})" if error.remedy else ""))
        line = {
            "path": self._names(item.name), "sha256": sha256, "stage": stage, "tile": None,
            "reason": error.reason,
            "error": "" if self._names.hidden else error.what,  # it may hold names
        }  # fmt: skip
        files.append_line(self.path, line)

    def is_new(self, identity: str, item: Item) -> bool:
        """False, and counted, where the same slide or image was read under another name.

        Raises:
          HistoError: `conflict`: the two are said to be different things.
        """
        first = self._seen.setdefault(identity, item)
        if first is item:
            return True
        for field in ("split", "label", "target", "patient", "mask"):
            said, before = getattr(item, field), getattr(first, field)
            if said != before and (field != "mask" or None in (said, before)):
                what = f"is a copy of {first.name}, but its {field} is {said!r}, not {before!r}"
                raise HistoError(item.file, "conflict", what, "keep one of them")
        if len({of.regions and file_digest(of.regions) for of in (item, first)}) > 1:
            what = f"is a copy of {first.name}, but other regions are drawn on it"
            raise HistoError(item.file, "conflict", what, "keep one of them")
        self._skipped["duplicate"] += 1
        self.note(item, f"is a copy of {first.name}, read once")
        return False

    def twin(self, pixels: str, item: Item) -> Item | None:
        """An earlier item with these pixels that is in another split; None: there is none."""
        first = self._pixels.setdefault(pixels, item)
        return None if first.split == item.split else first

    def check(self, folder: Path, most: int | None) -> None:
        """Fails a build that refused too much.

        Raises:
          HistoError: `quarantine`.
        """
        if most is None:
            most = max(LEAST, math.ceil(SHARE * self._found))
        refused = self._skipped.copy()
        del refused["duplicate"]
        if refused.total() > most:
            what = f"{refused.total()} of {self._found} {self._unit} refused, at most {most} may be"
            what += f": {_counted(refused)}"
            raise HistoError(folder, "quarantine", what, f"see {self.path}, or set max_quarantine")

    def few_kept(self, share: float) -> str:
        """A clause where less than `share` of the tried grid tiles were kept, else nothing."""
        tried = self._tiles.total() - self._tiles["not-needed"] - self._tiles["outside"]
        if self._tiles["kept"] >= share * tried:
            return ""
        return f"only {self._tiles['kept']:,} of {tried:,} grid tiles were kept"

    def summary(self) -> dict:
        """For the card: every file and every tile is counted."""
        counts = {"files": self._found, "read": self._found - self._skipped.total()}
        skipped = dict(sorted(self._skipped.items()))
        tiles = {"tiles": dict(self._tiles)} if self._tiles else {}
        # By number only: a name may end in anything, also in what pseudonymise hides.
        other = {"other_files": self._left_out.total()} if self._left_out else {}
        fits = {"fit": dict(self._fits)} if self._fits else {}
        return {**counts, **self._counts, **other, "skipped": skipped, **tiles, **fits}

    def told(self) -> str:
        """The summary in words."""
        read = self._found - self._skipped.total()
        text = f"{self._counts['records']:,} records from {read:,} of {self._found:,} {self._unit}"
        if self._skipped:
            text += f"; skipped: {_counted(self._skipped)}"
        if self._tiles.total():
            text += f"; tiles: {_counted(self._tiles)}"
        if self._fits:
            text += f"; images by fit: {_counted(self._fits)}"
        images = sum(self._left_out[suffix] for suffix in IMAGE_SUFFIXES)
        kinds = [
            suffix for suffix, _ in self._left_out.most_common() if suffix not in IMAGE_SUFFIXES
        ]
        if kinds:
            named = ", ".join(ascii(kind or "no suffix")[1:-1] for kind in kinds[:_KINDS])
            named += ", …" if len(kinds) > _KINDS else ""
            text += f"; {self._left_out.total() - images:,} files of other kinds ignored ({named})"
        if images:
            text += f"; {images:,} images that are not asked for ignored"
        for line in self._lines[:_SHOWN]:
            text += "\n  " + line.replace("\n", "\\n")
        more = len(self._lines) - _SHOWN
        return text + (f"\n  … and {more} more lines like these" if more > 0 else "")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()) if number)
