"""A set of slides: cut by worker processes, assembled from their parts."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from histo_jax.data import catalogued, folders, record, regions, slides_page
from histo_jax.data.build import FolderBuilder
from histo_jax.data.config import SlideConfig
from histo_jax.data.cores import cores
from histo_jax.data.folders import Item
from histo_jax.data.plan import Plan
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.parts import read_card, read_part
from histo_jax.slides.pool import Job, cut_slides
from histo_jax.slides.tiles import TileRule

BYTES = 0.7  # a pixel, of JPEG at 95: 0.38 on CMU-1, 0.66 on Kather's tiles, 0.86 on NCT-CRC's
LARGER = 4  # times the slide's own file: more than all of its pixels take as tiles
FEW = 0.1  # share of tried grid tiles below which the rule may be the wrong one
OTHER_RULE = {"otsu": "ciga2021", "ciga2021": "otsu", "paper_literal": "ciga2021"}


class SlideBuilder(FolderBuilder, skip_registration=True):
    """Slides to tiles. Finished parts lie in `self.work` and are not cut twice."""

    UNIT = "slides"
    BEAM = True

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        tile_rule(self.config)  # out of range: said before any work

    def find(self, folder: Path) -> list[Item]:
        config: SlideConfig = self.config
        if config.entry is None:
            items, self.notes = folders.slides(folder), []
        else:
            items, self.notes = catalogued.slides(folder, config.entry, config.variant)
        if config.regions is not None:
            items, said = regions.drawn_on(folder, items)
            self.notes = [*self.notes, *said]
        return items

    def prepare(self, plan: Plan) -> None:
        """Cuts what has no part yet; copies of a slide count once."""
        config: SlideConfig = self.config
        rule = tile_rule(config)
        self._tell_space(plan)
        jobs = [
            Job(str(item.file), item.mpp, item.regions and str(item.regions)) for item in plan.items
        ]
        limits = (config.timeout_s, config.memory_bytes)
        if self.beam_options is None:
            cutting = cut_slides(jobs, rule, self.work, config.workers or cores(), *limits)
        else:
            from histo_jax.data import beam  # Beam takes seconds to import

            cutting = beam.cut_slides(jobs, rule, self.work, self.beam_options, *limits)
        outcomes = {}
        bar = tqdm(cutting, total=len(jobs), unit=" slides", desc="Cutting slides", leave=False)
        tiles = 0
        for outcome in bar:
            outcomes[outcome.path] = outcome
            tiles += read_card(outcome.part)["kept"] if outcome.part else 0
            bar.set_postfix_str(f"{tiles / max(bar.format_dict['elapsed'], 1e-3):,.0f} tiles/s")
        self._parts: dict[str, Path] = {}
        self._remarks: list[str] = []
        labels: set[str] = set()
        for item in plan.items:
            outcome = outcomes[str(item.file)]
            if outcome.error is not None:
                self.log.refuse(item, outcome.error, "cut", _sha256(item))
            elif self.log.is_new(outcome.part.stem, item):
                card = read_card(outcome.part)
                self.log.tiles(card["counts"])
                for remark in slides_page.remarks_of(card):
                    self.log.note(item, remark)
                self._parts[item.name] = outcome.part
                labels.update(tile["label"] for tile in card["tiles"] if tile.get("label"))
        self._plan = dataclasses.replace(plan, tile_labels=frozenset(labels))
        warning = self.log.few_kept(FEW)
        if warning and config.tissue in OTHER_RULE:
            warning += f" by the tissue rule {config.tissue!r}"
            remedy = f"look at some, or try tissue={OTHER_RULE[config.tissue]!r}"
            self._remarks.append(f"{warning}: {remedy}")
            print(f"{self.title}: warning: {warning}: {remedy}")

    def _tell_space(self, plan: Plan) -> None:
        """Before the work; once the slides are cut it is known to the byte."""
        config: SlideConfig = self.config
        tiles = config.max_tiles * config.tile_size**2 * BYTES
        slides = [(item.file, *item.members) for item in plan.items]
        sizes = [sum(path.stat().st_size for path in paths) for paths in slides]
        most = sum(min(tiles, LARGER * size) for size in sizes) / 1e9
        free = shutil.disk_usage(self.work).free / 1e9
        said = f"at most about {most:,.1f} GB for the tiles of {len(sizes):,} slides"
        print(f"{self.title}: {said}, and again for the records; {free:,.1f} GB are free")

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            if item.name not in self._parts:
                continue
            _, tiles = read_part(self._parts[item.name])
            known = {"slide": self.names(item.slide), "patient": self.names(item.patient)}
            for tile, jpeg in tiles:
                identity, place = tile["key"].split("-", 1)
                key = f"{self.names(identity)}-{place}"
                if self._plan.classes:
                    label = tile.get("label") or item.label
                    known["label"] = -1 if label is None else label
                at = {name: tile[name] for name in ("x", "y", "level", "mpp")}
                yield record.example(jpeg, key, self.title, **known, **at)

    def page(self, version: Path) -> Path:
        summary = self.log.summary()
        return slides_page.write_page(
            version, self.title, self.config, self._parts, self.names, summary, self._remarks
        )

    def bytes_needed(self, plan: Plan) -> int:
        return sum(part.stat().st_size for part in self._parts.values())


def tile_rule(config: SlideConfig) -> TileRule:
    """How `config` asks slides to be cut.

    Raises:
      HistoError: an option out of range.
    """
    return TileRule(
        size=config.tile_size, mpp=config.mpp, tissue=config.tissue,
        min_foreground=config.min_foreground, max_tiles=config.max_tiles, seed=config.seed,
        max_bad=config.max_bad, default_mpp=config.default_mpp, upsample=config.upsample,
        quality=config.quality,
    )  # fmt: skip


def _sha256(item: Item) -> str:
    """The digest its id comes from; empty where the file cannot be read."""
    if not item.file.is_file():
        return ""
    try:
        return slide_digest(item.file)[0]
    except OSError:
        return ""
