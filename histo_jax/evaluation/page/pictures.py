"""The parts of the report that show images and the map of their features."""

import itertools

import numpy as np

from histo_jax import pages
from histo_jax.evaluation import floors, segment
from histo_jax.evaluation.labelled import Plan
from histo_jax.evaluation.page import (
    feature_map,
    figures,
    neighbours,
    story,
    svg,
    tasks,
    views,
)
from histo_jax.evaluation.results import Evaluation

SIDE = 128  # pixels of a picture in the page
COLOURED = 8  # patients of the map with a colour of their own


def similar(seen: Evaluation, plan: Plan) -> dict:
    """Some test images and the training images most like them."""
    found, labelled = neighbours.find(seen.features, plan, seen.found), seen.found
    at = np.concatenate([found.queries, found.nearest.ravel()])
    images = dict(zip(at.tolist(), np.concatenate(list(seen.read(at))), strict=True))

    def tile(i: int) -> dict:
        truth = labelled.truth[i]
        said = labelled.classes[truth] if labelled.classes else f"{truth:.3g} %"
        return {"image": pages.jpeg(images[i], side=SIDE), "label": said,
                "name": str(labelled.names[i]), "truth": truth}  # fmt: skip

    rows = [
        (tile(query), [tile(i) for i in near])
        for query, near in zip(found.queries.tolist(), found.nearest.tolist(), strict=True)
    ]
    chance = _agree_by_chance(seen, plan) if labelled.classes else None
    return {"rows": rows, "classes": labelled.classes, "agree": found.agree, "chance": chance,
            "split": plan.split_by, "k": found.nearest.shape[1]}  # fmt: skip


def _agree_by_chance(seen: Evaluation, plan: Plan) -> float:
    """How often a training image drawn at random is of a test image's class."""
    classes = len(seen.found.classes)
    shares = [
        np.bincount(seen.found.truth[plan.rows(part)], minlength=classes) / len(plan.rows(part))
        for part in ("train", "test")
    ]
    return float(shares[0] @ shares[1])


def maps(seen: Evaluation, seed: int) -> dict:
    """The map of the features twice, and the two numbers under it."""
    laid, found = feature_map.lay_out(seen.features, seed), seen.found
    names = found.names[laid.at]
    kind, kinds = found.truth[laid.at], found.classes
    if kinds is None:
        kind, kinds = _bands(kind)
    who, shown = _largest(names)
    pixels = np.concatenate([floors.colour_histogram(b) for b in seen.read(laid.at)])
    own, colour = (
        feature_map.stain_or_class(x, kind, names) for x in (seen.features[laid.at], pixels)
    )
    band = "class" if found.classes else "quarter of targets"
    shown_twice = [("class" if found.classes else "target", kind, kinds)]
    shown_twice += [(found.unit.removesuffix("s"), who, shown)] if shown else []
    return {
        "maps": [
            (title, figures.feature_map(f"map{i}", laid.places, colours, len(legend)),
             _legend(colours, legend))
            for i, (title, colours, legend) in enumerate(shown_twice)
        ],
        "n": len(laid.at), "of": len(found.rows), "seed": seed, "unit": found.unit,
        "k": feature_map.NEAREST, "named": len(names) - int((names == "").sum()),
        "own": own, "colour": colour, "said": feature_map.said(own, colour, found.unit, band),
    }  # fmt: skip


def _bands(target: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Quarters of the targets and their ranges."""
    edges = np.unique(np.quantile(target, (0.25, 0.5, 0.75)))
    band = np.searchsorted(edges, target, side="right")
    ends = [target.min(), *edges, target.max()]
    return band, [f"{a:.3g} to {b:.3g} %" for a, b in itertools.pairwise(ends)]


def _largest(names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Colours [n] of the patients with most images, -1 for others; their names."""
    known, counts = np.unique(names[names != ""], return_counts=True)
    shown = np.sort(known[np.argsort(-counts, kind="stable")[:COLOURED]]).tolist()
    number = {name: i for i, name in enumerate(shown)}
    return np.array([number.get(name, -1) for name in names.tolist()]), shown


def _legend(colours: np.ndarray, names: list[str]) -> list[dict]:
    entries = [
        {"sign": svg.SIGNS[i % 4], "colour": f"var(--c{i % 8})", "name": name,
         "n": int((colours == i).sum())}
        for i, name in enumerate(names)
    ]  # fmt: skip
    rest = int((colours < 0).sum())
    grey = {"sign": "●", "colour": "var(--soft)", "name": "others", "n": rest}
    return entries + ([grey] if rest else [])


def masks(seen: Evaluation, plan: Plan) -> dict:
    """Outlines of mask and answer on some test images, for everybody who was asked."""
    rows = []
    for init, said in seen.segmented[plan].items():
        images = seen.originals.images(said.shown)
        triples = zip(images, seen.originals.masks(said.shown), said.predicted, strict=True)
        drawn = [pages.jpeg(segment.overlay(*triple), quality=85) for triple in triples]
        rows.append((story.capital(story.name(init)), drawn))
    return {"split": plan.split_by, "seed": plan.seed, "rows": rows}


def view_pairs(seen: Evaluation) -> dict | None:
    """Images, what was made of each, and what that is."""
    made = views.pairs(seen.loaded.card, seen.sets, seen.prepared, seen.found.rows)
    if made is None:
        return None
    shown = [[pages.jpeg(image, side=SIDE) for image in row] for row in made["images"]]
    config = seen.loaded.card["config"]
    return made | {"images": shown, "augment": config["augment"], "told": tasks.of(config).shown}
