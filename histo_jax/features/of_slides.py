"""Slides are cut by processes that may die, and described while the next ones are cut."""

import argparse
import collections
import contextlib
import hashlib
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histo_jax import files
from histo_jax.data import decode, folders
from histo_jax.data.cores import cores
from histo_jax.data.folders import Item
from histo_jax.data.log import LEAST, SHARE
from histo_jax.data.slides_page import remarks_of
from histo_jax.errors import HistoError
from histo_jax.features import store
from histo_jax.features.encoder import Encoder
from histo_jax.features.made import described, is_done
from histo_jax.features.store import Facts
from histo_jax.slides import parts
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.pool import Job, Outcome, Supervisor
from histo_jax.slides.rule import TileRule, options_digest

TIMEOUT_S = 3600.0  # for a slide: all tiles of a large one take minutes
MEMORY_BYTES = 4 * 2**30  # most address space of a worker
AHEAD = 2  # slides a worker that lie cut before the encoder comes to them
# Where a builder would have other options.
REMEDIES = {
    "memory": "leave the slide out",
    "timeout": "leave the slide out, or take fewer of its tiles by --max-tiles",
    "mpp-missing": "give it in slides.csv, column mpp, or by --default-mpp",
    "mpp-too-coarse": "ask for a coarser --mpp",
    "too-many-unreadable": "fetch the slide again",
}


def find(paths: Iterable[Path]) -> list[Item]:
    """The slides that files and folders name, each once.

    Raises:
      HistoError: no such path, a folder without slides, a slides.csv that doesn't fit.
    """
    found: dict[Path, Item] = {}
    for path in paths:
        if not path.exists():
            raise HistoError(path, "missing", "no such slide or folder", "check the path")
        alone = Item(path, folders.name_in(path.parent, path))
        items = folders.slides(path) if path.is_dir() else [alone]
        for item in items:
            found.setdefault(item.file.resolve(), item)
    return list(found.values())


class Extraction:
    """From slides to files, one each."""

    def __init__(self, args: argparse.Namespace, encoder: Encoder, rule: TileRule):
        self.args, self.encoder, self.rule = args, encoder, rule
        self.out, self.workers = args.out, args.workers or cores()
        self.parts = args.out / ".parts"
        self.ready: collections.deque[Outcome] = collections.deque()
        self.refused: collections.Counter[str] = collections.Counter()
        self.seen = self.tiles = 0

    def run(self, items: list[Item]) -> None:
        """Makes the files that are not there yet, and says how it went.

        Raises:
          HistoError: a file of other weights or options is there; two slides of one name; too
            many slides are refused, which the others outlive; a full disk.
        """
        self.todo = self.plan(items)
        before = len(items) - len(self.todo)
        jobs = [Job(path, item.mpp) for path, (item, _) in self.todo.items()]
        self.bar = tqdm(unit=" tiles", desc="Extracting", leave=False)
        supervisor = Supervisor(jobs, self.rule, self.parts, TIMEOUT_S, MEMORY_BYTES)
        with self.bar, files.hold(self.parts), contextlib.closing(supervisor) as self.cutting:
            while self.ready or self.cutting.waiting or self.cutting.busy:
                self.tend(60.0)
                if self.ready:
                    self.take(self.ready.popleft())
        shutil.rmtree(self.parts, ignore_errors=True)
        refused, rate = self.refused.total(), self.tiles / self.bar.format_dict["elapsed"]
        told = f"{len(items)} slides: {self.seen - refused} done, {before} before"
        kinds = ", ".join(f"{n} {reason}" for reason, n in sorted(self.refused.items()))
        told += f", {refused} refused ({kinds})" if refused else ""
        print(f"{told}; {self.tiles:,} tiles, {rate:,.1f} a second\n{self.out}")
        if refused > max(LEAST, math.ceil(SHARE * len(items))) or refused == len(items):
            what = f"{refused} of {len(items)} slides were refused: {kinds}"
            raise HistoError(self.out, "slides-refused", what, "see the lines above")

    def plan(self, items: list[Item]) -> dict[str, tuple[Item, dict]]:
        """What is to be done by the slide's path: the slide, and what its file is made by."""
        names: dict[str, Item] = {}
        copies: dict[str, Item] = {}
        todo = {}
        for item in items:
            identity = _identity(item.file)
            first = copies.setdefault(identity or str(item.file), item)
            if first is not item:
                self.tell(item, f"is a copy of {first.name}, done once")
                continue
            same = names.setdefault(_stem(item), item)
            if same is not item:
                what = f"and {same.file} would both be {_stem(item)}.h5"
                remedy = "rename one, or extract them to two folders"
                raise HistoError(item.file, "same-name", what, remedy)
            asked = f"{options_digest(self.rule, item.mpp)} pictures {self.args.pictures}"
            options = hashlib.sha256(asked.encode()).hexdigest()[:16]
            made_by = self.encoder.facts | {"options": options, "identity": identity}
            # One that can't be read now is for the worker to refuse, whatever is there.
            if not identity or not is_done(self.path(item), made_by, self.args.overwrite):
                todo[str(item.file)] = item, made_by
        return todo

    def path(self, item: Item) -> Path:
        """The file of a slide."""
        return self.out / f"{_stem(item)}.h5"

    def tend(self, longest_s: float = 0.0) -> None:
        """Sees to the processes that cut; they wait where the encoder is too far behind."""
        if len(self.ready) < AHEAD * self.workers:
            self.ready += self.cutting.step(self.workers, 0.0 if self.ready else longest_s)

    def take(self, outcome: Outcome) -> None:
        """Makes the file of a slide that was cut, or says why there is none."""
        item, made_by = self.todo[outcome.path]
        self.seen += 1
        if outcome.error is not None:
            self.refused[outcome.error.reason] += 1
            remedy = REMEDIES.get(outcome.error.reason, outcome.error.remedy)
            self.tell(item, f"refused, {outcome.error.what}" + (f" ({remedy})" if remedy else ""))
            return
        card = parts.read_card(outcome.part)
        for remark in remarks_of(card):
            self.tell(item, remark)
        self.tiles += card["kept"]
        self.bar.total = round(self.tiles / self.seen * len(self.todo))  # as far as one knows
        self.bar.set_postfix_str(f"slide {self.seen} of {len(self.todo)}")
        self.write(item, outcome.part, card, made_by)
        outcome.part.unlink()

    def write(self, item: Item, part: Path, card: dict, made_by: dict) -> None:
        """The file of a slide that was cut, its tiles row by row."""
        tiles = sorted(card["tiles"], key=lambda tile: (tile["y"], tile["x"]))
        coords = np.array([(tile["x"], tile["y"]) for tile in tiles], np.int64)
        keys = [tile["key"] for tile in tiles]
        args, encoder = self.args, self.encoder
        facts = facts_of(item, card, made_by)
        known = (self.path(item), facts, coords, keys, encoder.width, args.pictures > 0)
        with (
            parts.reading(part) as read,
            store.writing(*known, overview=parts.read_thumbnail(part)) as file,
        ):

            def fill(key: str, out: np.ndarray) -> None:
                try:
                    decode.decode_into(read(key), out)
                except ValueError as error:
                    what = f"tile {key} does not decode: {error}"
                    raise HistoError(part, "damaged-part", what, "remove it") from error

            batches = decode.decode_images(keys, fill, encoder.size, args.batch_size)
            for features, small in described(encoder, batches, args.batch_size, args.pictures):
                file.add(features, small)
                self.bar.update(len(features))
                self.tend()

    def tell(self, item: Item, text: str) -> None:
        """A line above the bar."""
        tqdm.write(f"{item.name}: {text}".replace("\n", "\\n"))


def facts_of(item: Item, card: dict, made_by: dict) -> Facts:
    """What a slide's file says of its numbers, from the card of its part."""
    mpp = next((tile["mpp"] for tile in card["tiles"]), None)
    at = dict(zip(("x", "y", "width", "height"), card["bounds"], strict=True))
    return Facts(
        slide=_stem(item),
        source=folders.as_text(item.file.absolute()),
        patch_size_level0=round(card["stride"]),
        mpp=math.nan if mpp is None else mpp,
        level0_width=card["dimensions"][0],
        level0_height=card["dimensions"][1],
        **{f"overview_{name}": value for name, value in at.items()},
        **made_by,
    )


def _stem(item: Item) -> str:
    """A slide's name, and that of its file: on one line, escaped where it is no text."""
    return folders.as_text(Path(item.file.stem)).replace("\n", "\\n")


def _identity(path: Path) -> str:
    """sha256 of a slide; empty where it can't be read."""
    try:
        return slide_digest(path)[0] if path.is_file() else ""
    except OSError:
        return ""
