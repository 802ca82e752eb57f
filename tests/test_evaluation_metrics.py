"""Scores against hand and scikit-learn; intervals that cover."""

import numpy as np
import pytest

from histo_jax.evaluation import metrics

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
PREDICTED = np.array([0, 0, 1, 0, 1, 1, 2, 2, 0, 0])


def test_macro_f1_of_the_spec():
    counts = metrics.confusion(TRUTH, PREDICTED, 4)
    np.testing.assert_allclose(metrics.f1_per_class(counts), [2 / 3, 2 / 3, 0.5, 0], rtol=1e-12)
    assert metrics.macro_f1(counts) == pytest.approx(0.4583333333, abs=1e-10)
    fifth = metrics.macro_f1(metrics.confusion(TRUTH, PREDICTED, 5))
    assert fifth == pytest.approx(0.3666666667, abs=1e-10)


def test_scores_are_scikit_learns():
    from sklearn import metrics as theirs

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 300))
    shares = rng.dirichlet(np.ones(4), 300).round(2)  # rounded: ties
    found = metrics.classification(truth, predicted, np.arange(300), 4, 0)
    assert found["macro_f1"][0] == pytest.approx(theirs.f1_score(truth, predicted, average="macro"))
    assert found["accuracy"][0] == pytest.approx(theirs.accuracy_score(truth, predicted))
    balanced = theirs.balanced_accuracy_score(truth, predicted)
    assert found["balanced_accuracy"][0] == pytest.approx(balanced)
    rows = metrics.per_class(truth, predicted, shares)
    p, r, f, s = theirs.precision_recall_fscore_support(truth, predicted)
    for c, row in enumerate(rows):
        area = theirs.roc_auc_score(truth == c, shares[:, c])
        wanted = {"precision": p[c], "recall": r[c], "f1": f[c], "support": s[c], "auroc": area}
        assert row == pytest.approx(wanted)


def test_undefined_values_are_none_not_numbers():
    row = metrics.per_class(np.array([0, 0]), np.array([0, 0]), np.eye(2)[[0, 0]])[1]
    assert row == {"precision": None, "recall": None, "f1": 0.0, "support": 0, "auroc": None}
    found = metrics.classification(TRUTH, PREDICTED, np.zeros(10), 4, 0)
    assert found["accuracy"] == (0.6, None)  # one group: no spread to see


def test_l1():
    truth, predicted = np.array([10.0, 20, 30]), np.array([12.0, 20, 24])
    value, (low, high) = metrics.regression(truth, predicted, np.arange(3), 0)["l1"]
    assert value == pytest.approx(8 / 3) and 0 <= low < value < high <= 6


def test_intervals_cover_the_truth_where_groups_are_resampled():
    """Answers repeat within a patient: over images the interval is far too narrow."""
    rng = np.random.default_rng(1)
    covered = {"groups": 0, "images": 0}
    for trial in range(120):
        right = np.repeat(rng.random(40) < 0.7, 25)
        truth = np.zeros(1000, int)
        predicted = np.where(right, 0, 1)
        for unit, groups in (("groups", np.arange(1000) // 25), ("images", np.arange(1000))):
            per_group = np.stack([np.bincount(groups, truth == predicted), np.bincount(groups)], 1)
            score = {"accuracy": lambda s: s[..., 0] / s[..., 1]}
            low, high = metrics.bootstrap(per_group, score, trial, resamples=200)["accuracy"]
            covered[unit] += low <= 0.7 <= high
    assert covered["groups"] / 120 > 0.86
    assert covered["images"] / 120 < 0.6


def test_bootstrap_is_seeded():
    groups = np.arange(200) // 4
    truth, predicted = np.random.default_rng(0).integers(0, 3, (2, 200))
    first = metrics.classification(truth, predicted, groups, 3, 5)
    assert first == metrics.classification(truth, predicted, groups, 3, 5)
    assert first != metrics.classification(truth, predicted, groups, 3, 6)
    low, high = first["macro_f1"][1]
    assert low < first["macro_f1"][0] < high
