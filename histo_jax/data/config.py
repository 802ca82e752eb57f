"""Options of the builders: what stands in `--config '{…}'`."""

import dataclasses
import difflib
import re
import typing
from typing import Any

import tensorflow_datasets as tfds

from histo_jax.errors import HistoError

_THEIRS = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
# Options that change how a set is made, not what it holds.
OPERATIONAL = {*_THEIRS, "workers", "timeout_s", "memory_bytes", "max_quarantine"}


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """Options of every builder of a folder.

    Attributes:
      name: of the set, chosen by the user.
      pseudonymise: replace names of slides, patients and files by keyed hashes.
      max_quarantine: most files that may be refused; None: the larger of 10 % and 5.
    """

    pseudonymise: bool = False
    max_quarantine: int | None = None

    def __new__(cls, *args: Any, **fields: Any):
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                ours = ", ".join(k for k in known if k == "name" or k not in _THEIRS)
                remedy = f"did you mean {near[0]}?" if near else f"known: {ours}"
                raise HistoError(f"--config, {name}", "config", "no such option", remedy)
        if not args and "name" not in fields:
            remedy = """e.g. --config '{"name": "mylab"}'"""
            raise HistoError("--config, name", "config", "is missing", remedy)
        return super().__new__(cls)

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            what = f"{self.name!r} is no name of a folder"
            raise HistoError("--config, name", "config", what, "use letters, digits, _ . -")
        for field in dataclasses.fields(self):
            if field.name in _THEIRS:
                continue
            value, types = getattr(self, field.name), typing.get_args(field.type) or (field.type,)
            if type(value) is int and float in types:
                value = float(value)  # JSON's 1 and 1.0 are one option
                setattr(self, field.name, value)
            if type(value) not in types:
                wanted = " or ".join("null" if t is type(None) else t.__name__ for t in types)
                raise HistoError(f"--config, {field.name}", "config", f"{value!r} is no {wanted}")
        if self.max_quarantine is not None and self.max_quarantine < 0:
            raise HistoError("--config, max_quarantine", "config", "is negative")


@dataclasses.dataclass(eq=False, kw_only=True)
class SlideConfig(FolderConfig):
    """Options of histo_wsi; those not explained here are `slides.rule.TileRule`'s.

    Attributes:
      mpp: wanted µm per pixel; None takes level 0 as it is.
      tile_size: side of a stored tile in pixels.
      quality: of the JPEG, 4:4:4.
      default_mpp: µm per level-0 pixel of slides that don't say; slides.csv knows them one by one.
      workers: processes; None: one a core.
      timeout_s, memory_bytes: most seconds for a slide, most address space of a worker.
    """

    mpp: float | None = None
    tissue: str = "otsu"
    min_foreground: float = 0.5
    max_tiles: int = 100
    seed: int = 0
    tile_size: int = 224
    quality: int = 95
    max_bad: float = 0.1
    default_mpp: float | None = None
    upsample: bool = False
    workers: int | None = None
    timeout_s: float = 600.0
    memory_bytes: int = 4 * 2**30

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("workers", 1), ("timeout_s", 1), ("memory_bytes", 2**28)):
            value = getattr(self, name)
            if value is not None and value < least:
                what = f"{value} is below {least}"
                raise HistoError(f"--config, {name}", "config", what)


@dataclasses.dataclass(eq=False, kw_only=True)
class ImageConfig(FolderConfig):
    """Options of histo_patches.

    Attributes:
      tile: side in pixels of the squares each image is cut into; None keeps it whole.
      mpp: µm per pixel of all images; None: unknown.
      ids: regular expression whose groups `slide` and `patient` are found in each file's name,
        e.g. '(?P<slide>CRC-Prim-HE-[0-9]+)'; None: names say nothing.
    """

    tile: int | None = None
    mpp: float | None = None
    ids: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.tile is not None and self.tile < 8:
            raise HistoError("--config, tile", "config", f"{self.tile} is below 8 pixels")
        if self.mpp is not None and not 0.05 <= self.mpp <= 10:
            what = f"{self.mpp:g} µm is not within 0.05 .. 10"
            raise HistoError("--config, mpp", "config", what)
        if self.ids is not None:
            _check_ids(self.ids)


def _check_ids(pattern: str) -> None:
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        what = f"{pattern!r} is no regular expression: {error}"
        raise HistoError("--config, ids", "config", what) from error
    if not groups or not groups <= {"slide", "patient"}:
        what = f"{pattern!r} has the groups {', '.join(sorted(groups)) or 'none'}"
        raise HistoError("--config, ids", "config", what, "name them (?P<slide>…), (?P<patient>…)")


@dataclasses.dataclass(eq=False, kw_only=True)
class LabelledConfig(ImageConfig):
    """Options of histo_labelled.

    Attributes:
      instance_masks: masks number objects, not classes: 1 wherever they are not 0.
    """

    instance_masks: bool = False
