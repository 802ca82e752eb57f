"""Logistic regression by L-BFGS, its weight chosen on validation; ridge regression for targets."""

import numpy as np

from histo_jax.evaluation import metrics

# λ of (1/n) Σ cross-entropy + λ/2 |W|², strongest first: each fit starts from the one before
# (SimCLR's transfer protocol, appendix B.8: 45 values).
WEIGHTS = tuple(np.logspace(5, -6, 45).tolist())
TOLERANCE, ITERATIONS = 1e-4, 1000

Parts = list[np.ndarray]


def fit(
    parts: Parts, truth: Parts, classes: int | None, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Fits on the training part, chooses λ on validation, answers for the test part.

    Args:
      parts: float [n, width] of training, validation and test part.
      truth: their classes or targets; the last is not read.
      classes: how many; None for targets.
      seed: not used: there is one optimum.

    Returns:
      Shares [n_test, classes], or targets [n_test, 1], and what was chosen.
    """
    del seed
    models = _ridge(parts, truth) if classes is None else _logistic(parts, truth, classes)
    best, said = {"validation": -np.inf}, None
    for weight, answer in models:
        value = validation(answer(parts[1]), truth[1], classes)
        if value > best["validation"]:
            best, said = {"weight": weight, "validation": value}, answer(parts[2])
    return said, best


def at(x: np.ndarray, truth: np.ndarray, weight: float) -> object:
    """The classifier fitted at one λ on float [n, width] and classes int [n], for `shares`."""
    model = _classifier()
    return model.set_params(C=1 / (len(x) * weight)).fit(x, truth)


def validation(said: np.ndarray, truth: np.ndarray, classes: int | None) -> float:
    """Macro-F1 of shares [n, classes], or minus the mean error of targets [n, 1]."""
    if classes is None:
        return -float(np.abs(said[:, 0] - truth).mean())
    return float(metrics.macro_f1(metrics.confusion(truth, said.argmax(1), classes)))


def shares(model: object, x: np.ndarray, classes: int) -> np.ndarray:
    """A scikit-learn classifier's shares, [n, classes]; classes it never saw get none."""
    out = np.zeros((len(x), classes))
    out[:, model.classes_] = model.predict_proba(x)
    return out


def _logistic(parts: Parts, truth: Parts, classes: int):
    n, model = len(parts[0]), _classifier()
    for weight in WEIGHTS:
        model.set_params(C=1 / (n * weight)).fit(parts[0], truth[0])
        yield weight, lambda x: shares(model, x, classes)


def _classifier():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="lbfgs", tol=TOLERANCE, max_iter=ITERATIONS, warm_start=True)


def _ridge(parts: Parts, truth: Parts):
    from sklearn.linear_model import Ridge

    n = len(parts[0])
    for weight in WEIGHTS:
        model = Ridge(alpha=n * weight).fit(parts[0], truth[0])
        yield weight, lambda x, model=model: model.predict(x)[:, None]
