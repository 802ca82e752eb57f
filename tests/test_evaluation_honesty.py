"""Few labels, seeds in pairs, patients and stain: what a score stands on."""

import types

import numpy as np
import pytest

from histo_jax.augment import stain
from histo_jax.errors import HistoError
from histo_jax.evaluation import labelled, paired, run, shift, sites, splits
from tests.labelled_sets import SIZE, config, prepared
from tests.test_evaluation_run import world  # noqa: F401 (a fixture)

SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)


# Shares of labels.


def test_shares_are_nested_stratified_and_rounded_as_stated():
    parts = np.repeat([0, 1, 2], [160, 40, 40]).astype(np.int8)
    strata = np.arange(240) % 4 // 3  # three quarters and one quarter
    keys = np.array([f"k{i}" for i in range(240)])
    before = np.zeros(240, bool)
    for share in SHARES:
        kept = splits.draw_labels(parts, keys, strata, share, seed=1)
        assert (kept[parts != 0] == parts[parts != 0]).all()
        now = kept == 0
        counts = [int((now & (strata == s)).sum()) for s in (0, 1)]
        assert counts == [max(1, int(share * n + 0.5)) for n in (120, 40)]
        assert (now | ~before).all()
        before = now
    other = splits.draw_labels(parts, keys, strata, 0.2, seed=2)
    assert not np.array_equal(other, splits.draw_labels(parts, keys, strata, 0.2, seed=1))


def test_a_share_too_small_leaves_one_image_a_class():
    parts, strata = np.zeros(30, np.int8), np.repeat([0, 1, 2], 10)
    keys = np.array([f"k{i}" for i in range(30)])
    kept = splits.draw_labels(parts, keys, strata, 0.001, seed=0)
    assert np.bincount(strata[kept == 0]).tolist() == [1, 1, 1]
    assert set(kept.tolist()) == {0, splits.UNUSED}


@pytest.mark.parametrize("one_split", [True, False])
def test_validation_and_test_stay_and_one_split_serves_all_draws(one_split):
    found_set = prepared(n=240)
    found = labelled.labelled(found_set)
    cfg = config(fractions=SHARES, repeats=5, one_split=one_split, split_by=("paper",))
    made = labelled.plans(cfg, found_set, found)
    assert len(made) == 25 and len({(p.seed, p.fraction) for p in made}) == 25
    for seed in range(5):
        tests = [tuple(p.rows("test")) for p in made if p.seed == seed]
        pools = [tuple(p.pool) for p in made if p.seed == seed]
        assert len(set(tests)) == len(set(pools)) == 1
    assert len({tuple(p.rows("test")) for p in made}) == (1 if one_split else 5)
    small = {tuple(p.rows("train")) for p in made if p.fraction == 0.1}
    assert len(small) == 5


def test_a_share_of_targets_is_that_share():
    """480 targets in many tenths and classes: one image of each would be far more than 2 %."""
    kind = np.arange(480) // 4 % 3
    opened = prepared(n=480, target=True, label=kind.astype(np.int32))
    opened.table["target"] = np.random.default_rng(0).uniform(0, 100, 480).astype(np.float32)
    found = labelled.labelled(opened)
    assert len(np.unique(found.strata)) == 30
    (plan,) = labelled.plans(config(fractions=(0.02,), split_by=("paper",)), opened, found)
    assert len(plan.rows("train")) == int(0.02 * len(plan.pool) + 0.5) == 5


def test_few_labels_are_scored_and_drawn(world, monkeypatch):  # noqa: F811
    world.set = prepared(n=240)
    cfg = config(
        init=("mean_rgb",), split_by=("paper",), fractions=(0.1, 1.0), repeats=2, one_split=True,
        protocol=("linear",), image_size=SIZE,
    )  # fmt: skip
    result = run.evaluate(cfg, {}, None).report
    rows = [r for r in result["scores"] if r["metric"] == "macro_f1"]
    assert {(r["fraction"], r["seed"], r["n_train"]) for r in rows} == {
        (0.1, 0, 12), (0.1, 1, 12), (1.0, 0, 120), (1.0, 1, 120),
    }  # fmt: skip
    assert {r["n"] for r in rows} == {60}


# Seeds in pairs.


def test_the_corrected_t_is_nadeau_and_bengios():
    """Gains 1..5 with n_test/n_train = .5: t = 3/√((.2+.5)·2.5) = 2.2678, 4 degrees of freedom."""
    gain = np.arange(1.0, 6.0)
    assert paired.corrected_t(gain, 0.5) == pytest.approx(0.08597, abs=1e-4)
    plain = paired.corrected_t(gain, 0.0)
    assert plain == pytest.approx(0.013236, abs=1e-4)  # scipy's ttest_1samp
    assert paired.corrected_t(np.zeros(5), 0.5) == 1 and paired.corrected_t(np.ones(5), 0.5) == 0


def test_holm():
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0] and paired.holm([]) == []


def scored(init, values, metric="macro_f1", protocol="linear"):
    return [
        {"init": init, "protocol": protocol, "split_by": "paper", "fraction": 1.0,
         "metric": metric, "seed": seed, "value": value}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_encoders_are_compared_with_everybody_from_five_seeds_on():
    plan = labelled.Plan("paper", 0, np.repeat([0, 1, 2], [50, 25, 25]), 1.0, np.arange(50))
    rows = scored("ssl", [0.8, 0.81, 0.79, 0.8, 0.82]) + scored("random", [0.6, 0.7, 0.5, 0.6, 0.6])
    rows += scored("texture", [0.9, 0.7]) + scored("ssl", [1, 2, 3, 4, 5], "l1", "knn20")
    rows += scored("random", [2, 3, 4, 5, 7], "l1", "knn20")
    found = paired.compare(rows, [plan], ["ssl"])
    assert [(r["init"], r["other"], r["protocol"]) for r in found] == [
        ("ssl", "random", "linear"), ("ssl", "random", "knn20"),
    ]  # fmt: skip
    first, second = found
    assert first["difference"] == pytest.approx(0.204) and first["wins"] == 5
    assert second["difference"] == pytest.approx(1.2)  # a smaller error is a gain
    assert all(r["comparisons"] == 1 and r["p"] == r["p_holm"] for r in found)


# Stain.


def test_stains_are_parted_as_in_the_spec():
    """Spec 7.1: the normalised matrix, its inverse, one pixel."""
    inverse = [[1.88000259, -1.01536655, -0.55496979], [-0.0735982, 1.13316777, -0.12641597],
               [-0.59521871, -0.48168478, 1.57247275]]  # fmt: skip
    np.testing.assert_allclose(stain.INVERSE, inverse, atol=1e-8)
    pixel = np.array([148.0, 90, 160], np.float32)
    wanted = [0.66874334, 0.40322217, 0.29932498]
    np.testing.assert_allclose(stain.separate(pixel), wanted, atol=2e-6)
    np.testing.assert_allclose(stain.combine(stain.separate(pixel)), pixel, rtol=1e-5)


def test_stains_are_shaken_as_in_the_spec():
    """Spec 7.2."""
    image = np.full((1, 2, 2, 3), (148, 90, 160), np.float32)
    alpha = np.array([[1.05, 0.97, 1]], np.float32)
    beta = np.array([[0.02, -0.03, 0]], np.float32)
    made = np.asarray(stain.shake(image, alpha, beta))
    np.testing.assert_allclose(made[0, 1, 1], (143.38210877, 90.37259546, 158.27253353), rtol=2e-6)
    still = np.asarray(
        stain.shake(image, np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32))
    )
    np.testing.assert_allclose(still, image, rtol=1e-5)


def test_the_shift_of_an_image_is_its_keys_alone():
    keys = np.array([f"k{i}" for i in range(4000)])
    alpha, beta = shift.draw(keys, 0.2)
    assert np.abs(alpha - 1).max() <= 0.2 and np.abs(beta).max() <= 0.2
    assert abs(alpha.mean() - 1) < 0.01 and abs(beta.std() - 0.2 / 3**0.5) < 0.005
    some_alpha, _ = shift.draw(keys[::-1][:7], 0.2)
    np.testing.assert_array_equal(some_alpha, alpha[::-1][:7])


def test_colour_loses_under_a_shift_and_the_report_says_so(world):  # noqa: F811
    cfg = config(
        init=("mean_rgb",), split_by=("grouped",), shift=(0.05, 1.0), repeats=2, image_size=SIZE
    )
    result = run.evaluate(cfg, {}, None).report
    rows = {(r["strength"], r["seed"]): r for r in result["shift"]}
    assert set(rows) == {(0.05, 0), (0.05, 1), (1.0, 0), (1.0, 1)}
    before = {r["seed"]: r["value"] for r in result["scores"]
              if (r["protocol"], r["metric"]) == ("linear", "macro_f1")}  # fmt: skip
    for (strength, seed), row in rows.items():
        assert row["before"] == before[seed] and row["metric"] == "macro_f1"
        if strength == 1:
            assert row["value"] < row["before"] - 0.1


# Patients and scanners.


def many(n=240):
    """Twelve patients, each with every class, who differ in the first of eight features."""
    label = np.arange(n) % 3
    patient = np.array([f"p{i // 3 % 12}" for i in range(n)])
    opened = prepared(n=n, label=label.astype(np.int32), patient=patient)
    x = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    return opened, labelled.labelled(opened), x, np.arange(n) // 3 % 12


def test_a_patient_who_marks_the_features_is_recognised():
    opened, found, x, who = many()
    asked = sites.tables(config(), opened, found)
    assert set(asked) == {"patient"}
    ledger = types.SimpleNamespace(asked=asked, found=found, sites=[])
    entrant = types.SimpleNamespace(name="ssl", decay=1e-5)
    plan = types.SimpleNamespace(seed=0)
    (blind,) = sites.rows(entrant, x, [plan], ledger)
    marked = x.copy()
    marked[np.arange(240), who % 8] += 9 + 9 * (who // 8)
    (seen,) = sites.rows(entrant, marked, [plan], ledger)
    assert seen["value"] > 0.9 and blind["value"] < 0.3
    assert seen["names"] == 12 and seen["chance"] == pytest.approx(1 / 12)
    assert seen["by_class"] < 0.2
    ledger.sites = [seen]
    assert sites.rows(entrant, marked, [plan], ledger) == []  # asked once a seed


def test_scanners_come_from_a_table(tmp_path):
    opened, found, x, who = many()
    table = tmp_path / "sites.csv"
    lines = [f"p{i},{'Aperio' if i % 2 else 'Hamamatsu'}" for i in range(12)]
    table.write_text("patient,scanner\n" + "\n".join(lines) + "\n")
    asked = sites.tables(config(sites=str(table)), opened, found)
    assert set(asked["scanner"]) == {"Aperio", "Hamamatsu"}
    marked = x + 3 * (who[:, None] % 2)
    row = sites.ask(marked.astype(np.float32), asked["scanner"], found, 1e-5, 0)
    assert row["value"] > 0.95 and row["names"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "has the columns a, b"), ("", "has the columns none"),
     ("patient,scanner\nnobody,Aperio\n", "names no patient"), (None, "not readable")],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(tmp_path, text, words):
    opened, found, *_ = many()
    found = labelled.labelled(prepared(groups=False)) if words == "names no patient" else found
    opened = prepared(groups=False) if words == "names no patient" else opened
    path = tmp_path / "sites.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HistoError, match=words):
        sites.tables(config(sites=str(path)), opened, found)


def test_nothing_is_asked_where_there_is_one_patient_or_none():
    _, found, x, _ = many()
    assert sites.ask(x, np.full(240, ""), found, 1e-5, 0) is None
    assert sites.ask(x, np.full(240, "one"), found, 1e-5, 0) is None
