"""What to label next: the promised tiles, in the promised order, as a list that comes back."""

import argparse
import csv
import types

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from histo_jax.evaluation import labelled, logistic
from histo_jax.features import choose, choosing, label_curve
from histo_jax.features.choosing import Known
from histo_jax.features.table import open_table
from tests import browser, labelled_sets, planted_features
from tests.prepared_sets import refused


@pytest.fixture(autouse=True)
def one_thread():
    """Where cores are busy, k-means' threads wait for one another."""
    with threadpool_limits(1):
        yield


NONE = Known(np.zeros(0, np.int64), np.zeros(0, np.int64))


def run(*words, command=choose):
    parser = argparse.ArgumentParser()
    command.add_flags(parser)
    command.run(parser.parse_args([str(word) for word in words]))


def keys(n):
    return np.array([f"k{row:04d}" for row in range(n)])


def listed(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_turns_by_hand():
    """Three clusters of 5, 3 and 2 tiles; a label in the largest puts it a turn behind."""
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    distances = np.array([5, 4, 3, 2, 1, 3, 2, 2, 9, 8], np.float32)
    chosen = choosing.spread(labels, distances, np.array([], np.int64), 10)
    assert chosen.rows.tolist() == [4, 6, 9, 3, 7, 8, 2, 5, 1, 0]
    assert chosen.scores[:3].tolist() == [0.5, 0.3, 0.2]
    chosen = choosing.spread(labels, distances, np.array([2]), 9)
    assert chosen.rows.tolist() == [6, 9, 4, 7, 8, 3, 5, 1, 0]


def test_one_of_each_cluster_and_none_where_a_label_is():
    x = planted_features.blobs(120, classes=6, apart=30)
    chosen = choosing.clusters(x, keys(120), NONE, 6, seed=0)
    assert sorted(chosen.rows % 6) == list(range(6))
    of = [x[np.arange(120) % 6 == c] for c in range(6)]
    for row in chosen.rows:  # nearest of its own to their mean
        own = of[row % 6]
        nearest = np.linalg.norm(own - own.mean(0), axis=1).argmin()
        np.testing.assert_array_equal(x[row], own[nearest])
    known = Known(np.array([0, 1, 2, 3]), np.zeros(4, np.int64))
    more = choosing.clusters(x, keys(120), known, 2, seed=0)
    assert sorted(more.rows % 6) == [4, 5]


def test_fewer_kinds_of_tiles_than_clusters():
    """Copies are chosen only once every kind has been."""
    x = np.repeat(planted_features.blobs(5), 20, 0)
    chosen = choosing.clusters(x, keys(100), NONE, 7, seed=0)
    assert sorted(chosen.rows[:5] // 20) == list(range(5)) and len(set(chosen.rows)) == 7


def test_the_classifier_is_least_sure_between_the_classes():
    x = np.zeros((101, 2), np.float32)
    x[:, 0] = np.linspace(-5, 5, 101)
    known = Known(np.array([0, 1, 99, 100]), np.array([0, 0, 1, 1]))
    chosen = choosing.uncertainty(x, keys(101), known, 97, seed=0)
    assert chosen.rows[0] == 50 and set(chosen.rows[:3]) == {49, 50, 51}
    assert (np.diff(chosen.scores) <= 0).all() and chosen.scores[0] == pytest.approx(1, abs=1e-3)
    assert set(chosen.rows) == set(range(101)) - set(known.rows)


def test_the_score_is_one_minus_the_margin(monkeypatch):
    monkeypatch.setattr(choosing, "BLOCK", 7)
    x = planted_features.blobs(60)
    known = Known(np.arange(12), np.arange(12) % 3)
    chosen = choosing.uncertainty(x, keys(60), known, 48, seed=0)
    shares = choosing.classify(x, known)(np.arange(60))
    two = np.sort(shares, 1)[:, -2:]
    wanted = 1 - (two[:, 1] - two[:, 0])
    np.testing.assert_allclose(chosen.scores, wanted[chosen.rows], rtol=1e-5, atol=1e-9)
    assert set(chosen.rows) == set(range(12, 60))


def test_one_weight_is_the_sweeps_at_that_weight():
    x, truth = planted_features.blobs(60, apart=1.0), np.arange(60) % 3
    sweep = logistic._logistic([x], [truth], 3)
    weight, answer = next(found for found in sweep if found[0] < 0.01)
    alone = logistic.shares(logistic.at(x, truth, weight), x, 3)
    np.testing.assert_allclose(alone, answer(x), atol=2e-3)


def test_random_is_of_the_seed_and_the_key_alone():
    known = Known(np.array([3, 5]), np.array([0, 1]))
    a = choosing.random(None, keys(50), known, 48, seed=1)
    assert sorted(a.rows) == sorted(set(range(50)) - {3, 5})
    b = choosing.random(None, keys(100), NONE, 100, seed=1)
    kept = [row for row in b.rows if row < 50 and row not in (3, 5)]
    assert kept == a.rows.tolist()
    assert choosing.random(None, keys(50), known, 48, seed=2).rows.tolist() != a.rows.tolist()
    mean = np.mean([choosing.random(None, keys(50), NONE, 5, s).rows.mean() for s in range(200)])
    assert abs(mean - 24.5) < 3  # five standard errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    planted_features.write(folder, planted_features.blobs())
    return folder


def filled(path, out):
    """The list with the classes of the tiles filled in, the last two left open."""
    rows = listed(path)
    for row in rows[:-2]:
        row["label"] = "abc"[int(row["key"][1:]) % 3]
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return [row["key"] for row in rows[:-2]]


@pytest.mark.parametrize("by", choosing.STRATEGIES)
def test_the_list_comes_back_as_labels(folder, tmp_path, by, capsys):
    start = "clusters" if by == "uncertainty" else by
    run(folder, "--n", 12, "--by", start, "--out", tmp_path / "one.csv")
    rows = listed(tmp_path / "one.csv")
    assert list(rows[0]) == ["key", "slide", "x", "y", "rank", "score", "label"]
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 13)]
    assert {row["label"] for row in rows} == {""}
    table = open_table(folder)
    for row in rows:
        number = int(row["key"][1:])
        slide, inside = table.where(number)
        assert row["slide"] == slide.facts.slide
        assert [int(row["x"]), int(row["y"])] == slide.coords[inside].tolist()
    known = filled(tmp_path / "one.csv", tmp_path / "filled.csv")
    run(folder, "--labels", tmp_path / "filled.csv", "--n", 12, "--by", by,
        "--out", tmp_path / "two.csv")  # fmt: skip
    again = [row["key"] for row in listed(tmp_path / "two.csv")]
    assert len(set(again)) == 12 and not set(again) & set(known)
    assert "10 of 120 have labels" in capsys.readouterr().out
    filled(tmp_path / "two.csv", tmp_path / "filled2.csv")
    run(folder, "--labels", tmp_path / "filled.csv", tmp_path / "filled2.csv", "--n", 100,
        "--by", by, "--out", tmp_path / "rest.csv")  # fmt: skip
    assert len(listed(tmp_path / "rest.csv")) == 100  # all that is left


@pytest.mark.slow
def test_the_page_shows_the_tiles(folder, tmp_path):
    run(folder, "--n", 9, "--out", tmp_path / "next.csv")
    seen = browser.assert_readable(tmp_path / "next.html")
    assert seen.images == 9 and "next.csv" in seen.text
    assert f"1 · {float(listed(tmp_path / 'next.csv')[0]['score']):.3g}" in seen.text
    assert "hold no pictures" not in seen.text


def test_files_without_pictures(tmp_path):
    planted_features.write(tmp_path, planted_features.blobs(30), pictures=False)
    run(tmp_path, "--n", 5, "--by", "random", "--out", tmp_path / "next.csv")
    assert "hold no pictures" in (tmp_path / "next.html").read_text()


@pytest.mark.parametrize(
    ("text", "flags", "reason", "words"),
    [
        ("file,label\na,b\n", [], "table", "has no column key"),
        ("a,b\n1,2\n", [], "table", "has no column key and no column label"),
        ("", [], "table", "has no column"),
        ("key,label\nk0001,a\nk9999,b\n", [], "features-missing", "1 of 2 .* e.g. k9999"),
        ("key,label\nk0001,a\nk0001,b\n", [], "conflict", "k0001 is 'b' here and 'a' before"),
        (
            "key,label\nk0001,a\nk0002,a\n",
            ["--by", "uncertainty"],
            "class-absent",
            "2 labels of 1 ",
        ),
        ("key,label\nk0001,a\nk0002,\n", ["--n", "120"], "config", "119 tiles have no label"),
        ("key,label\nk0001,a\n", ["--n", "0"], "config", "is 0"),
        ("key,label\nk0001\n", ["--by", "uncertainty"], "class-absent", "0 labels of 0"),
    ],
)
def test_labels_that_are_none_are_one_line(folder, tmp_path, text, flags, reason, words):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with refused(reason, words):
        run(folder, "--labels", path, "--out", tmp_path / "next.csv", *flags)
    assert sorted(tmp_path.iterdir()) == [path] and path.read_text() == text


def test_labels_are_not_written_over(folder, tmp_path):
    path = tmp_path / "next.csv"
    for _ in range(2):  # a list that nobody filled in may be replaced
        run(folder, "--n", 5, "--by", "random", "--out", path)
    filled(path, path)
    before = path.read_bytes()
    with refused("config", "holds 3 labels already", "give it as --labels, and another --out"):
        run(folder, "--labels", path, "--n", 5, "--by", "random", "--out", path)
    assert path.read_bytes() == before


def test_uncertainty_needs_labels(folder, tmp_path):
    with refused("class-absent", "begin with --by clusters or --by random"):
        run(folder, "--by", "uncertainty", "--out", tmp_path / "next.csv")
    with refused("table", "not readable as CSV"):
        run(folder, "--labels", tmp_path, "--out", tmp_path / "next.csv")


# The curve.


@pytest.fixture
def known_set(tmp_path, monkeypatch):
    """96 images of 24 patients in three classes, whose features say the class."""
    prepared = labelled_sets.prepared()
    monkeypatch.setattr(label_curve, "open_prepared", lambda *_: prepared)
    blobs = planted_features.blobs(96, apart=1.2)  # in which classes take turns
    x = np.empty_like(blobs)
    x[np.argsort(prepared.table["label"], kind="stable")] = np.concatenate(
        [blobs[c::3] for c in range(3)]
    )
    (tmp_path / "f").mkdir()
    planted_features.write(tmp_path / "f", x, keys=prepared.table["key"].tolist())
    return tmp_path / "f", prepared


def test_halves_share_no_patient(known_set):
    _, prepared = known_set
    found = labelled.labelled(prepared)
    tests = []
    for seed in range(3):
        pool, test = label_curve.split(prepared, found, seed)
        assert not set(found.groups[pool]) & set(found.groups[test])
        assert len(pool) + len(test) == 96 and abs(len(pool) - 48) <= 8
        tests.append(tuple(test))
    assert len(set(tests)) == 3
    official = np.where(np.arange(96) < 48, "train", "test")
    found = labelled.labelled(labelled_sets.prepared(split=official))
    pool, test = label_curve.split(prepared, found, 0)
    assert set(test) == set(range(48, 96)) and set(pool) < set(range(48))


@pytest.mark.parametrize("by", choosing.STRATEGIES)
def test_only_labels_that_were_asked_for_are_used(known_set, by):
    """Other labels of the pool may be anything; those asked for may not."""
    folder, prepared = known_set
    found = labelled.labelled(prepared)
    x = open_table(folder).rows(np.arange(96))
    pool, test = label_curve.split(prepared, found, 0)
    points = list(label_curve.simulate(x, found, pool, test, by, 0, 6, 3))
    assert [point.labels for point in points] == [6, 12, 18]
    asked = []
    watched = types.SimpleNamespace(**vars(found))
    watched.truth = Watched(found.truth, asked, set(test.tolist()))
    again = list(label_curve.simulate(x, watched, pool, test, by, 0, 6, 3))
    assert again == points
    assert len(set(asked)) == 18 and set(asked) <= set(pool.tolist())


class Watched:
    """An array that notes which rows are read, those of the test part apart."""

    def __init__(self, array, asked, test):
        self.array, self.asked, self.test = array, asked, test

    def __getitem__(self, rows):
        self.asked += [row for row in np.asarray(rows).tolist() if row not in self.test]
        return self.array[rows]


def test_the_summary_is_the_mean_and_its_interval():
    points = [label_curve.Point("all", seed, 50, 0.9) for seed in range(5)]
    scores = {"random": [0.1, 0.2, 0.3, 0.4, 0.5], "clusters": [0.3, 0.2, 0.4, 0.6, 0.5]}
    for by, values in scores.items():
        points += [label_curve.Point(by, seed, 6, v) for seed, v in enumerate(values)]
    rows = {row["by"]: row for row in label_curve.summary(points)}
    assert rows["all"]["macro_f1"] == pytest.approx(0.9) and rows["all"]["labels"] == 50
    assert rows["random"]["macro_f1"] == pytest.approx(0.3) and "gain" not in rows["random"]
    half = 2.776445 * np.std(scores["random"], ddof=1) / 5**0.5  # t of 4 degrees
    assert rows["random"]["ci"] == pytest.approx([0.3 - half, 0.3 + half])
    gain = np.array([0.2, 0, 0.1, 0.2, 0])
    assert rows["clusters"]["gain"] == pytest.approx(0.1) and rows["clusters"]["wins"] == 3
    half = 2.776445 * gain.std(ddof=1) / 5**0.5
    assert rows["clusters"]["gain_ci"] == pytest.approx([0.1 - half, 0.1 + half])


@pytest.mark.slow
def test_the_curve_is_written(known_set, tmp_path, capsys):
    folder, _ = known_set
    flags = [folder, "--dataset", "b/c", "--n", 4, "--rounds", 3, "--seeds", 5]
    run(*flags, "--out", tmp_path / "out", command=label_curve)
    rows = listed(tmp_path / "out" / "label_curve.csv")
    assert len(rows) == 5 * (1 + 3 * 3)
    score = {(r["by"], r["seed"], r["labels"]): r["macro_f1"] for r in rows}
    assert all(score["random", s, "4"] == score["uncertainty", s, "4"] for s in "01234")
    assert np.mean([float(v) for (by, *_), v in score.items() if by == "all"]) > 0.8
    seen = browser.assert_readable(tmp_path / "out" / "label_curve.html")
    assert "12" in seen.text and "patients that played no other part" in seen.text
    printed = capsys.readouterr().out
    assert "uncertainty" in printed and "over random" in printed


@pytest.mark.parametrize(
    ("flags", "reason", "words"),
    [
        (["--seeds", "4"], "config", "--seeds: is 4 .give 5 or more"),
        (["--n", "0"], "config", "--n: is 0"),
        (["--n", "40", "--rounds", "2"], "config", "2 rounds of 40 are more than the "),
    ],
)
def test_a_curve_that_cannot_be_is_one_line(known_set, tmp_path, flags, reason, words):
    with refused(reason, words):
        run(
            known_set[0], "--dataset", "b/c", "--out", tmp_path / "out", *flags, command=label_curve
        )


def test_sets_without_classes_or_features(known_set, tmp_path, monkeypatch):
    folder, _ = known_set
    flags = ["--dataset", "b/c", "--out", tmp_path / "out"]
    with refused("features-missing", "32 of 96 labelled images have no features, e.g. k032"):
        run(folder / "s0.h5", folder / "s2.h5", *flags, command=label_curve)
    monkeypatch.setattr(
        label_curve, "open_prepared", lambda *_: labelled_sets.prepared(target=True)
    )
    with refused("no-labels", "the curve is of classes"):
        run(folder, *flags, command=label_curve)
    one = labelled_sets.prepared(patient=np.where(np.arange(96) % 12 < 4, "one", "others"))
    monkeypatch.setattr(label_curve, "open_prepared", lambda *_: one)
    with refused("class-absent", "is in one half only, of 2 groups"):
        run(folder, *flags, command=label_curve)
