"""Figs. 5 and 6: clusters of the features of whole slides, by `python -m histo_jax.features`."""

from collections.abc import Iterator
from pathlib import Path

from histo_jax.paper import cells, plan
from histo_jax.paper.cells import Setup, Source
from histo_jax.paper.found import DONE, Found
from histo_jax.paper.plan import Job

FIGURES = {
    "Fig. 5": "Tiles of the slides at random, and the three nearest the centres of some clusters.",
    "Fig. 6": "The largest clusters laid over the slides.",
}
SHOWN = 4  # slides of Fig. 6
SHEETS = {"random.png": "At random", "clusters.png": "By cluster, a box of three each"}


def encoder(setup: Setup) -> Source:
    """ResNet-18 after 1 % of the pool, as in the paper."""
    return cells.rows("Table 1", setup)["ResNet-18 / self-supervised"][0]


def jobs(setup: Setup, found: Found) -> list[Job]:
    """Features, then clusters; none without slides."""
    if setup.slides is None:
        return []
    source, place = encoder(setup), _place(setup)
    run = found.runs.get(source.id) or plan.training(source, setup).place / "run"
    out, facts = place / "features", {"encoder": source.id, "slides": str(setup.slides)}
    extract = ["extract", "--slides", setup.slides.absolute(), "--checkpoint", run, "--out", out]
    cluster = ["cluster", out, "--out", place / "clusters", "--k", setup.clusters]
    cluster += ["--elbow", setup.elbow]
    program = ["-m", "histo_jax.features"]
    asked = {"clusters": setup.clusters, "elbow": setup.elbow}
    return [
        Job(place / "extracting", facts, [*program, *extract], place / "extracting" / DONE,
            "features of the slides"),
        Job(place / "clustering", facts | asked, [*program, *cluster],
            place / "clustering" / DONE, f"{setup.clusters:,} clusters of them"),
    ]  # fmt: skip


def pictures(name: str, setup: Setup) -> Iterator[tuple[str, Path]]:
    """What is drawn of a figure, with its caption."""
    if setup.slides is None:
        return
    out = _place(setup) / "clusters"
    if name == "Fig. 5":
        found = [(words, out / file) for file, words in SHEETS.items()]
    else:
        found = [(path.stem, path) for path in sorted(out.glob("slides/*.png"))[:SHOWN]]
    yield from ((words, path) for words, path in found if path.exists())


def _place(setup: Setup) -> Path:
    name = cells.digest([encoder(setup).id, str(setup.slides), setup.clusters, setup.elbow])
    return setup.folder.absolute() / "clusters" / name
