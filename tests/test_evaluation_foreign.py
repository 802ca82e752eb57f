"""What may stand behind `--checkpoint`, and how the same table holds all of it."""

import types

import h5py
import numpy as np
import pytest
import safetensors.numpy

from histo_jax import weights
from histo_jax.errors import HistoError
from histo_jax.evaluation import entrants, floors, foreign, report, run
from histo_jax.models import build_encoder
from tests.labelled_sets import CARD, SIZE, config, prepared
from tests.test_evaluation_run import world  # noqa: F401 (a fixture)


def features_file(path, names, **changes):
    x = np.random.default_rng(0).normal(size=(len(names), 6)).astype(np.float32)
    held = {"features": x, "keys": [str(name) for name in names]} | changes
    with h5py.File(path, "w") as file:
        for name, value in held.items():
            file[name] = value
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny encoder as a file of ours."""
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    params, stats = floors.random_init(build_encoder("resnet_tiny", width=8), seed=4)
    weights.save(params, stats, CARD | {"mpp": None}, path)
    return path


def test_sources_are_named_in_their_order(exported, tmp_path):
    theirs = features_file(tmp_path / "theirs.h5", ["a", "b"])
    found, untrained = foreign.open_sources(
        [f"{exported}", f"again={exported}", f"{theirs}", "random:resnet50"]
    )
    assert list(found) == ["ssl", "again", "theirs"] and untrained == "resnet50"
    assert isinstance(found["theirs"], foreign.Given) and found["ssl"].card["width"] == 8
    plain = tmp_path / "plain.safetensors"
    safetensors.numpy.save_file(_bare(exported), plain)
    known, _ = foreign.open_sources([f"imagenet:{plain}", f"imagenet:{plain}"])
    assert list(known) == ["imagenet", "imagenet:resnet_tiny"] and all(map(report.is_floor, known))
    assert known["imagenet"].card["mean"][0] == 0.485
    assert foreign.open_sources([]) == ({}, None) and foreign.open_sources(["random"])[1]
    alone, _ = foreign.open_sources([f"{theirs}", f"{exported}"])
    assert list(alone) == ["theirs", "mine"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["{file}", "ssl={file}"], "two sources are called 'ssl'"),
        (["random:resnet51"], "known: resnet18"),
        (["nowhere/at/all"], "no such folder"),
        (["{folder}/gone.h5"], "is no HDF5 file"),
    ],
)
def test_sources_that_cannot_be_are_one_line(exported, tmp_path, texts, words):
    with pytest.raises(HistoError, match=words):
        foreign.open_sources([t.format(file=exported, folder=tmp_path) for t in texts])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": np.zeros((2, 3), np.int32)}, "has features int32"),
        ({"features": np.zeros((3, 3))}, "keys .2."),
        ({"features": np.full((2, 3), np.nan)}, "not finite"),
        ({"keys": ["a", "a"]}, "names a key twice"),
        ({"keys": np.arange(2)}, "is no HDF5 file of features and keys"),
    ],
)
def test_feature_files_that_do_not_fit_are_refused(tmp_path, changes, words):
    path = features_file(tmp_path / "x.h5", ["a", "b"], **changes)
    with pytest.raises(HistoError, match=words) as error:
        foreign.read_features(path)
    assert error.value.reason == "features"


def test_features_are_matched_by_key(tmp_path):
    given = foreign.read_features(features_file(tmp_path / "x.h5", ["a", "b", "c"]))
    asked = given.of(np.array(["c", "a"]))
    np.testing.assert_array_equal(asked, given.features[[2, 0]])
    with pytest.raises(HistoError, match=r"lacks 1 of 2 labelled images, e\.g\. d"):
        given.of(np.array(["a", "d"]))


@pytest.mark.slow
def test_everybody_stands_in_one_table(world, exported, tmp_path):  # noqa: F811
    """A file of ours, features of others, an ImageNet floor, untrained networks of two kinds."""
    world.set = prepared()
    theirs = features_file(tmp_path / "theirs.h5", world.set.table["key"])
    sources, _ = foreign.open_sources([f"{exported}", f"{theirs}"])
    wide, stats = floors.random_init(build_encoder("resnet_tiny", width=4), seed=4)
    card = CARD | {"encoder": "resnet_tiny", "width": 4, "mean": [0.4] * 3}
    sources["imagenet"] = types.SimpleNamespace(params=wide, batch_stats=stats, card=card, path="x")
    cfg = config(init=("random", "mean_rgb"), protocol=("linear",), split_by=("grouped",))
    result = run.evaluate(cfg, sources, None).report
    summary = report.summarise(result)
    assert {row["init"] for row in summary} == {
        "ssl", "theirs", "imagenet", "random", "random:resnet_tiny", "mean_rgb",
    }  # fmt: skip
    assert {d["ssl"]["init"] for d in report.duels(summary)} == {"ssl", "theirs"}
    assert set(result["encoders"]) == set(sources) and result["card"]["width"] == 8
    assert {row["init"] for row in result["confusion"]} == {"ssl", "theirs"}
    layers = {row["init"]: row["layer"] for row in result["scores"]}
    assert layers["ssl"] == "pooled" and layers["theirs"] is None


def test_a_file_scores_as_the_run_it_came_from(world, exported):  # noqa: F811
    world.set = prepared()
    params, stats = floors.random_init(build_encoder("resnet_tiny", width=8), seed=4)
    own = types.SimpleNamespace(params=params, batch_stats=stats, card=CARD, path="run/7")
    cfg = config(init=("mean_rgb",), split_by=("paper",))
    (loaded,) = foreign.open_sources([f"{exported}"])[0].values()
    first, second = (run.evaluate(cfg, {"ssl": s}, None).report["scores"] for s in (own, loaded))
    assert first == second


def test_the_architecture_of_the_floor_alone_can_be_named(world, monkeypatch):  # noqa: F811
    world.set = prepared()
    small = entrants.UNTRAINED | {"width": 8, "image_size": SIZE}
    monkeypatch.setattr(entrants, "UNTRAINED", small)
    cfg = config(init=("random",), protocol=("knn",), split_by=("paper",))
    (entrant,) = entrants.entrants(
        cfg.init,
        {},
        entrants.Images(cfg, world.set, _found(world.set)),
        _found(world.set),
        "resnet_tiny",
    )
    assert entrant.name == "random" and entrant.card["encoder"] == "resnet_tiny"


def _bare(path):
    """Arrays of a file of ours, as others' files have them: without a card."""
    return safetensors.numpy.load_file(path)


def _found(opened):
    from histo_jax.evaluation.labelled import labelled

    return labelled(opened)
