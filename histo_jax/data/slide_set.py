"""A set of slides: cut by worker processes, assembled from their parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from histo_jax.data import drawn, folders, record
from histo_jax.data.build import FolderBuilder
from histo_jax.data.config import DemoConfig, SlideConfig
from histo_jax.data.decode import cores
from histo_jax.data.folders import Item
from histo_jax.data.plan import Plan
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.parts import read_card, read_part
from histo_jax.slides.pool import Job, cut_slides
from histo_jax.slides.tiles import TileRule

FEW = 0.1  # share of tried grid tiles below which the rule may be the wrong one
OTHER_RULE = {"otsu": "ciga2021", "ciga2021": "otsu", "paper_literal": "ciga2021"}


class SlideBuilder(FolderBuilder, skip_registration=True):
    """Slides to tiles. Finished parts lie in `self.work` and are not cut twice."""

    UNIT = "slides"

    def find(self, folder: Path) -> list[Item]:
        return folders.slides(folder)

    def prepare(self, plan: Plan) -> None:
        """Cuts what has no part yet; copies of a slide count once."""
        config: SlideConfig = self.config
        rule = tile_rule(config)
        jobs = [Job(str(item.file), item.mpp) for item in plan.items]
        workers = config.workers or cores()
        outcomes = {}
        cutting = cut_slides(jobs, rule, self.work, workers, config.timeout_s, config.memory_bytes)
        bar = tqdm(cutting, total=len(jobs), unit=" slides", desc="Cutting slides", leave=False)
        for outcome in bar:
            outcomes[outcome.path] = outcome
        self._parts: dict[str, Path] = {}
        for item in plan.items:
            outcome = outcomes[str(item.file)]
            if outcome.error is not None:
                self.log.refuse(item, outcome.error, "cut", _sha256(item))
            elif self.log.is_new(outcome.part.stem, item):
                card = read_card(outcome.part)
                self.log.tiles(card["counts"])
                for warning in card["warnings"]:
                    self.log.note(item, warning)
                if 0 in card["grid"]:
                    self.log.note(item, "smaller than one tile")
                elif not card["tiles"]:
                    self.log.note(item, "no tissue found")
                self._parts[item.name] = outcome.part
        warning = self.log.few_kept(FEW)
        if warning and config.tissue in OTHER_RULE:
            print(f"{self.title}: warning: {warning} by the tissue rule {config.tissue!r}: "
                  f"look at some, or try tissue={OTHER_RULE[config.tissue]!r}")  # fmt: skip

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            if item.name not in self._parts:
                continue
            _, tiles = read_part(self._parts[item.name])
            known = {"slide": self.names(item.slide), "patient": self.names(item.patient)}
            if self._plan.classes:
                known["label"] = -1 if item.label is None else item.label
            for tile, jpeg in tiles:
                identity, place = tile["key"].split("-", 1)
                key = f"{self.names(identity)}-{place}"
                at = {name: tile[name] for name in ("x", "y", "level", "mpp")}
                yield record.example(jpeg, key, self.title, **known, **at)

    def bytes_needed(self, plan: Plan) -> int:
        return sum(part.stat().st_size for part in self._parts.values())


class DemoBuilder(SlideBuilder, skip_registration=True):
    """Slides that are drawn first, into `self.work`, then cut like any other."""

    def folder(self, download_dir: Any, download_config: Any) -> Path:
        config: DemoConfig = self.config
        folder = self.work / f"slides-{config.slides}-{config.tile_size}-{config.seed}"
        drawn.draw_slides(
            folder, slides=config.slides, tile_size=config.tile_size, seed=config.seed
        )
        return folder

    def sources(self, folder: Path, items: list[Item]) -> dict[str, dict]:
        return {}  # the options say it all


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
