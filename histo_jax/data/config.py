"""Options of the builders: what stands in `--config '{…}'`."""

import dataclasses
import difflib
import json
import re
import typing
from typing import Any

import tensorflow_datasets as tfds

from histo_jax import catalogue as datasets
from histo_jax.errors import HistoError

FITS = ("resize", "tile", "crop")
SIDE = 224  # pixels: of a tile or crop where nobody says
# Types as a user of JSON calls them.
_JSON = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
_JSON |= {type(None): "null"}
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
      catalogue: id of the dataset that the folder holds; None: the user's own.
      variant: which part or reading of that dataset; None: the whole.
    """

    KIND: typing.ClassVar[str] = ""  # of the datasets that the builder makes
    pseudonymise: bool = False
    max_quarantine: int | None = None
    catalogue: str | None = None
    variant: str | None = None

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
                wanted = " or ".join(_JSON[t] for t in types)
                what = f"{json.dumps(value, default=repr)} should be {wanted}"
                raise HistoError(f"--config, {field.name}", "config", what)
        if self.max_quarantine is not None and self.max_quarantine < 0:
            raise HistoError("--config, max_quarantine", "config", "is negative")
        if self.catalogue is not None:
            _check_dataset(self.catalogue, self.KIND, self.variant)
        elif self.variant is not None:
            raise HistoError("--config, variant", "config", "is of no dataset", "name `catalogue`")

    @property
    def entry(self) -> datasets.Entry | None:
        """The dataset that the folder holds; None for a folder of the user's own."""
        return None if self.catalogue is None else datasets.find(self.catalogue)


def catalogued(kind: type[FolderConfig]) -> list[FolderConfig]:
    """A config for each dataset of the catalogue that one builder of this kind makes."""
    entries = datasets.load().values()
    return [kind(name=e.id, catalogue=e.id) for e in entries if e.kind == kind.KIND]


def variants(kind: type[FolderConfig]) -> list[FolderConfig]:
    """The configs of one dataset's own builder: the whole, and each of its variants."""
    whole = kind(name="default")
    return [whole, *(kind(name=name, variant=name) for name in whole.entry.layout.variants)]


def how_to_get(name: str) -> str:
    """A dataset's files, step by step."""
    entry = datasets.find(name)
    wanted = " ".join([*entry.get, *entry.files])
    return f"{entry.homepage} {wanted} python -m histo_jax.catalogue {name} says more."


def _check_dataset(name: str, kind: str, variant: str | None) -> None:
    entry = datasets.find(name)
    if entry.kind != kind:
        what = f"{name} is built by tfds_builders/{entry.builder}, not here"
        raise HistoError("--config, catalogue", "config", what)
    known = entry.layout.variants
    if variant is not None and variant not in known:
        near = difflib.get_close_matches(variant, known, 1)
        remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
        what = f"{name} has no variant {variant!r}"
        raise HistoError("--config, variant", "config", what, remedy)


@dataclasses.dataclass(eq=False, kw_only=True)
class SlideConfig(FolderConfig):
    """Options of histo_wsi; those not explained here are `slides.rule.TileRule`'s.

    Attributes:
      mpp: wanted µm per pixel; None takes level 0 as it is.
      tissue: None: the catalogue's rule, or Otsu's.
      regions: `only`: tiles inside of regions drawn on the slides, which are their labels; None:
        files of regions mean nothing.
      tile_size: side of a stored tile in pixels.
      quality: of the JPEG, 4:4:4.
      default_mpp: µm per level-0 pixel of slides that don't say; slides.csv knows them one by one.
      workers: processes; None: one a core.
      timeout_s, memory_bytes: most seconds for a slide, most address space of a worker.
    """

    KIND = "slides"
    mpp: float | None = None
    tissue: str | None = None
    regions: str | None = None
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
        if self.tissue is None:
            self.tissue = self.entry.tissue if self.entry else "otsu"
        if self.regions not in (None, "only"):
            what = f"{self.regions!r} is not 'only'"
            raise HistoError("--config, regions", "config", what, "or leave it out")
        limits = {"workers": (1, 4096), "timeout_s": (1, 10**9), "memory_bytes": (2**28, 2**62)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                what = f"{value} is not within {least:,} .. {most:,}"
                raise HistoError(f"--config, {name}", "config", what)


@dataclasses.dataclass(eq=False, kw_only=True)
class ImageConfig(FolderConfig):
    """Options of histo_patches.

    Attributes:
      fit: `resize` keeps images whole, as training resizes them; `tile` cuts squares, `crop` the
        one in the middle; None: tile where `tile` is given, else resize.
      tile: side of those squares in pixels; None: 224.
      mpp: µm per pixel of all images; None: the catalogue's, or unknown.
      ids: regular expression whose groups `slide` and `patient` are found in each file's name,
        e.g. '(?P<slide>CRC-Prim-HE-[0-9]+)'; None: names say nothing.
    """

    KIND = "patch"
    fit: str | None = None
    tile: int | None = None
    mpp: float | None = None
    ids: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.mpp is None and self.entry:
            self.mpp = self.entry.mpp
        if self.fit not in (None, *FITS):
            what = f"{self.fit!r} is none of {', '.join(FITS)}"
            raise HistoError("--config, fit", "config", what)
        if self.fit == "resize" and self.tile is not None:
            what = "'resize' keeps images whole, tile asks for parts"
            raise HistoError("--config, fit", "config", what, "leave out one of them")
        if self.tile is not None and self.tile < 8:
            raise HistoError("--config, tile", "config", f"{self.tile} is below 8 pixels")
        if self.mpp is not None and not 0.05 <= self.mpp <= 10:
            what = f"{self.mpp:g} µm is not within 0.05 .. 10"
            raise HistoError("--config, mpp", "config", what)
        if self.ids is not None and self.entry:
            what = f"the catalogue reads the names of {self.catalogue}"
            raise HistoError("--config, ids", "config", what, "leave it out")
        if self.ids is not None:
            _check_ids(self.ids)

    @property
    def cut(self) -> str:
        """What becomes of an image, one of `FITS`."""
        return self.fit or ("resize" if self.tile is None else "tile")

    @property
    def side(self) -> int:
        """Of tile or crop, in pixels."""
        return self.tile or SIDE


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

    KIND = "labelled"
    instance_masks: bool = False
