"""Sets of drawn tissue: drawn first, into the build's own folder, then built like any other."""

import dataclasses
from pathlib import Path
from typing import Any

from histo_jax.data.config import LabelledConfig, SlideConfig
from histo_jax.data.drawn import slides, stain
from histo_jax.data.folders import Item
from histo_jax.data.image_set import LabelledBuilder
from histo_jax.data.slide_set import SlideBuilder
from histo_jax.errors import HistoError


@dataclasses.dataclass(eq=False, kw_only=True)
class DemoConfig(SlideConfig):
    """Options of histo_demo.

    Attributes:
      slides: how many are drawn: one of each of the six classes a patient.
      palette: of the stains, see `drawn.stain.PALETTES`.
    """

    KIND = ""
    slides: int = 96
    palette: str = "classic"
    mpp: float | None = 1.0
    tissue: str = "ciga2021"  # Otsu's takes the inside of fat for glass
    min_foreground: float = 0.75
    tile_size: int = 72

    def __post_init__(self):
        super().__post_init__()
        _check_palette(self.palette)
        if self.slides < 6 or self.slides % 6:
            what = f"{self.slides} is no multiple of the six classes"
            raise HistoError("--config, slides", "config", what)


@dataclasses.dataclass(eq=False, kw_only=True)
class DemoPatchesConfig(LabelledConfig):
    """Options of histo_demo_patches.

    Attributes:
      patients: how many; each has nine patches of each of the six classes.
      size: of a patch in pixels of 1 µm.
      palette: of the stains, see `drawn.stain.PALETTES`.
      seed: of everything drawn.
    """

    KIND = ""
    patients: int = 12
    size: int = 72
    palette: str = "classic"
    seed: int = 0
    mpp: float | None = 1.0

    def __post_init__(self):
        super().__post_init__()
        _check_palette(self.palette)
        for name, least in (("patients", 1), ("size", 8), ("seed", 0)):
            if getattr(self, name) < least:
                what = f"{getattr(self, name)} is below {least}"
                raise HistoError(f"--config, {name}", "config", what)


class DemoBuilder(SlideBuilder, skip_registration=True):
    """Drawn slides."""

    def folder(self, download_dir: Any, download_config: Any) -> Path:
        config: DemoConfig = self.config
        drawn_with = (self.VERSION, config.slides, config.tile_size, config.palette, config.seed)
        folder = self.work / "-".join(["slides", *map(str, drawn_with)])
        slides.draw_slides(
            folder, slides=config.slides, tile_size=config.tile_size, seed=config.seed,
            palette=config.palette,
        )  # fmt: skip
        return folder

    def sources(self, folder: Path, items: list[Item]) -> dict[str, dict]:
        return {}  # the options and the version say it all


class DemoPatchesBuilder(LabelledBuilder, skip_registration=True):
    """Drawn patches with classes, cellularity and masks of nuclei."""

    def folder(self, download_dir: Any, download_config: Any) -> Path:
        config: DemoPatchesConfig = self.config
        drawn_with = (self.VERSION, config.patients, config.size, config.palette, config.seed)
        folder = self.work / "-".join(["patches", *map(str, drawn_with)])
        if not (folder / "labels.csv").exists():  # written last
            slides.draw_patches(
                folder, patients=config.patients, size=config.size, seed=config.seed,
                palette=config.palette,
            )  # fmt: skip
        return folder


def _check_palette(name: str) -> None:
    if name not in stain.PALETTES:
        remedy = "known: " + ", ".join(stain.PALETTES)
        raise HistoError("--config, palette", "config", f"is {name!r}", remedy)
