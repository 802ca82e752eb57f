"""The protocols on frozen features, the same for everyone: an explicit table, one file each."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from histo_jax.evaluation import classical, knn, linear, logistic, metrics, slide_mean, splits
from histo_jax.evaluation.labelled import Labelled, Plan

MANY = 50  # heads, from which on their speed is worth a line
PAPER_RATE = 1e-4  # of `linear_paper`: the author's earlier code; the paper names none


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What a protocol said about the test part.

    Attributes:
      protocol: its name in the report.
      shares: float [n_test, classes], sum 1; for regression [n_test, 1] targets.
      choice: what validation chose, by name; empty where there was nothing to choose.
      layer: the linear layer, to ask it about other images; None for other protocols.
      examples: int64 [n_test], the image that stands for each example, and n_train; None: each
        image of the plan's parts is one.
    """

    protocol: str
    shares: np.ndarray
    choice: dict = dataclasses.field(default_factory=dict)
    layer: Callable[[np.ndarray], np.ndarray] | None = None
    examples: tuple[np.ndarray, int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """Somebody's features, and the splits they are scored on.

    Attributes:
      x: float32 [n, width] of all labelled images.
      plans: the splits, with one or more shares of labels.
      found: the labels.
      decay: L2 weight of linear layers.
      raw: whether to fit the layer without standardisation too, as the paper has it.
    """

    x: np.ndarray
    plans: list[Plan]
    found: Labelled
    decay: float
    raw: bool

    @property
    def classes(self) -> int | None:
        return len(self.found.classes) if self.found.classes else None

    def parts(self, plan: Plan) -> list[np.ndarray]:
        """Features of training, validation and test part."""
        return [self.x[plan.rows(part)] for part in ("train", "validation", "test")]

    def truth(self, plan: Plan) -> list[np.ndarray]:
        """Classes or targets of training, validation and test part."""
        return [self.found.truth[plan.rows(part)] for part in ("train", "validation", "test")]


Answers = Iterator[tuple[Plan, Outcome]]


def layers(asked: Question) -> Answers:
    """The paper's last-layer training.

    `linear` (for targets `regression`): features standardised by the training part, the layer
    starts from the constant answer, rate chosen on validation. `*_raw`: raw features, torch's
    random start. `*_paper`: as `*_raw`, at the one rate `PAPER_RATE`.
    """
    name = "regression" if asked.classes is None else "linear"
    scaled = [_standardise(*asked.parts(plan)) for plan in asked.plans]
    every = _fit(asked, [parts for parts, _ in scaled], zero=True)
    for plan, (parts, scale), heads in zip(asked.plans, scaled, every, strict=True):
        yield plan, _answer(name, linear.best(heads), parts[2], asked.classes, scale)
    if asked.raw:
        raw = [asked.parts(plan) for plan in asked.plans]
        for plan, parts, heads in zip(asked.plans, raw, _fit(asked, raw, zero=False), strict=True):
            one = heads[linear.RATES.index(PAPER_RATE)]
            for suffix, head in (("raw", linear.best(heads)), ("paper", one)):
                yield plan, _answer(f"{name}_{suffix}", head, parts[2], asked.classes)


def _standardise(*parts: np.ndarray) -> tuple[list[np.ndarray], Callable]:
    """The parts standardised by the first, and what does the same to other features."""
    train = parts[0]
    return linear.standardise(*parts), lambda x: linear.standardise(train, x)[1]


def _fit(asked: Question, parts: list, zero: bool) -> list[list[linear.Head]]:
    """All layers at once; says on stderr how fast."""
    start, problems = time.perf_counter(), []
    for plan, (train, validation, _) in zip(asked.plans, parts, strict=True):
        truth = asked.truth(plan)
        problems.append(linear.Problem(train, truth[0], validation, truth[1], plan.seed))
    heads = linear.fit(problems, classes=asked.classes, decay=asked.decay, zero=zero)
    count, seconds = sum(map(len, heads)), time.perf_counter() - start
    if count >= MANY:
        print(f"  {count} heads, {60 * count / seconds:,.0f} a minute", file=sys.stderr)
    return heads


def _answer(
    name: str, head: linear.Head, x: np.ndarray, classes: int | None, scale: Callable | None = None
) -> Outcome:
    def say(features: np.ndarray) -> np.ndarray:
        out = linear.outputs(head, features)
        return linear.softmax(out) if classes else 100 * out

    choice = {field: getattr(head, field) for field in ("learning_rate", "epoch", "updates")}
    choice["validation"] = head.validation
    return Outcome(name, say(x), choice, scale and (lambda other: say(scale(other))))


def neighbours(asked: Question) -> Answers:
    """Nearest training images by cosine of standardised features, see `knn`."""
    for plan in asked.plans:
        train, _, test = linear.standardise(*asked.parts(plan))
        near, at = knn.neighbours(train, test, max(knn.NEIGHBOURS))
        said = asked.truth(plan)[0][at]
        for k in knn.NEIGHBOURS:
            if asked.classes:
                shares = knn.vote(near[:, :k], said[:, :k], asked.classes)
            else:
                shares = knn.average(near[:, :k], said[:, :k])[:, None]
            yield plan, Outcome(f"knn{k}", shares)


def slides(asked: Question) -> Answers:
    """Logistic regression (for targets ridge) on the mean of each slide's features."""
    from threadpoolctl import threadpool_limits

    seen = slide_mean.slides(asked.found)
    x, truth = seen.mean(asked.x), asked.found.truth[seen.first]
    for plan in asked.plans:
        parts = seen.parts(plan, asked.found)
        if parts is None:  # tiles of a slide on two sides: not a question about slides
            continue
        rows = [np.flatnonzero(parts == part) for part in range(len(splits.PARTS))]
        scaled, said = linear.standardise(*(x[r] for r in rows)), [truth[r] for r in rows]
        with threadpool_limits(1):  # slides are few: threads would wait for one another
            shares, choice = logistic.fit(scaled, said, asked.classes, plan.seed)
        examples = seen.first[rows[2]], len(rows[0])
        yield plan, Outcome(slide_mean.NAME, shares, choice, examples=examples)


def _per_plan(name: str, fit: Callable) -> Callable[[Question], Answers]:
    """A protocol of one model a plan: `fit(parts, truth, classes, seed)` on standardised parts."""

    def run(asked: Question) -> Answers:
        for plan in asked.plans:
            parts, truth = linear.standardise(*asked.parts(plan)), asked.truth(plan)
            shares, choice = fit(parts, truth, asked.classes, plan.seed)
            yield plan, Outcome(name, shares, choice)

    return run


# On frozen features; `finetune` and `segment` train the network and have files of their own.
FROZEN: dict[str, Callable[[Question], Answers]] = {
    "linear": layers,
    "knn": neighbours,
    "logistic": _per_plan("logistic", logistic.fit),
    "svm": _per_plan("svm", classical.svm),
    "forest": _per_plan("forest", classical.forest),
    "tree": _per_plan("tree", classical.tree),
    "selected": _per_plan("selected", classical.selected),
    slide_mean.NAME: slides,
}


def score(outcome: Outcome, plan: Plan, found: Labelled) -> tuple[list[dict], list[dict]]:
    """The `metric, value, ci, n, n_groups, n_train` of each score, and the rows of each class."""
    test, n_train = outcome.examples or (plan.rows("test"), len(plan.rows("train")))
    truth, groups = found.truth[test], found.groups[test]
    if found.classes:
        predicted = outcome.shares.argmax(1)
        values = metrics.classification(truth, predicted, groups, len(found.classes), plan.seed)
        rows = metrics.per_class(truth, predicted, outcome.shares)
        classes = [{"class": c, **r} for c, r in zip(found.classes, rows, strict=True)]
    else:
        values = metrics.regression(truth, outcome.shares[:, 0], groups, plan.seed)
        classes = []
    counts = {
        "n": len(test),
        "n_groups": len(np.unique(groups)),
        "n_train": n_train,
    }
    scores = [{"metric": m, "value": v, "ci": ci, **counts} for m, (v, ci) in values.items()]
    return scores, classes


def confusion(cell: dict, outcome: Outcome, plan: Plan, found: Labelled) -> list[dict]:
    """`cell` with `counts`, test images by truth (rows) and answer; nothing for regression."""
    if not found.classes:
        return []
    truth = found.truth[plan.rows("test")]
    counts = metrics.confusion(truth, outcome.shares.argmax(1), len(found.classes))
    return [cell | {"counts": counts.tolist()}]
