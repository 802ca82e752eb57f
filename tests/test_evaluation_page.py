"""The page: every section, hostile names, what is absent; opened in a browser; where it goes."""

import dataclasses
import html
import json
import re
import shlex
import types

import numpy as np
import pytest

from histo_jax import config as options
from histo_jax.config import Config
from histo_jax.errors import HistoError
from histo_jax.evaluation import entrants, features, floors, linear, page, publish, report, run
from histo_jax.evaluation.page import (
    feature_map,
    figures,
    neighbours,
    reproduce,
    story,
    tasks,
    views,
)
from histo_jax.models import build_encoder
from histo_jax.objectives import OBJECTIVES
from histo_jax.training.card import as_dict
from tests import browser, commands
from tests.labelled_sets import CARD, SIZE, config, prepared

SCRIPT = "<script>alert('%s')</script>"
HOSTILE = (SCRIPT % "class", "tümör & 組織 $x^2$", '"{{ 7 * 7 }}\\">')
PATIENT = "<img src=x onerror=alert(1)>"
STEP = 7


def hostile(**kind):
    """A set whose every name is an attack, or at least not ASCII."""
    found = prepared(**kind)
    found.name = "histo_demo/" + SCRIPT % "set"
    patient = found.table["patient"]
    found.table["patient"] = np.array([PATIENT + str(p) if p else "" for p in patient.tolist()])
    if not kind.get("target"):
        found.card["classes"] = list(HOSTILE)
    found.card |= {
        "builder": "histo_demo", "config": SCRIPT % "config", "options": {"pseudonymise": False},
        "summary": {"files": 5, "read": 3, "skipped": {"html": 2}, "tiles": {"kept": 96}},
    }  # fmt: skip
    return found


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, quick_compile):
    """`evaluated(kind)` scores a hostile set once: classes, target, floors (no encoder)."""
    workdir = tmp_path_factory.mktemp("wörk") / "run & co"
    (workdir / "checkpoints").mkdir(parents=True)
    curve = [
        {"step": s, "epoch": s, "loss": 3.4 - s / 9, "top1": s / 9, "alignment": 1.0,
         "uniformity": -2.0, "learning_rate": 0.1, "knn": 0.5 if s % 2 else None}
        for s in range(1, 10)
    ]  # fmt: skip
    timing = [{"step": s, "images_per_s": 0.5} for s in range(1, 10)]
    for name, lines in (("metrics", curve), ("timing", timing)):
        (workdir / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    params, stats = floors.random_init(build_encoder("resnet_tiny", width=8), seed=9)
    trained = as_dict(dataclasses.replace(Config(), data=options.Data(batch_size=16)))
    card = CARD | {
        "config": trained, "step": STEP, "versions": {"jax": "0.0"}, "git_commit": "c0ffee",
        "datasets": [
            {"name": "histo_demo/" + SCRIPT % "set", "n": 96, "content_hash": "abc"},
            {"name": "histo_wsi/gone", "n": 9, "content_hash": "gone"},
        ],
    }  # fmt: skip
    path = workdir / "checkpoints" / str(STEP)
    loaded = types.SimpleNamespace(params=params, batch_stats=stats, card=card, path=path)

    def read_images(opened, rows, image_size, batch_size):
        assert image_size == SIZE
        for start in range(0, len(rows), batch_size):
            yield opened.images[rows[start : start + batch_size]]

    made = {}

    def evaluate(kind):
        if kind not in made:
            found = hostile(target=kind == "target")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run, "open_prepared", lambda *_: found)
                patch.setattr(features, "read_images", read_images)
                patch.setattr(entrants, "UNTRAINED", entrants.UNTRAINED | CARD | {"datasets": []})
                patch.setitem(linear.fit.__kwdefaults__, "epochs", 3)
                cfg = config(dataset=found.name, init=("mean_rgb", "colour_histogram"))
                if kind != "floors":
                    cfg = dataclasses.replace(cfg, fractions=(0.5, 1.0), shift=(0.2,))
                made[kind] = run.evaluate(cfg, {} if kind == "floors" else {"ssl": loaded}, None)
        return made[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "read_images", read_images)
        yield evaluate


@pytest.fixture(scope="module")
def written(evaluated, tmp_path_factory):
    """The page of each kind as a file."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def write(kind):
        if kind not in made:
            (made[kind],) = publish.publish(evaluated(kind), folder / kind)
        return made[kind]

    return write


def titles(text):
    return set(re.findall(r'<section id="(\w+)"', text))


def test_every_section_is_there_and_nothing_is_fetched(written):
    text = written("classes").read_text()
    assert titles(text) == set(page.SECTIONS) - {"masks"}
    assert set(re.findall(r'href="#(\w+)"', text)) >= titles(text)
    assert not re.findall(r"https?://", text)
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address.startswith(("data:", "#")), address
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for used in re.findall(r'(?:href="#|url\(#)([\w.-]+)', text):
        assert used in ids, used


def test_names_are_escaped(written):
    for kind in ("classes", "target", "floors"):
        text = written(kind).read_text()
        assert "<script" not in text and "<img src=x" not in text
        shown = html.unescape(text)
        assert SCRIPT % "set" in shown
        if kind != "target":
            assert all(name in shown for name in HOSTILE)
    assert PATIENT + "p1" in html.unescape(written("classes").read_text())


def test_what_it_says_follows_from_the_numbers(written, evaluated):
    text = html.unescape(written("classes").read_text())
    done = evaluated("classes")
    assert "no evidence about patients" in text
    assert "set not here, unknown whether it holds them" in text
    assert "All labelled images were in pretraining" in text
    assert "html 2" in text and "kept 96" in text and "3 read of 5" in text  # quarantine
    assert "c0ffee" in text and "python train.py" in text
    assert "in about 4 minutes" in text  # 7 steps of 16 images at half an image a second
    for line in report.verdict(report.full(report.summarise(done.report))):
        assert line.strip() in text
    for row in report.summarise(done.report):
        assert report.texts(row)["value"] in text
    counts = [row for row in done.report["confusion"] if row["split_by"] == "grouped"]
    assert np.sum(counts[0]["counts"]) == done.report["scores"][-1]["n"]
    assert {row["init"] for row in done.report["confusion"]} == {"ssl"}


def test_absent_cells_are_absent(written):
    floor, target = (written(kind).read_text() for kind in ("floors", "target"))
    assert titles(floor) == {"short", "scores", "data", "again"}
    assert "this encoder" not in floor and "--out floors" in floor
    assert titles(target) == set(page.SECTIONS) - {"masks"}
    assert "Target and prediction" in target and "taken for" not in target
    assert "nan" not in re.sub(r"base64,[\w+/=]*", "", floor + target).lower().split()


def test_report_json_alone_gives_a_page(evaluated, tmp_path):
    alone = json.loads(json.dumps(evaluated("classes").report))
    text = page.write(tmp_path, page.build(alone)).read_text()
    assert titles(text) == {"short", "scores", "labels", "mistakes", "knows", "data", "again"}
    assert "<script" not in text


@pytest.mark.parametrize("kind", ["classes", "target"])
def test_a_browser_finds_nothing_amiss(written, kind):
    seen = browser.assert_readable(written(kind))
    assert seen.images > 20 and "Is it stain it learned?" in seen.text


# Where it goes.


def test_each_question_has_a_place_of_its_own(evaluated, tmp_path):
    done = evaluated("floors")
    step = tmp_path / "run" / "checkpoints" / "7"
    at = types.SimpleNamespace(path=step, card={"step": 7})
    card = CARD | {"step": 7}
    pages = []
    for name, layer in (("a/x", "pooled"), ("b/y", "pooled"), ("a/x", "layer3"), ("a/x", "pooled")):
        result = done.report | {"card": card, "data": done.report["data"] | {"name": name}}
        result["data"]["pretrained_on"] = {"images": 0, "unknown": []}
        result["config"] = done.report["config"] | {"layer": layer}
        pages.append(
            publish.publish(
                dataclasses.replace(done, report=result, loaded=at, sources={"ssl": at}), None
            )
        )
    first, second, third, again = ([str(p.relative_to(tmp_path)) for p in made] for made in pages)
    assert {p[0] for p in (first, second, third)} == {"run/report.html"}
    assert re.fullmatch(r"run/eval/a-x/7-[0-9a-f]{8}/report\.html", first[1])
    assert len({first[1], second[1], third[1]}) == 3 and again == first
    for folder in (tmp_path / "run", *(made[1].parent for made in pages)):
        assert (folder / "report.json").exists() and (folder / "report.html").exists()
    assert json.loads((tmp_path / "run/report.json").read_text())["data"]["name"] == "a/x"


def test_folders_that_cannot_hold_a_report_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for out, words in ((tmp_path / "file", "is a file"), (tmp_path / "file/x", "lies in a file")):
        with pytest.raises(HistoError, match=words):
            publish.home(out, {})
    stray = types.SimpleNamespace(path=tmp_path / "stray" / "7")
    with pytest.raises(HistoError, match="not inside of a work directory.*--out"):
        publish.home(None, {"ssl": stray})
    with pytest.raises(HistoError, match="--out: is not set"):
        publish.home(None, {})
    assert publish.home(tmp_path / "new/er", {}) == tmp_path / "new/er"
    assert not (tmp_path / "new").exists()


def test_out_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = commands.evaluate(
        "--config", "configs/probe.py", "--out", tmp_path / "file", "--config.dataset=a/b"
    )
    assert "not a folder" in commands.error_line(done)


# Its parts.


def test_commands_give_the_same_options_back(repository, monkeypatch):
    monkeypatch.chdir(repository)
    wanted = Config(
        seed=3,
        data=options.Data(datasets=(("histo_wsi/it's", None), ("b c", 0.5)), batch_size=64),
        augment=options.Augment(crop_min=None, jitter="none"),
    )
    words = shlex.split(reproduce.pretrain(as_dict(wanted), "runs/a b").replace("\\\n", ""))
    assert words[:6] == ["python", "train.py", "--config", "configs/simclr_r18.py", "--workdir",
                         "runs/a b"]  # fmt: skip
    assert as_dict(options.load(Config, words[3], words[6:])) == as_dict(wanted)
    cfg = config(init=("texture",), layer="layer3", image_size=32)
    words = shlex.split(reproduce.evaluate(as_dict(cfg), []).replace("\\\n", ""))
    assert words[2:6] == ["--config", "configs/probe.py", "--out", "floors"]
    assert options.load(options.EvalConfig, words[3], words[6:]) == cfg


def points(n=120, seed=0):
    """Three classes by six patients, each patient with all classes."""
    rng = np.random.default_rng(seed)
    truth, who = np.arange(n) % 3, np.arange(n) // 3 % 6
    return truth, np.array([f"p{w}" for w in who]), rng.normal(size=(n, 12)).astype(np.float32)


@pytest.mark.parametrize("by", ["class", "patient", "nothing"])
def test_stain_and_class_are_told_apart(by):
    truth, names, x = points()
    if by == "class":
        x[np.arange(120), truth] += 20
    elif by == "patient":
        x[np.arange(120), np.unique(names, return_inverse=True)[1]] += 20
    found = feature_map.stain_or_class(x, truth, names)
    excess = {k: v["share"] - v["chance"] for k, v in found.items()}
    assert (excess["kind"] > 0.5) == (by == "class")
    assert (excess["patient"] > 0.4) == (by == "patient")
    assert found["kind"]["chance"] == pytest.approx(1 / 3, abs=0.02)
    assert found["patient"]["chance"] == pytest.approx(1 / 6, abs=0.05)
    words = feature_map.said(found, found, "patients", "class")
    assert ("hardly tell patients apart" in words) == (by != "patient")
    assert ("hardly find the same class" in words) == (by != "class")


def test_questions_that_cannot_be_asked_are_absent():
    truth, names, x = points()
    assert feature_map.stain_or_class(x, truth, np.full(120, "")) == {}
    assert feature_map.stain_or_class(x, truth, np.full(120, "one")) == {}
    assert set(feature_map.stain_or_class(x, np.zeros(120, int), names)) == {"patient"}


def test_map_of_few_or_equal_images():
    for x in (np.zeros((9, 4)), np.eye(5)):
        laid = feature_map.lay_out(x.astype(np.float32), seed=0)
        assert laid.places.shape == (len(x), 2) and np.isfinite(laid.places).all()


def test_queries_are_of_every_class_and_not_chosen():
    kinds = np.repeat([0, 1, 2], [100, 20, 1])
    drawn = neighbours.draw(kinds, seed=0)
    assert np.bincount(kinds[drawn]).tolist() == [4, 4, 1] and len(set(drawn.tolist())) == 9
    assert not np.array_equal(drawn, neighbours.draw(kinds, seed=1))
    many = neighbours.draw(np.arange(300) % 40, seed=0)
    assert len(many) == neighbours.MOST


def test_a_loss_like_guessing_is_said_plainly():
    lines = [{"step": s, "loss": np.log(2 * 16 - 1)} for s in range(8)]
    guess = tasks.guess({"data": {"batch_size": 16}, "objective": {"name": "simclr"}})
    assert story.learned_nothing(lines, guess)
    assert not story.learned_nothing([line | {"loss": 2.0} for line in lines], guess)
    assert not story.learned_nothing([], guess) and not story.learned_nothing(lines, None)


def test_curves_leave_out_what_was_not_logged():
    lines = [{"step": s, "loss": 1.0, "knn": None} for s in range(1, 2000)]
    (drawn,) = figures.curves([*lines, {"step": 2000, "knn": float("nan")}], None)
    assert drawn["title"] == "Loss" and len(drawn["svg"]) < 30_000
    assert "#0" not in re.sub(
        r'"#curve[^"]*"|url\([^)]*\)', "", drawn["svg"]
    )  # no stand-in is left


def test_small_numbers_keep_their_digits_on_the_axis():
    lines = [{"step": step, "learning_rate": 0.002 * step / 9} for step in range(1, 10)]
    (drawn,) = figures.curves(lines, None)
    told = [float(t) for t in re.findall(r">(0\.\d+)<", drawn["svg"])]
    assert len(set(told)) == len(told) and max(told) == 0.002


def test_every_task_has_its_words_and_its_pictures():
    assert set(tasks.TASKS) == set(views.MAKERS) == set(OBJECTIVES)
    assert tasks.of({}) is tasks.TASKS["simclr"] and tasks.guess({}) is None
    config = {"data": {"batch_size": 8}, "objective": {"name": "cpc"}}
    np.testing.assert_allclose(tasks.guess(config), np.log(8 * 49))
    config["objective"]["name"] = "autoencoder"
    assert tasks.guess(config) is None


def test_pictures_are_what_the_network_was_shown():
    made = np.random.default_rng(0).uniform(-1, 1, (2, 49, 4, 4, 3)).astype(np.float32)
    (mosaic,) = np.asarray(views.laid_out("cpc", made))[1]
    assert mosaic.shape == (28, 28, 3)
    np.testing.assert_array_equal(mosaic[8:12, 4:8], made[1, 15])  # third row, second column
    gray, colours = np.asarray(views.laid_out("colorization", made[:, :1]))[0]
    np.testing.assert_array_equal(colours, made[0, 0])
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    np.testing.assert_array_equal(views.laid_out("simclr", made[:, :2]), made[:, :2])
