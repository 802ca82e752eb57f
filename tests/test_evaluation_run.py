"""`evaluate` from end to end on a made-up set: rows, files, refusals, determinism."""

import json
import types

import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.evaluation import (
    entrants,
    features,
    floors,
    labelled,
    linear,
    pretraining,
    report,
    run,
)
from histo_jax.models import build_encoder
from tests.labelled_sets import CARD, CLASSES, SIZE, config, prepared


@pytest.fixture
def world(monkeypatch):
    """Opens what the test puts in `world.set`; heads train for 5 epochs."""
    world = types.SimpleNamespace(set=prepared(), reads=[], size=SIZE)

    def read_images(opened, rows, image_size, batch_size):
        assert image_size == world.size
        world.reads.append(len(rows))
        for start in range(0, len(rows), batch_size):
            yield opened.images[rows[start : start + batch_size]]

    monkeypatch.setattr(run, "open_prepared", lambda data_dir, name: world.set)
    monkeypatch.setattr(features, "read_images", read_images)
    monkeypatch.setitem(linear.fit.__kwdefaults__, "epochs", 5)
    return world


@pytest.fixture(scope="module")
def loaded():
    params, stats = floors.random_init(build_encoder("resnet_tiny", width=8), seed=9)
    return types.SimpleNamespace(params=params, batch_stats=stats, card=CARD, path="run/7")


def test_targets_are_scored_and_classes_beside_them_are_strata(world):
    kind = (np.arange(96) // 4) % 3 == 0
    world.set = prepared(target=True, groups=False, label=kind.astype(np.int32))
    cfg = config(split_by=("paper",))
    found = labelled.labelled(world.set)
    assert found.classes is None
    (plan,) = labelled.plans(cfg, world.set, found)
    for part, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
        rows = plan.rows(part)
        assert abs(kind[rows].sum() - 32 * share) <= 2, part


def test_every_cell_is_there_once_and_the_file_is_the_return(world, loaded, tmp_path):
    result = run.evaluate(config(repeats=2), {"ssl": loaded}, None).report
    assert json.loads(report.write(tmp_path, result).read_text()) == result
    cells = [
        tuple(r[k] for k in ("init", "protocol", "split_by", "seed", "metric"))
        for r in result["scores"]
    ]
    everyone = ("linear", "knn20", "knn200")
    wanted = {
        (init, protocol, split_by, seed, metric)
        for init in ("ssl", *floors.FLOORS)
        for protocol in everyone
        + (("linear_raw", "linear_paper") if init in ("ssl", "random") else ())
        for split_by in ("paper", "grouped")
        for seed in (0, 1)
        for metric in ("macro_f1", "accuracy", "balanced_accuracy")
    }
    assert len(cells) == len(set(cells)) and set(cells) == wanted
    for r in result["scores"]:
        assert 0 <= r["ci"][0] <= r["ci"][1] <= 1 and r["n"] >= r["n_groups"] > 1
        assert r["split"] == "test" and r["fraction"] == 1.0
        assert (r["layer"] is None) == (r["init"] in floors.PIXELS)
    assert len(result["per_class"]) == len(cells)  # three metrics, three classes
    assert {r["class"] for r in result["per_class"]} == set(CLASSES)
    assert {c["learning_rate"] for c in result["choices"]} <= set(linear.RATES)
    assert all(c["updates"] == c["epoch"] for c in result["choices"])  # one batch an epoch
    assert world.reads == [96]  # decoded once
    text = report.table(result)
    assert "strongest floor" in text and "96 of them were in pretraining" in text
    # Colour is the class here: a histogram must find it, and the report must say so.
    value = {c[:5]: r["value"] for c, r in zip(cells, result["scores"], strict=True)}
    assert value["colour_histogram", "knn20", "grouped", 0, "macro_f1"] == 1.0


def test_two_runs_are_equal(world, loaded):
    one = config(init=("random", "random_calibrated"), split_by=("grouped",))
    results = [run.evaluate(one, {"ssl": loaded}, None).report for _ in "ab"]
    assert results[0] == results[1]


def test_floors_alone_need_no_encoder(world, monkeypatch):
    monkeypatch.setattr(entrants, "UNTRAINED", entrants.UNTRAINED | CARD)
    result = run.evaluate(config(init=("random", "mean_rgb")), {}, None).report
    assert {r["init"] for r in result["scores"]} == {"random", "mean_rgb"}
    assert result["card"] is None


def test_targets_give_regression(world, loaded):
    world.set = prepared(target=True)
    result = run.evaluate(config(init=("mean_rgb",)), {"ssl": loaded}, None).report
    assert {r["metric"] for r in result["scores"]} == {"l1"} and result["per_class"] == []
    assert {r["protocol"] for r in result["scores"]} == {
        "regression", "regression_raw", "regression_paper", "knn20", "knn200",
    }  # fmt: skip
    near = [r for r in result["scores"] if r["init"] == "mean_rgb" and r["protocol"] == "knn20"]
    assert all(r["value"] < 5 for r in near)  # colour gives the target away


def test_unlabelled_rows_are_left_out(world, loaded):
    label = world.set.table["label"].copy()
    label[:12] = -1
    world.set = prepared(label=label)
    result = run.evaluate(config(init=(), split_by=("paper",)), {"ssl": loaded}, None).report
    assert result["data"]["n"] == 84 and world.reads == [84]


def test_official_split_replaces_the_drawn_ones(world, loaded):
    split = np.repeat(["train", "validation", "test"], [48, 24, 24])
    world.set = prepared(split=split)
    result = run.evaluate(config(init=()), {"ssl": loaded}, None).report
    assert {(r["split_by"], r["n"], r["n_groups"]) for r in result["scores"]} == {
        ("official", 24, 6)
    }


def test_without_ids_grouped_is_absent(world, loaded):
    world.set = prepared(groups=False)
    result = run.evaluate(config(init=()), {"ssl": loaded}, None).report
    assert {r["split_by"] for r in result["scores"]} == {"paper"}
    with pytest.raises(HistoError) as error:
        run.evaluate(config(init=(), split_by=("grouped",)), {"ssl": loaded}, None)
    assert error.value.reason == "no-groups"


def test_images_of_pretraining_are_counted_by_their_bytes(world, loaded, monkeypatch):
    """Another set, without labels, of 20 of the same images; one that isn't here; one rebuilt."""
    sha256 = world.set.table["sha256"]
    patches = types.SimpleNamespace(
        card={"content_hash": "patches"},
        table={"sha256": sha256[:20]},
        rows=lambda _: np.arange(20),
    )
    here = {"histo_patches/lab": patches, "histo_wsi/rebuilt": patches}

    def open_prepared(_, name):
        if name not in here:
            raise HistoError(name, "no-set", "no such prepared set")
        return here[name]

    monkeypatch.setattr(pretraining, "open_prepared", open_prepared)
    card = CARD | {"datasets": [
        {"name": "histo_patches/lab", "n": 20, "content_hash": "patches"},
        {"name": "histo_wsi/gone", "n": 9, "content_hash": "gone"},
        {"name": "histo_wsi/rebuilt", "n": 9, "content_hash": "as it was"},
    ]}  # fmt: skip
    other = types.SimpleNamespace(**vars(loaded) | {"card": card})
    result = run.evaluate(config(init=(), split_by=("paper",)), {"ssl": other}, None).report
    unknown = ["histo_wsi/gone", "histo_wsi/rebuilt"]
    assert result["data"]["pretrained_on"] == {"images": 20, "unknown": unknown}
    text = report.table(result)
    assert "20 of them were in pretraining" in text and "histo_wsi/gone had them" in text


def few(label):
    """The third class has one image."""
    label = np.where(label == 2, 0, label)
    label[0] = 2
    return label


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": few(prepared().table["label"])}, "class-absent"),
        ({"label": np.full(96, -1)}, "no-labels"),
        ({"label": np.full(96, 5)}, "label"),
        ({"label": np.full(96, 1)}, "class-absent"),
        ({"split": np.repeat(["train", "test"], [46, 50])}, "split-leak"),
    ],
)
def test_sets_that_cannot_be_scored_are_refused_before_any_read(world, loaded, change, reason):
    world.set = prepared(**change)
    with pytest.raises(HistoError) as error:
        run.evaluate(config(), {"ssl": loaded}, None)
    assert error.value.reason == reason and error.value.remedy and not world.reads


def test_one_target_for_all_is_refused(world, loaded):
    world.set = prepared(target=True)
    world.set.table["target"] = np.full(96, 50.0, np.float32)
    with pytest.raises(HistoError, match="every target is 50"):
        run.evaluate(config(), {"ssl": loaded}, None)


@pytest.mark.parametrize("scale", [1 / 100, -1, 2])
def test_targets_that_are_not_percent_are_refused(world, loaded, scale):
    target = prepared(target=True).table["target"] * scale
    world.set = prepared(target=True)
    world.set.table["target"] = target
    with pytest.raises(HistoError, match=r"wanted percent"):
        run.evaluate(config(), {"ssl": loaded}, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("layer", "layer5"), ("init", ("imagenot",)), ("split_by", ("slide",)), ("dataset", ""),
     ("protocol", ("nonsense",)), ("repeats", 0), ("shift", (2.0,)), ("fractions", (0,)),
     ("fractions", ("all",))],
)  # fmt: skip
def test_unknown_options_are_refused(world, loaded, field, value):
    with pytest.raises(HistoError) as error:
        run.evaluate(config(**{field: value}), {"ssl": loaded}, None)
    assert field in str(error.value) and not world.reads


def test_weights_of_another_network_are_refused(world, loaded):
    other = types.SimpleNamespace(**vars(loaded) | {"card": CARD | {"width": 4}})
    with pytest.raises(HistoError, match=r"run/7: another network.*bn1\.mean: float32\(8,\)"):
        run.evaluate(config(), {"ssl": other}, None)
    assert not world.reads


def test_real_nuclei(world, real_data, monkeypatch):
    """81 stained images, nuclear area in percent: texture must say more than the mean does."""
    from PIL import Image

    folder = real_data / "dsb2018_brightfield"
    files = sorted((folder / "images").glob("*.png"))
    assert files
    images, area = [], []
    for file in files:
        images.append(np.asarray(Image.open(file).convert("RGB").resize((SIZE * 6, SIZE * 6))))
        mask = np.asarray(Image.open(folder / "instance_mask_png" / file.name))
        area.append(100 * (mask > 0).mean())
    n = len(files)
    world.set = prepared(n=n, target=True, groups=False)
    world.set.table |= {"target": np.array(area, np.float32)}
    world.set.images, world.size = np.stack(images), SIZE * 6
    monkeypatch.setitem(linear.fit.__kwdefaults__, "epochs", linear.EPOCHS)
    only = config(init=("texture", "mean_rgb"), repeats=3, image_size=SIZE * 6)
    result = run.evaluate(only, {}, None).report
    rows = report.summarise(result)
    value = {(r["init"], r["protocol"]): r["value"] for r in rows}
    constant = np.abs(np.array(area) - np.mean(area)).mean()
    assert max(value["texture", "knn20"], value["texture", "regression"]) < constant


def test_shuffled_labels_are_near_chance(world, loaded):
    """Nothing of the test part may reach the heads: with labels drawn at random none can win."""
    label = np.random.default_rng(1).permutation(np.arange(480) % 3)
    world.set = prepared(n=480, groups=False, label=label)
    result = run.evaluate(
        config(init=("texture", "colour_histogram")), {"ssl": loaded}, None
    ).report
    values = [r["value"] for r in result["scores"] if r["metric"] == "accuracy"]
    assert 0.2 < min(values) and max(values) < 0.5
