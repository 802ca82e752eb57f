"""`slide_mean`: one example a slide, on made-up sets, on drawn slides, and by the command."""

import h5py
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from histo_jax.errors import HistoError
from histo_jax.evaluation import (
    entrants,
    floors,
    labelled,
    linear,
    logistic,
    report,
    run,
    slide_mean,
    splits,
)
from tests import commands, folder_builders
from tests.labelled_sets import CARD, SIZE, config, prepared
from tests.test_evaluation_run import world as world  # a fixture

N = 96  # images: four a patient, two a slide
SLIDES = np.array([f"s{i // 2}" for i in range(N)])


def found_in(**columns):
    one = prepared(**{"slide": SLIDES} | columns)
    return one, labelled.labelled(one)


def test_the_mean_is_over_the_tiles_of_each_slide_wherever_they_lie():
    rng = np.random.default_rng(0)
    _, found = found_in(slide=SLIDES[rng.permutation(N)], patient=np.full(N, ""))
    x = rng.normal(size=(N, 5)).astype(np.float32) + 1e3
    seen = slide_mean.slides(found)
    for number, row in enumerate(seen.mean(x)):
        slide = found.slides[seen.first[number]]
        np.testing.assert_allclose(row, x[found.slides == slide].mean(0, dtype=np.float64), 1e-6)
    assert len(seen.first) == N // 2


def test_slides_are_where_their_tiles_are_and_labels_are_drawn_among_slides():
    one, found = found_in()
    cfg = config(split_by=("grouped",), fractions=(0.5, 1.0))
    half, whole = labelled.plans(cfg, one, found)
    seen = slide_mean.slides(found)
    parts, drawn = seen.parts(whole, found), seen.parts(half, found)
    for slide, part in enumerate(parts):
        assert set(whole.parts[seen.of == slide]) == {part}
    train = parts == 0
    assert (drawn[~train] == parts[~train]).all()
    assert set(drawn[train]) == {0, splits.UNUSED}
    for c in range(3):
        of_class = train & (found.truth[seen.first] == c)
        assert (drawn[of_class] == 0).sum() == of_class.sum() / 2


def test_it_is_logistic_regression_on_the_means(world):
    world.set = prepared(slide=SLIDES)
    cfg = config(
        image_size=SIZE, init=("mean_rgb",), protocol=("slide_mean",), split_by=("grouped",)
    )
    result = run.evaluate(cfg, {}, None).report
    x = world.set.images.mean((1, 2), dtype=np.float64).reshape(-1, 2, 3).mean(1) / 255
    found = labelled.labelled(world.set)
    (plan,) = labelled.plans(cfg, world.set, found)
    rows = [plan.rows(part)[::2] // 2 for part in splits.PARTS]
    truth = found.truth[::2]
    parts = linear.standardise(*(x[r] for r in rows))
    with threadpool_limits(1):
        said, choice = logistic.fit(parts, [truth[r] for r in rows], 3, 0)
    (f1,) = (row for row in result["scores"] if row["metric"] == "macro_f1")
    accuracy = next(row["value"] for row in result["scores"] if row["metric"] == "accuracy")
    assert accuracy == (said.argmax(1) == truth[rows[2]]).mean()
    assert result["choices"][0]["weight"] == choice["weight"]
    groups = len(np.unique(found.groups[plan.rows("test")]))
    assert (f1["n"], f1["n_groups"], f1["n_train"]) == (len(rows[2]), groups, len(rows[0]))
    assert f1["ci"][0] <= f1["value"] <= f1["ci"][1]


def test_shuffled_labels_score_like_guessing(world):
    """No tile tells on its slide: what is told about test slides is not known from training."""
    label = np.random.default_rng(3).integers(0, 3, N // 4).repeat(4)
    world.set = prepared(label=label, slide=SLIDES)
    cfg = config(
        image_size=SIZE,
        init=("mean_rgb",),
        protocol=("slide_mean",),
        split_by=("grouped",),
        repeats=5,
    )
    result = run.evaluate(cfg, {}, None).report
    values = [row["value"] for row in result["scores"] if row["metric"] == "accuracy"]
    assert abs(np.mean(values) - 1 / 3) < 0.2


def test_it_stands_beside_the_others_and_scores_no_torn_slide(world, monkeypatch, quick_compile):
    monkeypatch.setattr(entrants, "UNTRAINED", entrants.UNTRAINED | CARD)
    world.set = prepared(slide=SLIDES)
    result = run.evaluate(config(protocol=("knn", "slide_mean")), {}, None).report
    where = {(row["protocol"], row["split_by"]) for row in result["scores"]}
    assert where == {("knn20", "paper"), ("knn20", "grouped"), ("knn200", "paper"),
                     ("knn200", "grouped"), ("slide_mean", "grouped")}  # fmt: skip
    of_slides = {row["init"] for row in result["scores"] if row["protocol"] == "slide_mean"}
    assert of_slides == set(floors.FLOORS)  # the floors are pooled and scored alike
    text = report.table(result)
    assert "slide_mean (macro-F1; test 12 slides; mean" in text
    assert "split grouped: test 24 images, 6 groups" in text


def test_the_page_speaks_of_slides(world):
    from histo_jax.evaluation.page import story

    world.set = prepared(slide=SLIDES)
    cfg = config(
        image_size=SIZE, init=("mean_rgb",), protocol=("slide_mean",), split_by=("grouped",)
    )
    result = run.evaluate(cfg, {}, None).report
    told = story.question(result)
    assert "half of the slides of b/c" in told and "12 other slides, of patients" in told
    assert "test 12 slides, 6 groups" in report.table(result)


def test_targets_of_slides_are_estimated(world):
    world.set = prepared(target=True, slide=SLIDES)
    cfg = config(
        image_size=SIZE, init=("mean_rgb",), protocol=("slide_mean",), split_by=("grouped",)
    )
    (row,) = run.evaluate(cfg, {}, None).report["scores"]
    assert row["metric"] == "l1" and row["value"] < 5 and row["n"] == 12


@pytest.mark.parametrize(
    ("columns", "cfg", "reason", "words"),
    [
        ({"slide": np.full(N, "")}, {}, "no-groups", "unknown of 96 of 96"),
        ({"slide": np.where(np.arange(N) < 9, "", SLIDES)}, {}, "no-groups", "unknown of 9 of 96"),
        ({"slide": np.array([f"s{i // 8}" for i in range(N)])}, {}, "slide-labels", "s0 has several"),
        ({}, {"split_by": ("paper",)}, "config", "tears the slides apart"),
    ],
)  # fmt: skip
def test_sets_without_slides_or_with_labels_of_tiles_are_refused(
    world, columns, cfg, reason, words
):
    world.set = prepared(**{"slide": SLIDES} | columns)
    with pytest.raises(HistoError, match=words) as error:
        run.evaluate(
            config(image_size=SIZE, init=("mean_rgb",), protocol=("slide_mean",), **cfg), {}, None
        )
    assert error.value.reason == reason and error.value.remedy and not world.reads


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twelve drawn slides of six patients, two classes, four tiles each; labels in slides.csv."""
    from histo_jax.data.drawn import slides, stain

    folder, data = tmp_path_factory.mktemp("slides"), tmp_path_factory.mktemp("data")
    lines = ["file,patient,label"]
    for number in range(12):
        kind = ("stroma", "tumour_glands")[number % 2]
        patient, rng = stain.draw_patient(0, number // 2), np.random.default_rng(number)
        canvas = slides.canvas_of(kind, 256, patient, rng)
        image = stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)
        slides.write_slide(folder / f"{number}.tif", image)
        lines.append(f"{number}.tif,p{number // 2},{kind}")
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    options = {"name": "d", "mpp": 1.0, "tile_size": 64, "tissue": "none", "workers": 1}
    return folder_builders.build("histo_wsi", folder, data, **options), data


def features_file(made, path):
    """Mean colours, as another program might hand them over."""
    images = {key: r["image"] for key, r in folder_builders.decoded(made).items()}
    keys = sorted(images)
    with h5py.File(path, "w") as file:
        file["features"] = floors.mean_rgb(np.stack([images[key] for key in keys]))
        file["keys"] = keys
    return path


@pytest.mark.slow
def test_drawn_slides_by_the_command(drawn, tmp_path):
    made, data = drawn
    given = features_file(made, tmp_path / "theirs.h5")
    done = commands.evaluate(
        "--config", "configs/slides.py", "--checkpoint", f"theirs={given}", f"--config.data.dir={data}",
        "--config.dataset=histo_wsi/d", "--config.image_size=64", "--out", tmp_path / "out",
        "--config.init=('mean_rgb','texture')", "--config.repeats=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    import json

    scores = json.loads((tmp_path / "out/report.json").read_text())["scores"]
    of = {(r["init"], r["metric"], r["seed"]): r["value"] for r in scores}
    assert {init for init, _, _ in of} == {"theirs", "mean_rgb", "texture"}
    for (init, metric, seed), value in of.items():  # a file of features is scored as who made them
        if init == "theirs":
            assert value == of["mean_rgb", metric, seed]
    page = (tmp_path / "out/report.html").read_text()
    assert "half of the slides of histo_wsi/d" in page
