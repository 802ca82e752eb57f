"""`clusters.html`: what the clusters are, from the largest to the smallest."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histo_jax import files, pages
from histo_jax.features import elbow, sampling, sheets
from histo_jax.features.cluster_slides import FOLDER, SAMPLES, Laid, Samples
from histo_jax.features.kmeans import Clusters
from histo_jax.features.table import Table

PAGE = "clusters.html"
A_PAGE = 300  # clusters
MOST_SLIDES = 200  # with a picture
ACROSS, DOWN = 5, 8  # boxes of a sheet
NAMED = 3  # slides of each cluster
ONE_SLIDE = 0.9


@dataclasses.dataclass(frozen=True)
class Shown:
    """A cluster on the page: its number, tiles, their share of all, and where they are from.

    `slides` names those with most of its tiles, with their shares in percent.
    """

    number: int
    tiles: int
    share: float
    pictures: list[str]
    slides: list[tuple[str, float]]
    in_slides: int


def write(
    out: Path,
    table: Table,
    found: Clusters,
    curve: elbow.Elbow | None,
    laid: list[Laid],
    seed: int,
    l2: bool,
) -> Path:
    """Writes the page, and further ones where there are many clusters; the sheets beside it."""
    order = [int(n) for n in np.argsort(-found.sizes, kind="stable") if found.sizes[n]]
    counts = _by_slide(table, found)
    largest = counts.max(0)[order] / found.sizes[order]
    samples, names = Samples(table, found), [slide.facts.slide for slide in table.slides]
    drawn = _sheets(out, table, found, order, seed)
    parts = [order[i : i + A_PAGE] for i in range(0, len(order), A_PAGE)]
    paths = [out / (PAGE if not i else f"clusters-{i + 1}.html") for i in range(len(parts))]
    for i, (path, part) in enumerate(zip(paths, parts, strict=True)):
        pictures = samples.of(part)
        pages.write(
            path,
            "clusters.html",
            contents=_contents(i, curve, drawn),
            table=table,
            found=found,
            slides=counted(len(table.slides)),
            filled=len(order),
            lone=int((largest >= ONE_SLIDE).sum()) if len(table.slides) > 1 else None,
            l2=l2,
            seed=seed,
            curve=curve,
            elbow=elbow.draw(curve) if curve and not i else "",
            sheets=drawn,
            clusters=[_shown(n, table.n, counts[:, n], names, pictures[n]) for n in part],
            page=i,
            pages=[path.name for path in paths],
            laid=laid[:MOST_SLIDES],
            more_laid=max(0, len(laid) - MOST_SLIDES),
            folder=FOLDER,
            negatives=(out / "negatives.csv").exists(),
        )
    return paths[0]


def counted(slides: int) -> str:
    """`69 slides`."""
    return "1 slide" if slides == 1 else f"{slides:,} slides"


def _contents(page: int, curve: elbow.Elbow | None, drawn: dict) -> list[tuple[str, str]]:
    if page:
        return [("clusters", "Clusters")]
    found = [("summary", "Summary")]
    found += [("elbow", "How many")] if curve else []
    found += [("sheets", "Random or by cluster")] if drawn else []
    return [*found, ("slides", "Slides"), ("lists", "Lists"), ("clusters", "Clusters")]


def _by_slide(table: Table, found: Clusters) -> np.ndarray:
    """int64 [slides, k]: tiles of each cluster in each slide."""
    pairs = zip(table.starts[:-1], table.starts[1:], strict=True)
    return np.stack([np.bincount(found.labels[a:b], minlength=found.k) for a, b in pairs])


def _shown(number: int, n: int, counts: np.ndarray, names: list[str], pictures: list[str]) -> Shown:
    tiles = int(counts.sum())
    most = np.argsort(-counts, kind="stable")[:NAMED]
    slides = [(names[i], 100 * counts[i] / tiles) for i in most if counts[i]]
    return Shown(number, tiles, 100 * tiles / n, pictures, slides, int((counts > 0).sum()))


def _sheets(
    out: Path, table: Table, found: Clusters, order: list[int], seed: int
) -> dict[str, dict[str, Any]]:
    """Fig. 5 of the paper: tiles at random, of clusters in turn, and clusters in boxes."""
    rng = np.random.default_rng(seed)
    picked = np.sort(rng.permutation(order)[: ACROSS * DOWN])
    near = sampling.nearest(found, SAMPLES, picked)
    count = min(SAMPLES * ACROSS * DOWN, -(-table.n // 3))  # of few tiles not all: a choice
    jpegs = sheets.pictures(table, near)
    if not any(jpegs):
        return {}
    boxes = [
        [jpeg for jpeg, row in zip(jpegs, near, strict=True) if found.labels[row] == number]
        for number in picked
    ]
    columns = SAMPLES * ACROSS
    drawn = {
        "random": np.sort(rng.permutation(table.n)[:count]),
        "balanced": sampling.balanced(found, count, seed),
    }
    made = {
        name: sheets.plain(sheets.pictures(table, rows), min(columns, len(rows)))
        for name, rows in drawn.items()
    }
    made["clusters"] = sheets.boxed(boxes, min(ACROSS, len(boxes)))
    for name, sheet in made.items():
        _png(out / f"{name}.png", sheet)
    kinds = {name: len(np.unique(found.labels[rows])) for name, rows in drawn.items()}
    kinds["clusters"] = len(picked)
    return {
        name: {"uri": pages.jpeg(np.asarray(sheet)), "kinds": kinds[name], "tiles": count}
        for name, sheet in made.items()
    }


def _png(path: Path, sheet: Image.Image) -> None:
    with files.atomic(path) as file:
        sheet.save(file, "PNG")
