"""Learners on frozen features: planted and shuffled labels, agreement with the optimum, choices."""

import numpy as np
import pytest

from histo_jax.evaluation import classical, linear, logistic, metrics, protocols
from histo_jax.evaluation.labelled import Labelled, Plan
from tests.test_evaluation_heads import planted

LEARNERS = {
    "logistic": logistic.fit, "svm": classical.svm, "forest": classical.forest,
    "tree": classical.tree, "selected": classical.selected,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(classical, "TREES", 30)
    monkeypatch.setattr(logistic, "WEIGHTS", logistic.WEIGHTS[::6])


def parted(x, y):
    third = len(x) // 3
    cut = [slice(0, third), slice(third, 2 * third), slice(2 * third, None)]
    return [x[c] for c in cut], [y[c] for c in cut]


@pytest.mark.parametrize("name", LEARNERS)
def test_planted_classes_are_found_and_the_test_part_is_not_read(name):
    x, y = planted(450, 3, 8)
    parts, truth = parted(x, y)
    unreadable = [*truth[:2], None]
    shares, choice = LEARNERS[name](parts, unreadable, 3, 0)
    assert metrics.macro_f1(metrics.confusion(truth[2], shares.argmax(1), 3)) > 0.97
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert choice["validation"] > 0.97 and len(choice) >= 2


@pytest.mark.parametrize("name", LEARNERS)
def test_shuffled_classes_are_chance(name):
    x, y = planted(900, 3, 8)
    parts, truth = parted(x, np.random.default_rng(5).permutation(y))
    shares, _ = LEARNERS[name](parts, truth, 3, 0)
    assert 0.15 < metrics.macro_f1(metrics.confusion(truth[2], shares.argmax(1), 3)) < 0.45


@pytest.mark.parametrize("name", LEARNERS)
def test_targets_in_percent(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    parts, truth = parted(x, 50 + 8 * x[:, 0])
    said, choice = LEARNERS[name](parts, truth, None, 0)
    error = np.abs(said[:, 0] - truth[2]).mean()
    assert said.shape == (200, 1) and error < 2.5 < np.abs(truth[2] - 50).mean()
    assert choice["validation"] == pytest.approx(-error, abs=1)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_answer(name):
    x, y = planted(150, 3, 6)
    parts, truth = parted(x + np.random.default_rng(0).normal(size=x.shape) * 2, y)
    first, second = (LEARNERS[name](parts, truth, 3, 1)[0] for _ in "ab")
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_class_that_was_never_seen_gets_no_share(name):
    x, y = planted(150, 2, 6)
    parts, truth = parted(x, np.where(y == 1, 2, 0))
    shares, _ = LEARNERS[name](parts, truth, 4, 0)
    assert shares.shape == (50, 4) and (shares[:, [1, 3]] == 0).all()


def test_logistic_is_at_the_optimum_of_its_objective():
    """Spec 6.5: (1/n) Σ cross-entropy + λ/2 |W|², no penalty on the bias; gradient below 1e-4."""
    x, y = planted(200, 3, 5)
    x = x.astype(np.float64) + np.random.default_rng(0).normal(size=x.shape)
    weight = 0.01
    (found,) = [m for w, m in _models(x, y, weight) if w == weight]
    shares = found.predict_proba(x)
    error = (shares - np.eye(3)[y]) / len(x)
    by_weight = error.T @ x + weight * found.coef_
    assert np.abs(by_weight).max() < 1e-4 and np.abs(error.sum(0)).max() < 1e-4


def _models(x, y, weight):
    """The models of the path, caught as they are made."""
    from sklearn.linear_model import LogisticRegression

    made = []
    path = logistic._logistic([x, x, x], [y, y, y], 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "WEIGHTS", (10.0, weight))
        patch.setattr(logistic, "shares", lambda model, *_: made.append(model))
        for used, answer in path:
            answer(x)
            assert isinstance(made[-1], LogisticRegression)
            yield used, made[-1]


def test_support_vectors_answer_as_their_largest_share_says():
    from sklearn.svm import SVC

    x, y = planted(200, 4, 6)
    x += np.random.default_rng(0).normal(size=x.shape).astype(np.float32) * 2
    model = SVC(C=1.0, break_ties=True).fit(x[:100], y[:100])
    answer = classical._margins(model, 4)(x[100:])
    np.testing.assert_array_equal(answer.argmax(1), model.predict(x[100:]))


def test_constant_features_are_not_selected():
    x, y = planted(150, 3, 6)
    x[:, 4] = 7.0
    parts, truth = parted(x, y)
    with np.errstate(all="raise"):
        shares, _ = classical.selected(parts, truth, 3, 0)
    assert np.isfinite(shares).all()


def asked(x, y, **changes):
    n = len(x)
    found = Labelled(
        np.arange(n), y, ("a", "b", "c"), y, np.arange(n), False, "source images",
        np.full(n, ""), np.array([f"k{i}" for i in range(n)]), np.full(n, "train"),
        np.array([f"s{i}" for i in range(n)]),
    )  # fmt: skip
    parts = (np.arange(n) % 3).astype(np.int8)
    plan = Plan("paper", 0, parts, 1.0, np.flatnonzero(parts == 0))
    return protocols.Question(x, [plan], found, **{"decay": 1e-5, "raw": True, **changes}), plan


def test_the_papers_rate_is_one_of_the_sweep_and_raw_features_are_its_reading(monkeypatch):
    monkeypatch.setitem(linear.fit.__kwdefaults__, "epochs", 4)
    x, y = planted(300, 3, 8)
    question, _ = asked(x, y)
    told = {outcome.protocol: outcome for _, outcome in protocols.layers(question)}
    assert set(told) == {"linear", "linear_raw", "linear_paper"}
    assert told["linear_paper"].choice["learning_rate"] == protocols.PAPER_RATE
    assert told["linear_raw"].choice["validation"] >= told["linear_paper"].choice["validation"]
    assert told["linear"].layer and not told["linear_raw"].layer
    without, _ = asked(x, y, raw=False)
    assert [o.protocol for _, o in protocols.layers(without)] == ["linear"]


def test_a_fitted_layer_can_be_asked_about_other_images(monkeypatch):
    monkeypatch.setitem(linear.fit.__kwdefaults__, "epochs", 4)
    x, y = planted(300, 3, 8)
    question, plan = asked(x, y)
    outcome = next(o for _, o in protocols.layers(question))
    np.testing.assert_allclose(outcome.layer(x[plan.rows("test")]), outcome.shares, atol=1e-6)


@pytest.mark.parametrize("name", protocols.FROZEN)
def test_every_protocol_scores_the_test_part(name, monkeypatch):
    monkeypatch.setitem(linear.fit.__kwdefaults__, "epochs", 20)
    x, y = planted(300, 3, 8)
    question, _ = asked(x, y)
    for plan, outcome in protocols.FROZEN[name](question):
        values, classes = protocols.score(outcome, plan, question.found)
        assert {v["metric"] for v in values} == {"macro_f1", "accuracy", "balanced_accuracy"}
        assert all(v["n"] == 100 and v["n_train"] == 100 for v in values) and len(classes) == 3
        if not outcome.protocol.startswith(("linear_", "knn200")):  # at its few steps; of 100
            assert values[0]["value"] > 0.8, outcome.protocol
