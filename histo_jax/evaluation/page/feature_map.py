"""A map of the features in two dimensions, and whether it is stain they tell apart."""

import dataclasses

import numpy as np

from histo_jax.evaluation.linear import standardise

MOST = 1500  # images of the map
NEAREST = 10
COMPONENTS = 30  # principal components given to t-SNE
PERPLEXITY = 30
ITERATIONS = 500
HARDLY = 0.05  # above chance, of what is possible: not worth a word


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Features laid out in two dimensions.

    Attributes:
      at: int64 [m], which of the images.
      places: float [m, 2].
    """

    at: np.ndarray
    places: np.ndarray


def lay_out(x: np.ndarray, seed: int) -> Map:
    """t-SNE of up to `MOST` images, drawn by seed, from features float32 [n, width]."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    at = np.sort(rng.permutation(len(x))[:MOST])
    (even,) = standardise(x[at])
    few = min(COMPONENTS, *even.shape)
    # One thread: more wait for each other longer than they work, worst on a busy machine.
    with threadpool_limits(1):
        # Noise, as t-SNE crashes on images in one point: a collapsed encoder has nothing else.
        even += 1e-4 * rng.standard_normal(even.shape, np.float32)
        main = PCA(few, random_state=seed).fit_transform(even)
        start = np.pad(main, ((0, 0), (0, 2)))[:, :2]  # there may be one component only
        start = start / start[:, 0].std() * 1e-4
        perplexity = min(PERPLEXITY, (len(at) - 1) / 3)
        tsne = TSNE(
            perplexity=perplexity, init=start.astype(np.float32), max_iter=ITERATIONS,
            random_state=seed,
        )  # fmt: skip
        places = tsne.fit_transform(main.astype(np.float32))
    return Map(at, places)


def same_share(x: np.ndarray, kind: np.ndarray, candidates: np.ndarray) -> dict | None:
    """How often an image's nearest candidates are of its own kind, and how often chance has it.

    Args:
      x: float32 [n, width], compared by cosine after standardising.
      kind: [n].
      candidates: bool [n, n], who may be a neighbour of the row's image.

    Returns:
      `share` of the `NEAREST`, or of as many as could match, and `chance`, both in 0..1: means
      over the images that something could match; None where nothing else could be near.
    """
    candidates = candidates & ~np.eye(len(x), dtype=bool)
    same = (kind[:, None] == kind) & candidates
    asked = same.any(1)
    matches = same.sum(1)[asked, None]
    chance = (matches[:, 0] / candidates.sum(1)[asked]).mean() if asked.any() else 1.0
    if chance == 1:
        return None
    (even,) = standardise(x)
    even /= np.maximum(np.linalg.norm(even, axis=1, keepdims=True), 1e-12)
    cosine = np.where(candidates, even @ even.T, -np.inf)[asked]
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEAREST]
    valid = np.arange(nearest.shape[1]) < matches  # as many as could be right
    hits = np.take_along_axis(same[asked], nearest, 1) & valid
    return {"share": float((hits.sum(1) / valid.sum(1)).mean()), "chance": float(chance)}


def stain_or_class(x: np.ndarray, truth: np.ndarray, names: np.ndarray) -> dict:
    """Two questions that don't answer each other, of images with a known patient (or slide).

    `kind`: are the nearest images of *other* patients of the same class? `patient`: are the nearest
    images of the *same* class of the same patient? Each is a `same_share`, absent where it can't
    be asked.
    """
    known = names != ""
    x, truth, names = x[known], truth[known], names[known]
    same_patient, same_kind = names[:, None] == names, truth[:, None] == truth
    found = {
        "kind": same_share(x, truth, ~same_patient) if len(x) > 1 else None,
        "patient": same_share(x, names, same_kind) if len(x) > 1 else None,
    }
    return {name: value for name, value in found.items() if value}


def said(own: dict, colour: dict, unit: str, kind: str) -> str:
    """The numbers of `stain_or_class` in words, held against those of colour alone.

    `unit` is `patients` or what else groups are, `kind` is `class` or what stands for it.
    """
    text = []
    if "kind" in own:
        if _excess(own["kind"]) < HARDLY:
            text.append(f"Across {unit} the features hardly find the same {kind}.")
        else:
            text.append(f"Across {unit} the features find the same {kind} more often than chance.")
    if "patient" in own:
        found, by_colour = _excess(own["patient"]), _excess(colour["patient"])
        if found < HARDLY:
            text.append(f"Within a {kind} they hardly tell {unit} apart: little sign of stain.")
        else:
            less = found < by_colour - HARDLY
            more = found > by_colour + HARDLY
            how = "less than" if less else "more than" if more else "about as much as"
            text.append(
                f"Within a {kind} they tell {unit} apart, {how} colour alone does: stain, scanner "
                "or what else these have of their own is part of what it learned."
            )
    return " ".join(text)


def _excess(found: dict) -> float:
    """0 at chance, 1 where every neighbour is of the kind."""
    return (found["share"] - found["chance"]) / (1 - found["chance"])
