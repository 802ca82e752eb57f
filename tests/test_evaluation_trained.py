"""Fine-tuning and masks from the options to the page, on made-up sets."""

import json
import types

import numpy as np
import pytest

from histo_jax.config import Segment, Supervised
from histo_jax.errors import HistoError
from histo_jax.evaluation import entrants, floors, publish, report, run
from histo_jax.models import build_encoder
from tests import browser
from tests.labelled_sets import CARD, config, prepared
from tests.test_evaluation_run import world  # noqa: F401 (a fixture)
from tests.test_evaluation_segment import disk, made_up

SHORT = Supervised(epochs=2, batch_size=8, learning_rate=1e-2)
INITS = ("random", "constant", "otsu", "colour_pixels")


def loaded(size=32, name="run"):
    params, stats = floors.random_init(build_encoder("resnet_tiny", width=8), seed=9)
    card = CARD | {"image_size": size, "datasets": []}
    return types.SimpleNamespace(params=params, batch_stats=stats, card=card, path=f"{name}/7")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory, quick_compile):
    """A set of discs, two encoders and every floor; the evaluation and its page."""
    with pytest.MonkeyPatch.context() as patch:
        disk.__wrapped__(patch)
        opened = made_up(n=24)
        opened.card = {"content_hash": "abc", "classes": None}
        patch.setattr(run, "open_prepared", lambda *_: opened)
        patch.setattr(entrants, "UNTRAINED", entrants.UNTRAINED | CARD | {"image_size": 32})
        cfg = config(
            protocol=("segment",), init=INITS, split_by=("grouped",), supervised=SHORT,
            segment=Segment(class_weights=True, dice=True), repeats=2,
        )  # fmt: skip
        done = run.evaluate(cfg, {"ssl": loaded()}, None)
        (page,) = publish.publish(done, tmp_path_factory.mktemp("segmented"))
    return done, page


def test_everybody_is_scored_on_all_pixels(segmented):
    done, page = segmented
    result = done.report
    assert json.loads(page.with_name("report.json").read_text()) == result
    cells = {(r["init"], r["seed"], r["metric"]) for r in result["scores"]}
    metrics = ("macro_f1", "macro_f1_per_image")
    assert cells == {(i, s, m) for i in ("ssl", *INITS) for s in (0, 1) for m in metrics}
    value = {row["init"]: row["value"] for row in report.summarise(result)}
    assert value["constant"] < 0.5 < value["otsu"]  # colour is the class here
    assert {r["class"] for r in result["per_class"]} == {"background", "foreground"}
    assert result["data"]["classes"] == ["background", "foreground"] and result["data"]["n"] == 24
    assert {c["init"] for c in result["choices"]} == {"ssl", "random", "otsu", "colour_pixels"}
    assert [d["best"]["init"] for d in report.duels(report.summarise(result))] == ["otsu"] or value[
        "colour_pixels"
    ] >= value["otsu"]


def test_the_page_shows_masks_beside_answers(segmented):
    _, page = segmented
    text = page.read_text()
    assert 'section id="masks"' in text and "trained with the masks" in text
    assert text.count('alt="mask and prediction"') >= 5 * 4
    assert "guessing at most" not in text


@pytest.mark.parametrize("width", [1200])
def test_a_browser_finds_nothing_amiss(segmented, width):
    browser.assert_readable(segmented[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": ("segment", "linear")}, "config.protocol: is 'linear'"),
        ({"protocol": ("segment",), "init": ("texture",)}, "config.init: is 'texture'"),
        ({"protocol": ("linear",), "init": ("otsu",)}, "config.init: is 'otsu'"),
    ],
)
def test_floors_that_do_not_fit_are_refused(world, changes, words):  # noqa: F811
    with pytest.raises(HistoError, match=words):
        run.evaluate(config(**changes), {}, None)


@pytest.mark.slow
def test_features_from_a_file_have_no_network_to_train(world, quick_compile):  # noqa: F811
    """Fine-tuning scores networks, and leaves out who is none."""
    world.set = prepared()
    cfg = config(
        protocol=("knn", "finetune"), init=("random", "random_calibrated", "mean_rgb"),
        split_by=("grouped",), supervised=SHORT,
    )  # fmt: skip
    result = run.evaluate(cfg, {"ssl": loaded(16)}, None).report
    tuned = {r["init"] for r in result["scores"] if r["protocol"] == "finetune"}
    assert tuned == {"ssl", "random"}
    chosen = [c for c in result["choices"] if c["protocol"] == "finetune"]
    assert all(1 <= c["epoch"] <= 2 and c["learning_rate"] == 1e-2 for c in chosen)
    assert report.head(report.summarise(result)) == "knn20"


def test_fine_tuning_with_few_labels_trains_on_those_alone(world, monkeypatch, quick_compile):  # noqa: F811
    world.set = prepared()
    seen = []
    monkeypatch.setattr(
        run.finetune, "run", lambda *args, **_: seen.append(args[4].rows("train")) or _none(args)
    )
    cfg = config(
        protocol=("finetune",), init=("random",), split_by=("paper",), fractions=(0.25, 1.0),
        one_split=True,
    )  # fmt: skip
    result = run.evaluate(cfg, {"ssl": loaded(16)}, None).report
    assert [len(rows) for rows in seen] == [12, 48, 12, 48]
    assert set(seen[0]) < set(seen[1])
    assert {r["n_train"] for r in result["scores"]} == {12, 48}


def _none(args):
    from histo_jax.evaluation.protocols import Outcome

    plan, found = args[4], args[5]
    return Outcome("finetune", np.eye(3)[found.truth[plan.rows("test")]])
