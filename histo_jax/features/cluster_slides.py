"""Clusters over each slide: a picture, a page to pan and zoom in, and GeoJSON."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histo_jax import files, pages
from histo_jax.features import overlay, qupath, sampling, sheets
from histo_jax.features.kmeans import Clusters
from histo_jax.features.store import SlideFeatures
from histo_jax.features.table import Table
from histo_jax.training.progress import live

FOLDER = "slides"
LISTED = 40  # clusters of a slide that its page names from the start
SAMPLES = 3
_THUMBNAIL = 260  # pixels


@dataclasses.dataclass(frozen=True)
class Laid:
    """What was written of one slide.

    Attributes:
      name: the slide's.
      stem: its files' in `FOLDER`.
      tiles, shown: how many it has, and how many of them are coloured.
      thumbnail: data URI of the overlay; empty where the features hold no picture of the slide.
    """

    name: str
    stem: str
    tiles: int
    shown: int
    thumbnail: str


def write(out: Path, table: Table, found: Clusters, shown: list[int]) -> list[Laid]:
    """Writes `slides/<name>.geojson`, and where there is a picture of the slide .png and .html.

    Sets of patches, which lie nowhere, are left out.
    """
    samples = Samples(table, found)
    colours = {number: overlay.colour(place) for place, number in enumerate(shown)}
    laid: list[Laid] = []
    bar = tqdm(enumerate(table.slides), total=len(table.slides), unit=" slides", leave=False,
               desc="Laying over", disable=not live())  # fmt: skip
    for i, slide in bar:
        if slide.facts.patch_size_level0:
            labels = found.labels[table.starts[i] : table.starts[i + 1]]
            stem = _unused(slide.path.stem, {one.stem for one in laid})
            again = SlideFeatures(slide.path)  # whose keys are forgotten with it
            laid.append(_one(out / FOLDER, stem, again, labels, colours, samples))
    return laid


class Samples:
    """JPEGs of the tiles nearest a cluster's centre, as data URIs, read when first asked for."""

    def __init__(self, table: Table, found: Clusters):
        self._table, self._known = table, {}
        rows = sampling.nearest(found, SAMPLES)
        self._rows = {label: rows[found.labels[rows] == label] for label in _present(found.labels)}

    def of(self, numbers: list[int]) -> dict[int, list[str]]:
        """Of each of these clusters, as many as there are."""
        new = [number for number in numbers if number not in self._known]
        rows = [self._rows.get(number, np.zeros(0, np.int64)) for number in new]
        jpegs = iter(sheets.pictures(self._table, np.concatenate([*rows, np.zeros(0, np.int64)])))
        for number, its in zip(new, rows, strict=True):
            taken = [next(jpegs) for _ in its]
            self._known[number] = [pages.data_uri(jpeg, "image/jpeg") for jpeg in taken if jpeg]
        return {number: self._known[number] for number in numbers}


def _one(
    folder: Path,
    stem: str,
    slide: SlideFeatures,
    labels: np.ndarray,
    colours: dict[int, tuple[int, int, int]],
    samples: Samples,
) -> Laid:
    facts, sizes = slide.facts, _present(labels)
    made = qupath.collection(slide.coords, labels, facts.patch_size_level0, colours)
    files.write_text(folder / f"{stem}.geojson", json.dumps(made))
    shown = sum(sizes.get(number, 0) for number in colours)
    overview, thumbnail = slide.overview(), ""
    if overview is not None and facts.overview_width:
        at = overlay.boxes(slide.coords, facts, overview.size)
        here = {number: tint for number, tint in colours.items() if number in sizes}
        painted = overlay.paint(np.asarray(overview), at, labels, here)
        with files.atomic(folder / f"{stem}.png") as file:
            overlay.with_legend(painted, here, sizes).save(file, "PNG")
        thumbnail = pages.jpeg(painted, side=_THUMBNAIL)
        _page(folder / f"{stem}.html", slide, np.asarray(overview), labels, colours, samples)
    return Laid(facts.slide, stem, slide.n, shown, thumbnail)


def _page(
    path: Path,
    slide: SlideFeatures,
    overview: np.ndarray,
    labels: np.ndarray,
    colours: dict[int, tuple[int, int, int]],
    samples: Samples,
) -> None:
    facts, sizes = slide.facts, _present(labels)
    shown = [number for number in colours if number in sizes]
    others = sorted((n for n in sizes if n not in colours), key=lambda number: -sizes[number])
    listed = [*shown, *others[: max(0, LISTED - len(shown))]]
    tints = colours | {n: overlay.colour(len(colours) + i) for i, n in enumerate(others)}
    data = {
        "side": facts.patch_size_level0,
        "x": slide.coords[:, 0].tolist(),
        "y": slide.coords[:, 1].tolist(),
        "clusters": labels.tolist(),
        "keys": slide.keys.tolist(),
        "alpha": overlay.ALPHA,
    }
    pages.write(
        path,
        "cluster_slide.html",
        name=facts.slide,
        contents=[],
        view=(facts.overview_x, facts.overview_y, facts.overview_width, facts.overview_height),
        picture=pages.jpeg(overview, 85),
        data=data,
        legend=[
            {
                "number": number,
                "colour": "#{:02x}{:02x}{:02x}".format(*tints[number]),
                "on": number in colours,
                "tiles": sizes[number],
                "pictures": pictures,
            }
            for number, pictures in samples.of(listed).items()
        ],
        clusters=len(sizes),
        tiles=slide.n,
        png=f"{path.stem}.png",
    )


def _present(labels: np.ndarray) -> dict[int, int]:
    numbers, counts = np.unique(labels, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _unused(stem: str, taken: set[str]) -> str:
    """The name, or with the first number that makes it new: files of two folders may share one."""
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
