"""Grids of runs: what a sweep file may say, what is run, what the table shows."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from histo_jax import config as options
from histo_jax import errors, files
from histo_jax.sweeps import __main__ as command
from histo_jax.sweeps import grid, plan, run, table
from tests import commands
from tests.prepared_sets import refused, write_set

TINY = {
    "recipe": commands.TINY,
    "axes": {
        "crop": {"small": {"augment.crop_min": 0.2}, "large": {"augment.crop_min": 0.8}},
        "objective.temperature": (0.1, 0.5),
    },
    "scores": {
        "recipe": "configs/probe.py", "datasets": ("histo_demo/tiny",),
        "protocol": "linear", "split_by": "grouped",
        "fields": {"init": "('mean_rgb',)", "shift": "()", "repeats": 1},
    },
    "seeds": 1,
}  # fmt: skip


def sweep_file(folder: Path, **changes) -> Path:
    path = folder / "sweep.py"
    said = {k: v for k, v in (TINY | changes).items() if v is not None}
    path.write_text(
        f'"""A small grid.\n\nMore about it.\n"""\n\n\ndef get_sweep():\n    return {said}\n'
    )
    return path


def loaded(folder: Path, **changes) -> grid.Sweep:
    return grid.load(sweep_file(folder, **changes))


def test_a_stop_before_training_began_is_no_failure(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import sys, time\nprint('here', file=sys.stderr, flush=True)\ntime.sleep(60)"
    )
    stop = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    with open(tmp_path / "lock", "w") as held, pytest.raises(errors.Resume):
        stop.start()
        run._command([script], held)


def test_cells_are_every_choice_seed_by_seed(tmp_path):
    sweep = loaded(tmp_path, seeds=2, fields={"data.batch_size": 8})
    cells = grid.cells(sweep, {"data.dir": "/data"})
    assert [(c.title, c.seed) for c in cells[:5]] == [
        ("small / 0.1", 0), ("small / 0.5", 0), ("large / 0.1", 0), ("large / 0.5", 0),
        ("small / 0.1", 1),
    ]  # fmt: skip
    assert cells[-1].folder == "large,0.5,seed=1" and len({c.folder for c in cells}) == 8
    assert cells[-1].flags == [
        "--config.data.batch_size=8", "--config.augment.crop_min=0.8",
        "--config.objective.temperature=0.5", "--config.seed=1", "--config.data.dir=/data",
    ]  # fmt: skip
    assert "--config.repeats=1" in grid.score_flags(sweep, "histo_demo/tiny")


def test_systems_may_have_recipes_of_their_own(tmp_path):
    systems = {"a": {"recipe": "configs/demo.py"}, "b": {"model.width": 8}}
    cells = grid.cells(loaded(tmp_path, axes={"system": systems}))
    assert [cell.recipe for cell in cells] == ["configs/demo.py", commands.TINY]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axis": {}}, "sweep.py: unknown field axis .did you mean axes?"),
        ({"axes": {}}, "has no axes .name at least one"),
        ({"axes": {"objective.temperature": ()}}, "axis objective.temperature is empty"),
        ({"recipe": None}, "lacks the field recipe"),
        (
            {"axes": {"a": {"x": {"seed": 1}}, "b": {"y": {"seed": 2}}}},
            "axes a and b both set seed",
        ),
        ({"scores": TINY["scores"] | {"metric": 1}}, "unknown field scores.metric"),
    ],
)
def test_grids_that_do_not_fit(tmp_path, changes, words):
    with refused("config", words):
        loaded(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": {"objective.temprature": (0.1,)}}, "no such field .*objective.temperature"),
        ({"axes": {"objective.temperature": (0.1, -1)}}, "config.objective.temperature: is -1"),
        ({"scores": TINY["scores"] | {"fields": {"repeat": 2}}}, "config.repeat: no such field"),
    ],
)
def test_every_cell_is_checked_before_any_is_run(tmp_path, changes, words):
    with refused("config", words):
        grid.cells(loaded(tmp_path, **changes))


def test_files_that_are_no_sweep(tmp_path):
    with refused("missing", "no such sweep"):
        grid.load(tmp_path / "none.py")
    (tmp_path / "bad.py").write_text("1 / 0")
    with refused("config", "the sweep failed: ZeroDivisionError"):
        grid.load(tmp_path / "bad.py")


@pytest.mark.parametrize("path", sorted(Path(commands.ROOT, "configs/paper").glob("*.py")))
def test_the_papers_grids_are_whole(path):
    sweep = grid.load(path)
    titles = [cell.title for cell in grid.cells(sweep)]
    assert set(sweep.paper) <= set(titles) and "Table" in sweep.about
    assert all(30 < number < 100 for number in sweep.paper.values())


SMALL = ("crop_jitter", "optimizer_temperature", "systems")


@pytest.mark.parametrize("tissue", ["demo", "nuclei"])
@pytest.mark.parametrize("name", SMALL)
def test_the_small_grids_are_whole(name, tissue):
    sweep = grid.load(Path(commands.ROOT, f"configs/paper/{name}.py"), tissue)
    cells = grid.cells(sweep)  # each loads its recipe and fields
    assert not sweep.paper and {cell.seed for cell in cells} == {0, 1, 2}
    for cell in cells:
        assert options.load(options.Config, cell.recipe, cell.flags).model.width == 8


def done(sweep, cell, folder, **values):
    """As a finished cell leaves its folder: the encoder's score, and a floor's."""
    for name in sweep.scores.datasets:
        rows = [
            {"init": init, "protocol": "linear", "split_by": "grouped", "metric": "macro_f1",
             "value": value}
            for init, value in values.items()
        ]  # fmt: skip
        files.write_json(folder / cell.folder / run.own(name) / "report.json", {"scores": rows})


def test_the_table_and_the_picture(tmp_path):
    paper = {"small / 0.1": 80.5}
    sweep = loaded(tmp_path, seeds=2, paper=paper)
    cells = {(cell.title, cell.seed): cell for cell in grid.cells(sweep)}
    done(sweep, cells["small / 0.1", 0], tmp_path, ssl=0.8, texture=0.5)
    done(sweep, cells["small / 0.1", 1], tmp_path, ssl=0.9, texture=0.5)
    done(sweep, cells["large / 0.5", 0], tmp_path, ssl=0.7, texture=0.5)
    failed = tmp_path / cells["large / 0.5", 1].folder / run.FAILED
    files.write_json(failed, {"word": "diverged", "error": "error: loss is nan"})
    found = table.rows(sweep, list(cells.values()), tmp_path)
    text = table.markdown(sweep, found + table.floors(sweep, list(cells.values()), tmp_path))
    assert text.splitlines()[2:] == [
        "| small | 0.1 | 85.0 ± 7.1 | 2 | 80.5 |",
        "| small | 0.5 | not run | 0, 2 not run |  |",
        "| large | 0.1 | not run | 0, 2 not run |  |",
        "| large | 0.5 | 70.0 | 1, 1 did not converge |  |",
        "| floor: texture |  | 50.0 | 1 |  |",
    ]
    command.publish(sweep, list(cells.values()), tmp_path)
    said = (tmp_path / command.TABLE).read_text()
    assert "\nNumbers: macro-F1 in percent; mean" in said and said.endswith(f"\n\n{text}\n")
    assert Image.open(tmp_path / command.MAP).size[0] > 300
    rows = json.loads((tmp_path / "small,0.1,seed=0/histo_demo-tiny/report.json").read_text())
    files.write_json(
        tmp_path / "small,0.1,seed=0/histo_demo-tiny/report.json", rows | {"scores": []}
    )
    with refused("config", "has no score of init=ssl, protocol=linear"):
        table.rows(sweep, list(cells.values()), tmp_path)


def test_a_dry_run_counts_images_steps_and_hours(tmp_path, monkeypatch):
    example = {"image": b"?", "key": b"k"}
    rows = [example | {"key": f"k{i}".encode()} for i in range(33)]
    write_set(tmp_path, "histo_demo/tiny", {"train": rows})
    sweep = loaded(tmp_path, fields={"training.total_steps": 7200}, seeds=2)
    cells = grid.cells(sweep, {"data.dir": str(tmp_path)})
    *lines, counted, last = plan.told(sweep, cells, tmp_path, rate=16.0)
    assert lines[0] == "small / 0.1, seed 0: waiting; 33 images, 7,200 steps, 2.00 hours"
    assert counted == "8 cells, 0 without data here"
    assert last == "about 16.0 hours of training to go at 16 images/s, beside scoring"
    done(sweep, cells[0], tmp_path, ssl=1)
    timing = tmp_path / cells[0].folder / "run/timing.jsonl"
    timing.parent.mkdir()
    files.append_line(timing, {"step": 1, "images_per_s": 32})
    assert list(plan.told(sweep, cells, tmp_path, None))[-1].startswith("about 7.0 hours")
    missing = grid.cells(sweep, {"data.dir": str(tmp_path / "none")})
    *lines, counted, last = plan.told(sweep, missing, tmp_path / "new", None)
    assert "waiting; data missing: " in lines[0] and counted == "8 cells, 8 without data here"
    assert "give --rate" in last


def test_a_cell_of_other_options_is_refused_before_any_run(tmp_path, monkeypatch):
    sweep = loaded(tmp_path)
    cells = grid.cells(sweep)
    changed = run.facts(sweep, cells[2]) | {"recipe": "other.py"}
    files.write_json(tmp_path / cells[2].folder / run.CELL, changed)
    monkeypatch.setattr(run, "_do", lambda *_: pytest.fail("something was run"))
    with refused("sweep-changed", "large,0.1,seed=0", "made by other options"):
        list(run.run(sweep, cells, tmp_path))


def test_data_that_moved_are_no_other_options(tmp_path, monkeypatch):
    sweep = loaded(tmp_path)
    monkeypatch.setattr(run, "_do", lambda *_: None)
    for where in ("here", "there"):
        moved = grid.with_data_dir(sweep, where)
        cells = grid.cells(moved, {"data.dir": where})
        assert [s.word for s in run.run(moved, cells, tmp_path / "out")] == ["waiting"] * 4


def test_what_another_process_did_meanwhile_is_not_done_again(tmp_path, monkeypatch):
    sweep = loaded(tmp_path)
    cells = grid.cells(sweep)
    asked, wanted = [], cells[1]

    def do(sweep, cell, *_):  # the second cell is done by another while the first is at work
        asked.append(cell.title)
        done(sweep, wanted, tmp_path, ssl=1)

    monkeypatch.setattr(run, "_do", do)
    words = [state.word for state in run.run(sweep, cells, tmp_path)]
    assert words == ["waiting", "done", "waiting", "waiting"] and wanted.title not in asked


def test_commands_run_where_the_user_is(tmp_path, monkeypatch):
    sweep = loaded(tmp_path)
    (cell, *_) = grid.cells(sweep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(
        "import pathlib, sys\n"
        "pathlib.Path('ran').write_text(sys.argv[sys.argv.index('--workdir') + 1]); sys.exit(1)\n"
    )
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert [state.word for state in run.run(sweep, [cell], Path("out"))] == ["failed"]
    assert (tmp_path / "ran").read_text() == str(tmp_path / "out" / cell.folder / "run")


def test_floors_are_scored_with_the_first_seed_and_others_ask_for_what_eval_takes(
    tmp_path, monkeypatch
):
    scores = TINY["scores"] | {"fields": {"init": "('random', 'texture')"}}
    cells = grid.cells(sweep := loaded(tmp_path, seeds=2, scores=scores))
    asked: dict[int, list] = {0: [], 1: []}
    for cell in (cells[0], cells[-1]):
        monkeypatch.setattr(
            run, "_command", lambda command, _, to=asked[cell.seed]: to.append(command)
        )
        run._do(sweep, cell, tmp_path, None)
    for seed, floors in ((0, ("random", "texture")), (1, ("mean_rgb",))):
        (_, score) = asked[seed]
        flags = [word for word in score if str(word).startswith("--config.")]
        config = options.load(options.EvalConfig, "configs/probe.py", flags)
        options.check(config)
        assert config.init == floors


def test_failed_cells_are_results_and_tried_again_on_demand(tmp_path, monkeypatch):
    """By commands that stand for training: one ends well, one fails, one diverges."""
    sweep = loaded(tmp_path)
    cells = grid.cells(sweep)
    fake = tmp_path / "train.py"
    fake.write_text(
        "import sys\n"
        "if any('0.8' in w for w in sys.argv):\n"
        "    diverged = any('temperature=0.5' in w for w in sys.argv)\n"
        "    print('error: it broke', file=sys.stderr); sys.exit(3 if diverged else 1)\n"
    )
    (tmp_path / "eval.py").write_text(
        "import sys, pathlib\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1]); out.mkdir(parents=True)\n"
        "(out / 'report.json').write_text('{}')\n"
    )
    monkeypatch.setattr(run, "ROOT", tmp_path)
    words = ["done", "done", "failed", "diverged"]
    found = list(run.run(sweep, cells, tmp_path / "out"))
    assert [state.word for state in found] == words and found[2].error == "error: it broke"
    fake.write_text("")
    assert [s.word for s in run.run(sweep, cells, tmp_path / "out")] == words
    again = run.run(sweep, cells, tmp_path / "out", retry=True)
    assert [s.word for s in again] == ["done"] * 4
    fake.write_text("raise SystemExit(75)")
    with pytest.raises(run.errors.Resume, match="run the same command again"):
        list(run.run(sweep, cells, tmp_path / "other"))


def test_a_sweep_that_is_stopped_stops(tmp_path, monkeypatch):
    """Also where the command it runs doesn't know how to save: that is no failure of the cell."""
    sweep = loaded(tmp_path)
    (tmp_path / "train.py").write_text(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(run, "ROOT", tmp_path)
    cells = grid.cells(sweep)
    with pytest.raises(run.errors.Resume, match="run the same command again"):
        list(run.run(sweep, cells, tmp_path / "out"))
    assert {run.state(sweep, cell, tmp_path / "out").word for cell in cells} == {"waiting"}


def test_an_official_split_counts_for_the_drawn_one(tmp_path):
    sweep = loaded(tmp_path)
    (cell, *_) = grid.cells(sweep)
    done(sweep, cell, tmp_path, ssl=0.8)
    (path,) = (tmp_path / cell.folder).glob("*/report.json")
    report = files.read_json(path)
    report["scores"][0]["split_by"] = "official"
    files.write_json(path, report)
    assert table.rows(sweep, [cell], tmp_path)[0].values == {"histo_demo/tiny": [80.0]}


def test_another_process_at_a_cell_is_left_alone(tmp_path, monkeypatch):
    sweep = loaded(tmp_path)
    cells = grid.cells(sweep)
    monkeypatch.setattr(run, "_do", lambda *_: None)
    hold = "import sys, time; from histo_jax import files\n" \
           "with files.lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"  # fmt: skip
    place = tmp_path / cells[1].folder / ".lock"
    with subprocess.Popen([sys.executable, "-c", hold, place], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        words = [state.word for state in run.run(sweep, cells, tmp_path)]
        other.kill()
    assert words == ["waiting", "busy", "waiting", "waiting"]


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(tmp_path):
    build = (commands.TFDS, "build", "tfds_builders/histo_demo", "--config", "tiny")
    assert commands.run(*build, "--data_dir", tmp_path / "data").returncode == 0
    path = sweep_file(tmp_path)

    def sweep(folder, start=commands.run, **how):
        flags = ("--folder", folder, f"--config.data.dir={tmp_path / 'data'}")
        return start(sys.executable, "-m", "histo_jax.sweeps", path, *flags, **how)

    whole = sweep(tmp_path / "whole", timeout=900)
    assert whole.returncode == 0, whole.stderr[-3000:]
    killed = tmp_path / "killed"
    process = sweep(killed, commands.start)
    while not (killed / "small,0.5,seed=0/run/checkpoints").exists():
        time.sleep(0.05)
    process.kill()
    process.wait()
    lock = killed / "small,0.5,seed=0/.lock"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # the training that was begun ends by itself
        try:
            with files.lock(lock):
                break
        except files.HistoError:
            time.sleep(0.2)
    resumed = sweep(killed, timeout=900)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "small / 0.1, seed 0: done" in resumed.stdout
    assert (killed / command.TABLE).read_text() == (tmp_path / "whole" / command.TABLE).read_text()
    assert (killed / command.MAP).exists()
    process = sweep(tmp_path / "stopped", commands.start)
    while not (tmp_path / "stopped/small,0.1,seed=0/run/metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == os.EX_TEMPFAIL
