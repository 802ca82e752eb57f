"""The protocols on frozen features, the same for everyone: a linear layer, nearest neighbours."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from histo_jax.evaluation import knn, linear, metrics
from histo_jax.evaluation.labelled import Labelled, Plan

RAW = ("ssl", "random")  # probed without standardisation too, as the paper has it


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a protocol said about the test part.

    Attributes:
      protocol: its name in the report.
      shares: float [n_test, classes], sum 1; for regression [n_test, 1] targets.
      head: the linear layer, None for nearest neighbours.
    """

    protocol: str
    shares: np.ndarray
    head: linear.Head | None = None


def run(init: str, x: np.ndarray, plan: Plan, found: Labelled, decay: float) -> Iterator[Outcome]:
    """Runs every protocol on features float32 [n, width] of all labelled rows.

    Everything is standardised by the training part and the layer starts from the constant answer;
    `*_raw` is the paper's reading: raw features, torch's random start. The test part is predicted
    once, after all choices.
    """
    train, validation, test = (plan.rows(part) for part in ("train", "validation", "test"))
    name = "linear" if found.classes else "regression"
    classes = len(found.classes) if found.classes else None
    even = linear.standardise(x[train], x[validation], x[test])
    raw = (x[train], x[validation], x[test])
    for protocol, (a, b, c) in ((name, even), (f"{name}_raw", raw)):
        if protocol == name or init in RAW:
            head = linear.fit(
                a, found.truth[train], b, found.truth[validation],
                classes=classes, decay=decay, seed=plan.seed, zero=protocol == name,
            )  # fmt: skip
            out = linear.outputs(head, c)
            yield Outcome(protocol, _softmax(out) if classes else 100 * out, head)
    near, at = knn.neighbours(even[0], even[2], max(knn.NEIGHBOURS))
    said = found.truth[train][at]
    for k in knn.NEIGHBOURS:
        if classes:
            shares = knn.vote(near[:, :k], said[:, :k], classes)
        else:
            shares = knn.average(near[:, :k], said[:, :k])[:, None]
        yield Outcome(f"knn{k}", shares)


def score(outcome: Outcome, plan: Plan, found: Labelled) -> tuple[list[dict], list[dict]]:
    """The `metric, value, ci, n, n_groups` of each score, and the rows of each class."""
    test = plan.rows("test")
    truth, groups = found.truth[test], found.groups[test]
    if found.classes:
        predicted = outcome.shares.argmax(1)
        values = metrics.classification(truth, predicted, groups, len(found.classes), plan.seed)
        rows = metrics.per_class(truth, predicted, outcome.shares)
        classes = [{"class": c, **r} for c, r in zip(found.classes, rows, strict=True)]
    else:
        values = metrics.regression(truth, outcome.shares[:, 0], groups, plan.seed)
        classes = []
    counts = {"n": len(test), "n_groups": len(np.unique(groups))}
    scores = [{"metric": m, "value": v, "ci": ci, **counts} for m, (v, ci) in values.items()]
    return scores, classes


def confusion(cell: dict, outcome: Outcome, plan: Plan, found: Labelled) -> list[dict]:
    """`cell` with `counts`, test images by truth (rows) and answer; nothing for regression."""
    if not found.classes:
        return []
    truth = found.truth[plan.rows("test")]
    counts = metrics.confusion(truth, outcome.shares.argmax(1), len(found.classes))
    return [cell | {"counts": counts.tolist()}]


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64))
    return powers / powers.sum(1, keepdims=True)
