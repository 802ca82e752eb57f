"""Slides with outlined regions: cut like any slide, each tile with the mask of what is inside."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from histo_jax.catalogue import outlines
from histo_jax.data import record
from histo_jax.data.config import SlideConfig
from histo_jax.data.folders import Item
from histo_jax.data.plan import Plan
from histo_jax.data.slide_set import SlideBuilder
from histo_jax.errors import HistoError


@dataclasses.dataclass(eq=False, kw_only=True)
class OutlinedConfig(SlideConfig):
    """Options of bach_seg: those of slides, with the paper's tiles of 1024, all of them."""

    KIND = "outlined"
    tile_size: int = 1024
    min_foreground: float = 0.0
    max_tiles: int = 10**6

    def __post_init__(self):
        super().__post_init__()
        if self.mpp is not None:
            what = "regions are outlined in pixels of level 0"
            raise HistoError("--config, mpp", "config", what, "leave it out")


class OutlinedBuilder(SlideBuilder, skip_registration=True):
    """Slides to tiles with masks."""

    def prepare(self, plan: Plan) -> None:
        """Reads the outlines before the slides are cut: they are what is mended easily."""
        said = self.config.entry.layout.outlines
        self._regions = {item.name: outlines.read(item.mask, said) for item in plan.items}
        super().prepare(plan)

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            for example in super().examples([item]):
                side, regions = self.config.tile_size, self._regions[item.name]
                mask = outlines.draw(regions, example["x"], example["y"], side, side)
                yield example | {"mask": record.encode_png(Image.fromarray(mask))}

    def find(self, folder: Path) -> list[Item]:
        """As of slides, each with its outlines as `mask`."""
        said, found = self.config.entry.layout.outlines, []
        for item in super().find(folder):
            path = item.file.with_name(said.file.replace("{stem}", item.file.stem))
            if not path.is_file():
                what = f"no {path.name} beside {item.name}"
                raise HistoError(item.file, "mask", what, "add the outlines")
            found.append(dataclasses.replace(item, mask=path))
        return found
