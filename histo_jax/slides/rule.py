"""How slides are cut: the options, and their digest."""

import dataclasses
import hashlib
import json

from histo_jax.slides import overview, tissue
from histo_jax.slides.reasons import refusal
from histo_jax.slides.source import MPP

VERSION = 3  # of the part: raise it when equal rules give another one, and old ones are cut anew


@dataclasses.dataclass(frozen=True)
class TileRule:
    """How slides are cut.

    Attributes:
      size: side of a stored tile in pixels.
      mpp: wanted µm per pixel; None takes level 0 as it is.
      tissue: a name in `tissue.RULES`.
      min_foreground: least share of tissue pixels, inclusive.
      max_tiles: most tiles of one slide; None: all that have tissue.
      seed: of the random order in which the grid is tried.
      max_bad: largest share of the tiles read that may be unreadable.
      default_mpp: µm per pixel of slides that don't say.
      upsample: allow a finer mpp than was scanned.
      quality: of the JPEG, 4:4:4.
      thumbnail: most pixels a side of the picture of the whole slide.
    """

    size: int = 224
    mpp: float | None = None
    tissue: str = "otsu"
    min_foreground: float = 0.5
    max_tiles: int | None = 100
    seed: int = 0
    max_bad: float = 0.1
    default_mpp: float | None = None
    upsample: bool = False
    quality: int = 95
    thumbnail: int = overview.SIDE

    def __post_init__(self):
        def within(name: str, low: float, high: float) -> None:
            if not low <= getattr(self, name) <= high:
                what = f"{getattr(self, name)} is not within {low:g} .. {high:g}"
                option = "tile_size" if name == "size" else name  # as a build calls it
                raise refusal(f"--config, {option}", "bad-option", what)

        if self.tissue not in tissue.RULES:
            what = f"{self.tissue!r} is none of {', '.join(tissue.RULES)}"
            raise refusal("--config, tissue", "bad-option", what)
        within("size", 8, 4096)
        within("min_foreground", 0, 1)
        within("seed", 0, 2**63)
        within("max_bad", 0, 1)
        within("quality", 1, 100)
        within("thumbnail", 8, 8192)
        for name, low, high in (("max_tiles", 1, 10**6), ("mpp", *MPP), ("default_mpp", *MPP)):
            if getattr(self, name) is not None:
                within(name, low, high)


def options_digest(rule: TileRule, mpp: float | None = None, regions: str | None = None) -> str:
    """16 hex digits that differ whenever the same slide might give other tiles; `regions` is the
    sha256 of the file of those that were drawn on it."""
    options = {**dataclasses.asdict(rule), "given_mpp": mpp, "version": VERSION}
    if regions is not None:
        options["regions"] = regions
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
