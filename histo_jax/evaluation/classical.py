"""Classifiers of scikit-learn on frozen features (paper, section 5.3 names their use).

Each is fitted on the training part for every setting of a short grid; the first of the best on
validation answers for the test part. Arguments and results are those of `logistic.fit`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from histo_jax.data.cores import cores
from histo_jax.evaluation import linear, logistic
from histo_jax.evaluation.logistic import Parts

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C of support vectors and of the selected features
LEAVES = (1, 3, 10)  # fewest images in a leaf
TREES = 300
DEPTHS = (2, 4, 8, 16, None)
KEPT = (16, 64, 256)  # features, by F test

Answer = tuple[np.ndarray, dict[str, Any]]
Choices = Iterator[tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]]


def svm(parts: Parts, truth: Parts, classes: int | None, seed: int) -> Answer:
    """Support vectors with a radial kernel, width by scikit-learn's `scale`."""
    from sklearn.svm import SVC, SVR

    def models() -> Choices:
        for strength in STRENGTHS:
            if classes is None:
                model = SVR(C=strength).fit(parts[0], truth[0])
                yield {"C": strength}, _targets(model)
            else:
                model = SVC(C=strength, break_ties=True, random_state=seed).fit(parts[0], truth[0])
                yield {"C": strength}, _margins(model, classes)

    return _choose(models(), parts, truth, classes)


def forest(parts: Parts, truth: Parts, classes: int | None, seed: int) -> Answer:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    def models() -> Choices:
        for leaf in LEAVES:
            options = {"n_estimators": TREES, "min_samples_leaf": leaf, "random_state": seed,
                       "n_jobs": cores(), "max_features": "sqrt"}  # fmt: skip
            kind = RandomForestRegressor if classes is None else RandomForestClassifier
            model = kind(**options).fit(parts[0], truth[0])
            model.set_params(n_jobs=1)  # answers are summed in the order threads end
            yield {"leaf": leaf}, _wrapped(model, classes)

    return _choose(models(), parts, truth, classes)


def tree(parts: Parts, truth: Parts, classes: int | None, seed: int) -> Answer:
    """One decision tree."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    def models() -> Choices:
        for depth in DEPTHS:
            kind = DecisionTreeRegressor if classes is None else DecisionTreeClassifier
            model = kind(max_depth=depth, random_state=seed).fit(parts[0], truth[0])
            yield {"depth": depth}, _wrapped(model, classes)

    return _choose(models(), parts, truth, classes)


def selected(parts: Parts, truth: Parts, classes: int | None, seed: int) -> Answer:
    """Logistic (for targets ridge) regression on the features that an F test finds best."""
    from sklearn.feature_selection import SelectKBest, f_classif, f_regression
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    # A constant column has no F value: it must not be chosen, nor warned about.
    alive = np.flatnonzero(parts[0].std(0) > 0)
    some = [part[:, alive] for part in parts]

    def models() -> Choices:
        for kept in dict.fromkeys(min(k, len(alive)) for k in KEPT):
            for strength in STRENGTHS:
                if classes is None:
                    head, test = Ridge(alpha=1 / strength), f_regression
                else:
                    head, test = LogisticRegression(C=strength, max_iter=1000), f_classif
                model = make_pipeline(SelectKBest(test, k=kept), head).fit(some[0], truth[0])
                yield {"kept": kept, "C": strength}, _wrapped(model, classes)

    return _choose(models(), some, truth, classes)


def _choose(models: Choices, parts: Parts, truth: Parts, classes: int | None) -> Answer:
    best, said = {"validation": -np.inf}, None
    for setting, answer in models:
        value = logistic.validation(answer(parts[1]), truth[1], classes)
        if value > best["validation"]:
            best, said = {**setting, "validation": value}, answer
    return said(parts[2]), best


def _wrapped(model: Any, classes: int | None) -> Callable[[np.ndarray], np.ndarray]:
    if classes is None:
        return _targets(model)
    return lambda x: logistic.shares(model, x, classes)


def _targets(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: model.predict(x)[:, None]


def _margins(model: Any, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """Softmax of the margins: its largest is what the machine answers."""

    def answer(x: np.ndarray) -> np.ndarray:
        margin = model.decision_function(x)
        if margin.ndim == 1:
            margin = np.stack([-margin, margin], 1)
        out = np.zeros((len(x), classes))
        out[:, model.classes_] = linear.softmax(margin)
        return out

    return answer
