"""The paper's tables: its numbers, what each needs, what is shown of runs that are there or not."""

import csv
import dataclasses
import statistics
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_jax import files
from histo_jax.data.images import read_whole
from histo_jax.data.prepared import open_prepared
from histo_jax.paper import __main__ as command
from histo_jax.paper import cells, datasets, found, montage, numbers, page, plan, run, show
from histo_jax.paper.cells import GRIDS, STARTS, Setup
from histo_jax.sweeps import grid
from histo_jax.sweeps import run as sweeps
from tests import browser, commands
from tests.prepared_sets import make_set, refused

TABLES = numbers.load()
ROUNDED = 0.1 + 1e-9  # a printed mean of printed numbers: .05 for the one, .05 for the others


def mean(table, row, column):
    return statistics.fmean(table.values[row, member] for member in numbers.MEANS[column])


# What is printed.


def test_every_table_is_there_and_whole():
    assert list(TABLES) == list(GRIDS)
    shapes = {name: (len(t.rows), len(t.columns)) for name, t in TABLES.items()}
    assert shapes == {
        "Table 1": (12, 3), "Table 2": (12, 2), "Table 3": (4, 3), "Table 4": (4, 3),
        "Table 5": (3, 10), "Table C.6": (6, 6), "Table D.7": (12, 10), "Table D.8": (12, 7),
        "Table D.9": (4, 10), "Table D.10": (4, 10), "Table D.11": (12, 6), "Table E.12": (4, 10),
    }  # fmt: skip
    for table in TABLES.values():
        assert len(table.values) == len(table.rows) * len(table.columns)
        for (row, column), value in table.values.items():
            fine = 0 < value < (100 if column != "bpq" else 30)
            assert fine or (row, column) in table.doubted, (table.name, row, column, value)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_printed_means_are_those_of_their_row_or_doubted(table):
    for column, members in numbers.MEANS.items():
        if column not in table.columns or members[0] not in table.columns:
            continue
        for row in table.rows:
            off = abs(mean(table, row, column) - table.values[row, column])
            assert off <= ROUNDED or (row, column) in table.doubted, (row, column, off)


@pytest.mark.parametrize(
    ("short", "long"),
    [("Table 1", "Table D.7"), ("Table 2", "Table D.8"), ("Table 3", "Table D.10"),
     ("Table 4", "Table D.9")],
)  # fmt: skip
def test_tables_that_say_the_same_differ_only_where_doubted(short, long):
    short, long = TABLES[short], TABLES[long]
    for place, value in short.values.items():
        off = abs(value - long.values[place])
        # Means may be rounded twice; of one set nothing is.
        assert off <= (0.05 if place[1] == "bpq" else ROUNDED) or place in short.doubted, place


def test_rows_that_are_copies_are_doubted():
    """Six equal numbers in two tables; which table is the true one, nobody can tell."""
    rows = {}
    for table in TABLES.values():
        if "gleason" in table.columns:
            for row in table.rows:
                six = tuple(table.values[row, c] for c in (*numbers.MEANS["cls"], "cls"))
                rows.setdefault(six, []).append((table, row))
    copies = [places for places in rows.values() if len(places) > 1]
    said = {"; ".join(f"{t.name}, {row}" for t, row in places): places for places in copies}
    same_run = {  # R18, R50 and 1 % stand in two tables by right
        "Table D.7, ResNet-18 / self-supervised; Table D.10, 1 %",
        "Table D.7, ResNet-50 / self-supervised; Table E.12, SimCLR",
    }
    assert same_run < set(said) and len(said) == 5
    for name, places in said.items():
        doubted = [(row, "cls") in table.doubted for table, row in places]
        assert any(doubted) != (name in same_run), name


@pytest.mark.parametrize("name", dict.fromkeys(GRIDS.values()))
def test_the_sweeps_have_the_same_numbers(name):
    """And so the rows of a table are the cells of its sweep, in its order."""
    table = next(TABLES[t] for t in GRIDS if GRIDS[t] == name)
    sweep, setup = grid.load(cells.CONFIGS / f"{name}.py"), Setup(Path("runs/paper"))
    titles = [cell.title for cell in cells.cells(name, setup)]
    rows = [row for row in table.rows if name != "networks" or row.endswith(STARTS[-1])]
    for title, row in zip(titles, rows, strict=True):
        if title in sweep.paper:
            assert sweep.paper[title] == table.values[row, "cls"]
        else:
            assert (row, "cls") in table.doubted


# What is needed.


def test_trainings_are_shared_between_tables():
    setup = Setup(Path("runs/paper"))
    trained = {
        (table, row): source.id
        for table in TABLES
        for row, (source,) in cells.rows(table, setup).items()
        if source.kind == "trained"
    }
    r18 = trained["Table 1", "ResNet-18 / self-supervised"]
    same = [place for place, name in trained.items() if name == r18]
    assert [t for t, _ in same] == [
        "Table 1", "Table 2", "Table 3", "Table D.7", "Table D.8", "Table D.10", "Table D.11",
    ]  # fmt: skip
    assert trained["Table E.12", "SimCLR"] == trained["Table 1", "ResNet-50 / self-supervised"]
    assert trained["Table C.6", "LARS / 0.1"] == trained["Table D.11", "1 % / light"]
    assert len(set(trained.values())) == 33


def test_speed_and_place_are_no_other_encoder():
    here = Setup(Path("runs/paper"))
    there = Setup(Path("runs/paper"), data_dir="/data", train={"data.cache": "raw"})
    other = Setup(Path("runs/paper"), train={"model.dtype": "bfloat16"})
    first, moved, changed = (
        cells.rows("Table 3", setup)["1 %"][0].id for setup in (here, there, other)
    )
    assert first == moved != changed


def test_figures_ask_for_the_same_as_tables_and_more():
    setup = Setup(Path("runs/paper"))
    table, figure = (command.asked([name], setup) for name in ("Table D.8", "Fig. 4"))
    both = command.asked(["Table D.8", "Fig. 4"], setup)
    assert len(table) == len(figure) == len(both) == 72
    assert {(q.shares, q.repeats) for q in both} == {((0.05, 0.1, 0.2, 0.5, 1.0), 5)}
    assert {(q.shares, q.repeats) for q in table} == {((1.0,), 3)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Table 9", "no such table or figure .did you mean Table"),
        ("Figure 1", "did you mean Fig"),
        ("xyz", "known: Table 1, Table 2, .*, Fig. C.7, all"),
    ],
)
def test_names_that_are_none(text, words):
    with refused("config", words):
        command.find(text)


def test_names_as_people_write_them():
    assert command.find("table d.7") == ["Table D.7"] and command.find("Figure 3") == ["Fig. 3"]
    assert command.find("ALL") == list(command.ITEMS)


def test_the_list_without_any_data(tmp_path):
    done = commands.run(
        sys.executable, "-m", "histo_jax.paper", "--list", "Table 1", "Fig. 2", "Fig. 6",
        "--folder", tmp_path / "runs", f"--config.data.dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in (
        "96 evaluations, 0 done; 4 encoders to pretrain, 0 done",
        "labelled sets: bach/default, nct_crc/default",
        "ImageNet's weights: resnet18, resnet34, resnet50, resnet101",
        "for pretraining: no prepared set histo_wsi/* or histo_patches/* in",
        "pictures of the pool and of histo_wsi/camelyon17: waiting",
        "1 encoder to pretrain, 0 done; missing here: slides (--slides FOLDER)",
        "0 of the paper's 56 datasets of pretraining are prepared here",
    ):
        assert line in done.stdout, done.stdout
    assert not (tmp_path / "runs").exists()


# What is run, and what is shown.

TRAIN = """
import json, pathlib, sys
said = dict(zip(sys.argv[1::2], sys.argv[2::2]))
folder = pathlib.Path(said["--workdir"])
assert not any("temperature=0.5" in word for word in sys.argv), sys.exit(3)
folder.mkdir(parents=True)
(folder / "card.json").write_text(json.dumps({"encoder": "resnet18", "datasets": [{}]}))
"""
EVAL = """
import json, pathlib, sys
words = sys.argv[1:]
value = lambda name: next(w.partition("=")[2] for w in words if w.startswith(f"--config.{name}="))
out = pathlib.Path(words[words.index("--out") + 1])
named = [b for a, b in zip(words, words[1:]) if a == "--checkpoint"]
inits = ["random" if n.startswith("random:") else n.partition("=")[0] for n in named]
dataset = value("dataset")
split = "official" if "nct" in dataset else eval(value("split_by"))[0]
metric, level = ("l1", 9.0) if "breastpathq" in dataset else ("macro_f1", 0.6)
rows = [
    {"init": init, "protocol": p, "split_by": split, "metric": m, "value": v + seed / 100,
     "seed": seed, "fraction": share}
    for init in inits for seed in range(int(value("repeats"))) for share in eval(value("fractions"))
    for p in ("finetune", "segment", "linear_paper", "regression_paper")
    for m, v in ((metric, level), ("accuracy", 0.1))
]
out.mkdir(parents=True, exist_ok=True)
(out / "report.json").write_text(json.dumps({"scores": rows, "data": {"name": dataset}}))
"""


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Data for some of it, and programs that stand for the real ones."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "eval.py").write_text(EVAL)
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    monkeypatch.setattr(plan.mixture, "open_run", lambda _: types.SimpleNamespace(n=100))
    prepare(tmp_path / "data", "bach", "nct_crc", "breastpathq")
    return Setup(tmp_path / "runs/paper", str(tmp_path / "data"))


def prepare(data: Path, *names: str):
    for name in names:
        files.write_json(data / name / "default/1.0.0/card.json", {"options": {}})


def shown(name, setup):
    return page.shown(name, setup, found.look(setup))


def test_a_table_half_done(setup):
    """Three of eight sets are here, and no weights of ImageNet."""
    asked = command.asked(["Table D.7"], setup)
    assert run.run(asked, setup) == 0
    made = shown("Table D.7", setup)
    text = {c: made.cell("ResNet-18 / self-supervised", c) for c in made.table.columns}
    assert (text["bach"].ours, text["bach"].paper, text["bach"].note) == ("61.0 ± 1.0", "80.0", 0)
    assert text["nct"].ours == "61.0 ± 1.0"  # by its own test part
    assert (text["bpq"].ours, text["bpq"].paper, text["bpq"].note) == ("9.0 ± 0.0", "6.6", 3)
    assert text["lymph"].ours == text["dp19"].ours == text["seg"].ours == "not run"
    assert (text["cls"].ours, text["cls"].known) == ("2 of 5 run", False)
    assert made.cell("ResNet-50 / ImageNet", "bach").ours == "not run"
    assert made.cell("ResNet-101 / random", "bach").ours == "61.0 ± 1.0"
    assert made.done == (8 * 3, 120)
    told = show.markdown(made)
    assert "61.0 ± 1.0 (80.0)" in told and "9.0 ± 0.0 (6.6!3)" in told
    assert "!3 Table D.10 has 6.8" in told and "pretrained on 1 prepared set each" in told
    show.write(made, setup.folder)
    rows = list(csv.DictReader((setup.folder / "table-d.7.csv").open()))
    assert len(rows) == 120
    known = [r for r in rows if r["row"] == "ResNet-18 / random" and r["column"] == "bach"]
    assert [r["ours"] for r in known] == ["61.0000"] and known[0]["n"] == "3"
    assert {r["ours"] for r in rows if r["column"] == "cls"} == {"not run", "2 of 5 run"}


def test_means_stand_where_all_sets_do(setup):
    prepare(Path(setup.data_dir), "breakhis", "lymph", "gleason2019")
    run.run(command.asked(["Table 3"], setup), setup)
    cell = shown("Table 3", setup).cell("10 %", "cls")
    assert (cell.ours, cell.known) == ("61.0 ± 1.0", True)
    cell = shown("Table 1", setup).cell("ResNet-18 / self-supervised", "cls")
    assert (cell.ours, cell.known) == ("61.0 ± 1.0", True)  # the same as 1 % there


def test_what_is_there_is_not_run_again(setup, monkeypatch):
    asked = command.asked(["Table 3"], setup)
    run.run(asked, setup)
    seen = []
    monkeypatch.setattr(sweeps, "perform", lambda place, *_: seen.append(place.name))
    run.run(asked, setup)
    assert seen == [] and list(run.commands(asked, setup)) == []
    run.run(command.asked(["Table 1"], setup), setup)  # of the networks ResNet-18 is there
    assert sum("resnet18" in name for name in seen) == 0
    assert sum(name.startswith("simclr-") for name in seen) == 3


def test_a_figure_asks_only_for_the_shares_that_are_missing(setup):
    run.run(command.asked(["Table D.8"], setup), setup)
    few = command.asked(["Fig. 4"], setup)
    few = [q for q in few if q.repeats == 5][:1]
    (job,) = run.commands([q.__class__(**{**vars(q), "repeats": 3}) for q in few], setup)
    assert "--config.fractions=(0.05, 0.1, 0.2, 0.5)" in job.command


def test_a_training_that_came_to_nothing_is_a_result(setup):
    assert run.run(command.asked(["Table C.6"], setup), setup) == 0
    made = shown("Table C.6", setup)
    assert made.cell("LARS / 0.5", "bach").ours == "did not converge"
    assert made.cell("LARS / 0.5", "cls").ours == "did not converge"
    assert made.cell("LARS / 0.1", "bach").ours == "61.0 ± 1.0"


def test_cells_of_sweeps_beside_count(setup, monkeypatch):
    """Their encoders, and their scores: nothing of it is run again."""
    monkeypatch.setattr(sweeps, "ROOT", plan.ROOT)
    sweep = grid.load(cells.CONFIGS / "images.py")
    sweep = grid.with_data_dir(sweep, setup.data_dir)
    (cell, *_) = grid.cells(sweep, {"data.dir": setup.data_dir})
    place = setup.folder.parent / "images" / cell.folder
    files.write_json(place / sweeps.CELL, sweeps.facts(sweep, cell))
    files.write_json(place / "run/card.json", {"encoder": "resnet18", "datasets": [{}, {}]})
    rows = [
        {"init": "ssl", "protocol": "finetune", "split_by": "paper", "metric": "macro_f1",
         "value": 0.5, "seed": seed, "fraction": 1.0}
        for seed in range(3)
    ]  # fmt: skip
    report = {"scores": rows, "data": {"name": "bach/default"}}
    files.write_json(place / "bach-default/report.json", report)
    assert shown("Table D.10", setup).cell("0.01 %", "bach").ours == "50.0 ± 0.0"
    jobs = list(run.commands(command.asked(["Table D.10"], setup), setup))
    assert [job.about.split()[0] for job in jobs].count("train") == 3
    assert any(str(place / "run") in str(word) for job in jobs for word in job.command)


def test_supervised_weights_by_torchvisions_names(setup, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "resnet18-f37072fd.pth").write_bytes(b"")
    here = Setup(setup.folder, setup.data_dir, imagenet=folder)
    jobs = list(run.commands(command.asked(["Table 2"], here), here))
    named = f"imagenet:resnet18=imagenet:{folder}/resnet18-f37072fd.pth"
    assert any(named in job.command for job in jobs)
    lacking = plan.plan(command.asked(["Table 2"], here), here, found.look(here))
    assert lacking.missing["ImageNet's weights"] == ["resnet34", "resnet50", "resnet101"]


def test_untrained_networks_go_with_an_encoder_of_theirs(setup):
    together = Setup(setup.folder, setup.data_dir, together=100)
    jobs = [j for j in run.commands(command.asked(["Table 1"], together), together)][4:]
    names = jobs[0].facts["names"]
    assert list(names)[4:] == ["random", "random:resnet34", "random:resnet50", "random:resnet101"]
    assert names["random:resnet50"] == "random:resnet50:64"
    assert not any(str(word).startswith("random:") for word in jobs[0].command)
    (alone,) = [j for j in run.commands(command.asked(["Table 1"], setup), setup)
                if list(j.facts.get("names", ())) == ["random"]
                and "random:resnet34" in j.command and "bach/default" in j.about]  # fmt: skip
    assert alone.facts["names"]["random"] == "random:resnet34:64"


def test_hours_by_what_was_timed_else_by_the_rate(setup):
    asked = command.asked(["Table 1"], Setup(setup.folder, setup.data_dir, train={
        "training.total_steps": "7200", "data.batch_size": "16"}))  # fmt: skip
    todo = plan.plan(asked, setup, found.look(setup)).train
    assert plan.hours(todo, found.look(setup), None) is None
    by_rate = plan.hours(todo, found.look(setup), 32.0)
    assert by_rate == pytest.approx(1 + 3.7 / 1.8 + 4.1 / 1.8 + 7.8 / 1.8)
    place = setup.folder / "trained/a"
    files.write_json(place / sweeps.CELL, {"id": "a"})
    files.write_json(place / found.DONE, {})
    files.write_json(place / "run/card.json", {"encoder": "resnet18"})
    files.append_line(place / "run/timing.jsonl", {"step": 1, "images_per_s": 16})
    assert plan.hours(todo, found.look(setup), 32.0) == pytest.approx(by_rate + 1)


# Figures, and the page.


def test_clusters_are_made_by_the_features_commands(setup, tmp_path, monkeypatch):
    slides = tmp_path / "slides"
    slides.mkdir()
    here = dataclasses.replace(setup, slides=slides)
    jobs = list(command.commands(["Fig. 5", "Fig. 6"], here))
    assert [job.about.split()[0] for job in jobs] == ["train", "features", "3,000"]
    extract, cluster = (list(map(str, job.command)) for job in jobs[1:])
    assert extract[:3] == [*cluster[:2], "extract"] == ["-m", "histo_jax.features", "extract"]
    assert str(jobs[0].command[4]) in extract and str(slides) in extract
    assert cluster[2] == "cluster" and extract[-1] == cluster[3] and "1000:10000:500" in cluster
    ran = []
    monkeypatch.setattr(sweeps, "perform", lambda place, *_: ran.append(place.name) or True)
    run.do(jobs[0])
    for name in ("Fig. 5", "Fig. 5"):
        assert command.make([name], here) == 0
    assert ran == [jobs[0].place.name, "extracting", "clustering"]
    assert list(command.commands(["Fig. 6"], here)) == []
    assert list(command.commands(["Fig. 5"], setup)) == []  # no slides, nothing to do


@pytest.mark.slow
def test_patches_evenly_from_every_set(tmp_path):
    names = {"auto": ("histo_patches/a", "histo_patches/b"), "histo_wsi/camelyon17": "histo_wsi/c"}
    for number, name in enumerate(("histo_patches/a", "histo_patches/b", "histo_wsi/c")):
        make_set(tmp_path / "data", name, 40, seed=number)
    setup = Setup(tmp_path / "runs", str(tmp_path / "data"), names=names)
    montage.write(setup)
    both, one = (Image.open(path) for path in montage.paths(setup).values())
    assert both.size == one.size == (6 * 96 + 5 * 4,) * 2
    sets = [open_prepared(setup.data_dir, name) for name in names["auto"]]
    for made, patch in zip([*sets, *sets], montage._in_turn(tuple(sets)), strict=False):
        every = read_whole(made, np.arange(made.n))
        ours = [np.asarray(Image.fromarray(image).resize((96, 96)), float) for image in every]
        assert min(np.abs(patch - image).mean() for image in ours) < 1


def test_datasets_beside_the_papers_counts(tmp_path):
    rows = datasets.rows(str(tmp_path))
    counts = [int(cells[-1].replace(",", "")) for cells, _ in rows]
    assert len(rows) == 56 and sum(counts[:22]) == 39_035 and sum(counts[22:]) == 24_923
    assert all(cells[4] == "not here" for cells, _ in rows)
    by_name = {cells[0]: doubted for cells, doubted in rows}
    assert by_name["andrewjanowczyk epi"] and not by_name["AML-Cytomorphology LMU"]
    datasets.write(str(tmp_path), tmp_path)
    assert "| 42      | 125!   |" in (tmp_path / "table-f.1.md").read_text()


@pytest.mark.slow
def test_the_page_shows_both_numbers_and_nothing_that_is_not_there(setup):
    half = dataclasses.replace(setup, draws=3, shares=(0.5, 1.0))
    run.run(command.asked(["Fig. 4"], half), half)
    seen = browser.assert_readable(page.write(half, found.look(half)))
    text = " ".join(seen.text.split())
    assert "61.0 ± 1.0 64.5" in text and "2,490.7!1" in text and "not run" in text
    assert 'Not run. python -m histo_jax.paper "Fig. 2"' in text
    assert "1 of 6 figures are drawn" in text and "These numbers mean nothing" not in text
    tiny = browser.assert_readable(page.write(half, found.look(half), {"steps": 4}))
    assert "These numbers mean nothing" in tiny.text
