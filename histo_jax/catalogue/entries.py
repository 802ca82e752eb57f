"""What is known of a dataset: the fields of datasets.yaml."""

import dataclasses
from collections.abc import Mapping

CHOICES = {
    "kind": ("patch", "slides", "labelled", "outlined"),
    "access": ("open", "api", "form", "registration"),
    "unit": ("patient", "slide", "image"),
    "confidence": ("high", "medium", "low"),
    "alpha": ("white", "drop"),
    "depth": ("refuse", "scale"),
    "tissue": ("", "ciga2021", "otsu", "none"),
}
GROUPS = ("slide", "patient", "label", "split")  # that `names` may find


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV file that says more about images.

    Attributes:
      file: pattern of its path.
      image: end of the path of the image that a row is about; {column} stands for a cell.
      patient: column of the patient; empty: none.
      target: columns of the target: their mean, of all rows about the image.
      scale: what targets are multiplied by.
    """

    file: str
    image: str
    patient: str = ""
    target: tuple[str, ...] = ()
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Masks:
    """Masks beside their images: 1 where the gray value is above `above`, else 0.

    Attributes:
      file: name of the mask, {stem} stands for that of the image.
      above: of 255.
      unmasked: patterns of images whose mask is 0 all over.
    """

    file: str
    above: int
    unmasked: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experts:
    """Several maps an image, from which its class is read: see `experts.py`.

    Attributes:
      file: pattern of the maps' paths, {stem} stands for the image's.
      values: class by value of a pixel.
      same: values that stand for another one.
      nothing: the value of pixels nobody says anything about.
    """

    file: str
    values: Mapping[int, str]
    same: Mapping[int, int] = dataclasses.field(default_factory=dict)
    nothing: int = 0


@dataclasses.dataclass(frozen=True)
class Outlines:
    """Regions outlined on slides, in XML beside them: see `outlines.py`.

    Attributes:
      file: name of the XML, {stem} stands for that of the slide.
      values: value of a region by a word in its label, the first that is found; none: 0.
    """

    file: str
    values: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What lies where below the folder. Patterns: see `layout.pattern`.

    Attributes:
      images: patterns of images or slides.
      example: a path that is one.
      variants: other patterns by name, for parts of a set.
      leave_out: patterns of what is none, whatever `images` says.
      names: regular expression searched in paths, with groups of `GROUPS`.
      upper_case: slides and patients are made upper case.
      labels: class by what `names` finds; empty: as found.
      splits: train, validation or test by what `names` finds.
      tables, masks, experts, outlines: see there.
      alpha: transparent pixels go on white, or alpha is dropped.
      depth: above 8 bits a channel refused, or scaled from the 1st to the 99th percentile.
    """

    images: tuple[str, ...]
    example: str
    variants: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    names: str = ""
    upper_case: bool = False
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    masks: Masks | None = None
    experts: Experts | None = None
    outlines: Outlines | None = None
    alpha: str = "white"
    depth: str = "refuse"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One dataset; empty text and None are unknown.

    Attributes:
      id: its name here and as a config of its builder; `name` is the paper's.
      kind: patch, slides, labelled, or outlined: slides with outlined regions.
      organ, stain, magnification: as the paper says, or as is known better.
      mpp: µm per pixel of all images.
      paper, release: how many images or slides the paper and the public release have.
      licence, access, homepage, doi, citation: of the data.
      get: how to get them, step by step; `files`: what these are called.
      digests: of those files, `sha256:…` or `md5:…`, one of which they must have; `doubted`: the
        same where sources disagree or nobody checks.
      unit: what no split should tear apart, as far as names tell.
      tissue: rule by which slides are cut.
      layout: what lies where.
      quirks: what differs from what one would expect.
      confidence: how sure the layout is.
      project: TCGA's or CPTAC's name of it.
      holds: labelled sets whose images are in it, or were cut from its slides.
      twins: whether official splits are known to share images.
      pool: whether the paper pretrains on it.
    """

    id: str
    name: str
    kind: str
    organ: str
    stain: str
    magnification: str
    paper: int
    access: str
    homepage: str
    citation: str
    get: tuple[str, ...]
    unit: str
    layout: Layout
    confidence: str
    files: tuple[str, ...] = ()
    digests: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    doubted: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    quirks: tuple[str, ...] = ()
    mpp: float | None = None
    release: int | None = None
    licence: str = ""
    doi: str = ""
    tissue: str = ""
    project: str = ""
    holds: tuple[str, ...] = ()
    twins: bool = False
    pool: bool = True

    @property
    def builder(self) -> str:
        """The builder that makes it: its own, or that of all sets of its kind."""
        return {"patch": "histo_patches", "slides": "histo_wsi"}.get(self.kind, self.id)

    @property
    def command(self) -> str:
        """What builds the whole of it, but for its folder."""
        config = "" if self.validates else f" --config {self.id}"
        return f"tfds build tfds_builders/{self.builder}{config} --manual_dir"

    @property
    def validates(self) -> bool:
        """Whether it is scored: the paper's validation sets."""
        return self.kind in ("labelled", "outlined")
