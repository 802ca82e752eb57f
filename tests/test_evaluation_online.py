"""The online probe: right numbers, the same each time, never of the test part."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from histo_jax import config as options
from histo_jax.errors import HistoError
from histo_jax.evaluation import features, floors, knn, linear, metrics, online
from histo_jax.models import build_encoder
from tests.test_evaluation_run import SIZE, prepared

pytestmark = pytest.mark.usefixtures("quick_compile")


def config(dataset="b/c", seed=0) -> options.Config:
    values = {
        "seed": seed,
        "data": {"image_size": SIZE},
        "model": {"encoder": "resnet_tiny", "width": 8},
        "probe": {"dataset": dataset},
    }
    return options.from_values(options.Config, values)


@pytest.fixture
def world(monkeypatch):
    """Opens what the test puts in `world.set`; remembers which rows were read."""
    world = types.SimpleNamespace(set=prepared(), rows=[])

    def read_images(opened, rows, image_size, batch_size):
        assert image_size == SIZE
        world.rows.extend(rows.tolist())
        for start in range(0, len(rows), batch_size):
            yield opened.images[rows[start : start + batch_size]]

    monkeypatch.setattr(online, "open_prepared", lambda data_dir, name: world.set)
    monkeypatch.setattr(online, "read_images", read_images)
    return world


@pytest.fixture(scope="module")
def encoder():
    return floors.random_init(build_encoder("resnet_tiny", width=8), seed=9)


def by_hand(world, encoder):
    """Truth and features of the two parts, by the functions of the report."""
    found = online.labelled(world.set)
    split = ("grouped",) if found.has_ids else ("paper",)
    cfg = options.EvalConfig(seed=0, split_by=split, repeats=1)
    (plan,) = online.plans(cfg, world.set, found)
    network = features.Network(build_encoder("resnet_tiny", width=8), (0.5,) * 3, (0.5,) * 3)
    x = features.extract(network, "pooled", *encoder, [world.set.images[found.rows]], 96)
    train, validation = plan.rows("train"), plan.rows("validation")
    near, at = knn.neighbours(*linear.standardise(x[train], x[validation]), 20)
    return near, found.truth[train][at], found.truth[validation], plan


def test_classes(world, encoder):
    probe = online.make_probe(config())
    near, said, truth, plan = by_hand(world, encoder)
    counts = metrics.confusion(truth, knn.vote(near, said, 3).argmax(1), 3)
    assert probe(*encoder) == {"knn": pytest.approx(metrics.macro_f1(counts), abs=1e-12)}
    assert probe(*encoder) == online.make_probe(config())(*encoder)
    assert set(world.rows) == {*plan.rows("train"), *plan.rows("validation")}


def test_targets(world, encoder):
    world.set = prepared(target=True)
    near, said, truth, _ = by_hand(world, encoder)
    error = np.abs(knn.average(near, said) - truth).mean()
    assert online.make_probe(config())(*encoder) == {"knn_l1": pytest.approx(error, abs=1e-9)}


def test_without_ids_the_split_is_the_papers(world, encoder):
    world.set = prepared(groups=False)
    probe = online.make_probe(config())
    near, said, truth, plan = by_hand(world, encoder)
    counts = metrics.confusion(truth, knn.vote(near, said, 3).argmax(1), 3)
    assert plan.split_by == "paper"
    assert probe(*encoder) == {"knn": pytest.approx(metrics.macro_f1(counts), abs=1e-12)}


def test_an_official_test_part_is_never_read(world, encoder):
    patient = np.arange(96) // 4
    split = np.where(patient % 4 == 3, "test", "train")
    world.set = prepared(split=split)
    online.make_probe(config())(*encoder)
    assert world.rows and not set(world.rows) & set(np.flatnonzero(split == "test"))


def test_a_large_set_is_sampled_by_the_seed(world, encoder, monkeypatch):
    monkeypatch.setattr(online, "TRAIN", 12)
    monkeypatch.setattr(online, "VALIDATION", 8)
    seen = []
    for seed in (0, 0, 1):
        world.rows.clear()
        (value,) = online.make_probe(config(seed=seed))(*encoder).values()
        assert 0 <= value <= 1
        seen.append(tuple(world.rows))
    assert len(seen[0]) == 20 and seen[0] == seen[1] != seen[2]


def test_it_learns_nothing_and_compiles_once(world, encoder, monkeypatch):
    before = jax.tree.map(np.copy, encoder)
    probe = online.make_probe(config())
    probe(*encoder)
    size, read = features._forward._cache_size(), len(world.rows)
    probe(*jax.tree.map(lambda x: x * np.float32(1.5), encoder))
    assert features._forward._cache_size() == size
    assert len(world.rows) == read  # the images were read at the start
    jax.tree.map(np.testing.assert_array_equal, before, encoder)


def test_no_set_no_probe():
    assert online.make_probe(config(dataset=None)) is None


def test_a_set_that_cannot_be_probed_is_refused_at_once(world, tmp_path, monkeypatch):
    del world.set.table["label"]
    with pytest.raises(HistoError, match="holds no label and no target"):
        online.make_probe(config())
    monkeypatch.undo()
    cfg = config()
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, dir=str(tmp_path)))
    with pytest.raises(HistoError, match="b/c: no such prepared set"):
        online.make_probe(cfg)
