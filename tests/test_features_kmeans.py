"""k-means beside scikit-learn's, explained variance and elbow by their vectors, what is picked."""

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from histo_jax.errors import HistoError
from histo_jax.features import elbow, kmeans, sampling, store
from histo_jax.features.kmeans import Clusters, explained_variance
from histo_jax.features.table import open_table
from tests import feature_files


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of small matrices wait for one another where other tests run beside."""
    with threadpool_limits(1):
        yield


POINTS = np.array([(0, 0), (0, 1), (1, 0), (10, 10), (10, 11), (11, 10), (20, 0), (21, 0)], float)


@pytest.mark.parametrize("block", [16384, 3])
@pytest.mark.parametrize(
    ("labels", "explained"),
    [("00011122", 0.9954164405), ("00011111", 0.6304203607), ("00000000", 0.0), ("01234567", 1.0)],
)
def test_explained_variance(labels, explained, block, monkeypatch):
    monkeypatch.setattr(kmeans, "BLOCK", block)
    found = explained_variance(POINTS, np.array([*map(int, labels)]))
    assert found == pytest.approx(explained, abs=1e-9)


def test_explained_variance_of_equal_rows_and_of_empty_clusters():
    assert explained_variance(np.ones((5, 2)), np.array([0, 0, 1, 1, 1])) == 1
    some = np.array([0, 0, 0, 4, 4, 4, 9, 9])
    assert explained_variance(POINTS, some) == pytest.approx(0.9954164405)


def test_a_finer_partition_never_explains_less():
    rng = np.random.default_rng(0)
    x, labels, last = rng.normal(size=(300, 5)), np.zeros(300, int), 0.0
    for _ in range(8):
        labels = np.unique(2 * labels + rng.integers(0, 2, 300), return_inverse=True)[1]
        assert last <= (last := explained_variance(x, labels)) <= 1
    assert last > 0.4


def test_elbow():
    ks = tuple(range(2000, 5001, 500))
    found = elbow.find(ks, [0.60, 0.671, 0.833, 0.855, 0.875, 0.893, 0.91])
    assert (found.bend, found.chord) == (3000, 3000)
    both = elbow.find(
        (1, 2, 3, 4, 5), [0, 0.4, 0.5, 0.75, 0.8]
    )  # by hand: .3 at 2, .2 at 2, .2 at 4
    assert (both.bend, both.chord) == (2, 2)
    late = elbow.find((1, 2, 3, 4, 5), [0, 0.4, 0.7, 0.9, 0.95])
    assert (late.bend, late.chord) == (
        4,
        3,
    )  # second differences .1, .1, .15; above the line .1625, .225, .1875


def test_grid():
    assert elbow.grid("1000:10000:500")[::9] == (1000, 5500, 10000)
    assert elbow.grid("2:9:3") == (2, 5, 8)
    for bad in ("1000", "a:b:c", "5:6:1", "0:4:1", "9:1:1", "1:9:0"):
        with pytest.raises(HistoError, match="is no grid of three k or more"):
            elbow.grid(bad)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    for seed, name in enumerate("abc"):
        feature_files.write(folder, name, seed)
    return open_table(folder)


def test_centres_and_labels_are_scikit_learns(table, tmp_path, monkeypatch):
    monkeypatch.setattr(kmeans, "BLOCK", 50)  # several, across files
    rows = table.rows(np.arange(table.n))
    with kmeans.matrix(table, tmp_path) as x:
        assert np.array_equal(x, rows) and not list(tmp_path.iterdir())
        found = kmeans.assign(x, kmeans.fit(x, 6, seed=3))
    plain = MiniBatchKMeans(6, batch_size=4096, init_size=12288, n_init=1, random_state=3).fit(rows)
    assert np.array_equal(found.labels, plain.labels_)
    np.testing.assert_array_equal(found.centres, plain.cluster_centers_)
    assert np.square(found.distances.astype(float)).sum() == pytest.approx(plain.inertia_, rel=1e-5)
    other = kmeans.fit(rows, 6, seed=4).cluster_centers_
    assert not np.array_equal(other, found.centres)


def test_many_steps_give_what_scikit_learn_gives(monkeypatch):
    monkeypatch.setattr(kmeans, "BATCH", 64)
    x = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    mine = kmeans.fit(x, 30, seed=0)
    plain = MiniBatchKMeans(30, batch_size=64, init_size=192, n_init=1, random_state=0).fit(x)
    assert mine.n_steps_ == plain.n_steps_ > 40
    assert np.array_equal(kmeans.assign(x, mine).labels, plain.labels_)


def test_clusters_are_the_kinds_of_tile(table, tmp_path):
    with kmeans.matrix(table, tmp_path) as x:
        found = kmeans.assign(x, kmeans.fit(x, 4, seed=0))
    kinds = np.concatenate([feature_files.kinds(seed).ravel() for seed in range(3)])
    pairs = {*zip(kinds, found.labels, strict=True)}
    assert len(pairs) == 4 and found.explained > 0.97 and found.sizes.sum() == table.n


def test_length_one(table, tmp_path):
    with kmeans.matrix(table, tmp_path, l2=True) as x:
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-6)


def test_one_file_is_read_where_it_lies(tmp_path):
    path = feature_files.write(tmp_path, "a")
    alone = open_table(path)
    with kmeans.matrix(alone, tmp_path / "out") as x:
        assert np.shares_memory(x, alone.slides[0].features)


def test_features_that_are_no_numbers_are_told_with_their_tile(tmp_path):
    x = np.zeros((3, 2), np.float32)
    x[1, 0] = np.nan
    store.write(tmp_path / "a.h5", feature_files.facts("a"), x, np.zeros((3, 2)), ["p", "q", "r"])
    with pytest.raises(
        HistoError, match=r"a\.h5: holds features that are not finite, of q for one"
    ):
        with kmeans.matrix(open_table(tmp_path), tmp_path / "out"):
            pass


def test_a_folder_that_cannot_be_written(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoError, match="cannot write"):
        with kmeans.matrix(table, tmp_path / "file"):
            pass


# What is picked.

FOUND = Clusters(
    labels=np.array([0, 1, 0, 0, 1, 0, 2, 0]),
    distances=np.array([3, 1, 1, 1, 0, 2, 5, 4], np.float32),
    centres=np.zeros((4, 2), np.float32),
    explained=0.5,
)


def test_nearest_first_ties_by_row_small_clusters_whole():
    assert sampling.nearest(FOUND, 3).tolist() == [2, 3, 5, 4, 1, 6]
    assert sampling.nearest(FOUND, 1, np.array([0, 2, 3])).tolist() == [2, 6]


def test_drawn_gives_equal_numbers_of_the_clusters_named():
    rows = sampling.drawn(FOUND, 2, np.array([0, 1]), seed=0)
    assert FOUND.labels[rows].tolist() == [0, 0, 1, 1] and len({*rows}) == 4
    seen = {tuple(sorted(sampling.drawn(FOUND, 2, np.array([0]), seed))) for seed in range(40)}
    assert len(seen) == 10  # every pair of five


def test_balanced_takes_clusters_in_turn():
    assert sorted(FOUND.labels[sampling.balanced(FOUND, 3, 0)]) == [0, 1, 2]
    assert FOUND.labels[sampling.balanced(FOUND, 6, 0)].tolist() == [0, 0, 0, 1, 1, 2]
    assert sorted(sampling.balanced(FOUND, 99, 0)) == [*range(8)]
