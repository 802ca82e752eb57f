"""Slides cut by Apache Beam: the same parts, outcomes and records as without it.

FnApiRunner is the part of Beam's DirectRunner that fetches nothing from the network.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from histo_jax.data import beam
from histo_jax.slides import pool
from histo_jax.slides.tiles import TileRule
from tests import commands, folder_builders
from tests.prepared_sets import refused
from tests.test_slides_pool import RULE, children, jobs, write_slides

TESTS = Path(__file__).parent
IN_MEMORY = "runner=FnApiRunner"
TWO_PROCESSES = f"{IN_MEMORY},direct_num_workers=2,direct_running_mode=multi_processing"
RUNNERS = [
    pytest.param(IN_MEMORY, id="in memory", marks=pytest.mark.slow),
    pytest.param(TWO_PROCESSES, id="two processes", marks=pytest.mark.slow),
]


def options(flags):
    """As `tfds build --beam_pipeline_options` reads them."""
    return PipelineOptions(flags=[f"--{flag}" for flag in flags.split(",")])


def members(part):
    """All of a part, byte for byte, but how long it took."""
    with zipfile.ZipFile(part) as archive:
        found = {info.filename: archive.read(info) for info in archive.infolist()}
    card = json.loads(found["slide.json"])
    del card["seconds"]
    return found | {"slide.json": json.dumps(card)}


def told(outcomes, parts_dir):
    return {
        o.path: (o.part and o.part.relative_to(parts_dir), o.error and o.error.args)
        for o in outcomes
    }


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    """Workers that do what a slide's name says, here and in Beam's own processes."""
    command = (sys.executable, "-P", str(TESTS / "slide_files.py"))
    monkeypatch.setattr(pool, "COMMAND", command)
    (tmp_path / "sitecustomize.py").write_text(
        f"from histo_jax.slides import pool\npool.COMMAND = {command!r}\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{commands.ROOT}")


@pytest.mark.parametrize("runner", RUNNERS)
def test_parts_and_outcomes_are_those_of_the_pool(tmp_path, misbehaving, runner):
    """Good slides, one that kills its process twice, one that does it once, others refused."""
    names = ["a.svs", "die.svs", "once.svs", "broken.svs", "sleep.svs", "greedy.svs"]
    names += ["b\udcff.svs"]  # no text: bytes of another encoding
    paths = write_slides(tmp_path / "slides", names)
    page = tmp_path / "slides" / "page.svs"
    page.write_text("<html>")
    (tmp_path / "a.geojson").write_text("[]")
    first = pool.Job(str(paths[0]), 0.9, str(tmp_path / "a.geojson"))
    todo = [first, *jobs([*paths[1:], page, tmp_path / "none.svs"])]
    local, spread = tmp_path / "local", tmp_path / "spread"
    expected = told(pool.cut_slides(todo, RULE, local, 2, timeout_s=5), local)
    (tmp_path / "slides" / "once.svs.tried").unlink()
    outcomes = list(beam.cut_slides(todo, RULE, spread, options(runner), timeout_s=5))
    assert [o.path for o in outcomes] == [job.path for job in todo]
    assert told(outcomes, spread) == expected
    reasons = [error[1] for _, error in expected.values() if error]
    refusals = ["html", "memory", "missing", "timeout", "worker-died", "worker-error"]
    assert sorted(reasons) == refusals
    parts = sorted(part.name for part in local.glob("*.zip"))
    assert parts == sorted(part.name for part in spread.glob("*.zip")) and len(parts) == 3
    for name in parts:
        assert members(local / name) == members(spread / name)
    assert not children() and not list(spread.glob(".answers*"))


def test_finished_parts_are_taken_as_they_are(tmp_path, monkeypatch):
    """Also by relative paths, which workers elsewhere could not follow, and after a killed build."""
    monkeypatch.chdir(tmp_path)
    write_slides(tmp_path / "slides", ["a.svs", "b.svs"])
    (tmp_path / "parts" / ".answers.killed").mkdir(parents=True)
    paths = [Path("slides/a.svs"), Path("slides/b.svs"), Path("slides/none.svs")]
    runs = []
    for cut in (
        lambda: beam.cut_slides(jobs(paths), RULE, "parts", options(IN_MEMORY)),
        lambda: pool.cut_slides(jobs(paths), RULE, "parts", 1),
    ):
        runs.append(told(cut(), "parts"))
        stamps = {part: part.stat().st_mtime_ns for part in Path("parts").glob("*.zip")}
        runs.append(stamps)
    assert runs[0] == runs[2] and runs[1] == runs[3] and len(runs[1]) == 2
    assert [error and error[0] for _, error in runs[0].values()] == [None, None, "slides/none.svs"]
    assert not list(Path("parts").glob(".answers*"))


def test_what_the_workers_wrote_elsewhere_is_missed(tmp_path, monkeypatch):
    """A worker whose folder of parts is another one than ours."""
    [path] = write_slides(tmp_path, ["a.svs"])
    ghost = (
        'import sys\nsys.stdin.readline()\nprint("{}", flush=True)\nsys.stdin.readline()\n'
        'print(\'{"part": "/elsewhere/0.zip", "seconds": 1}\', flush=True)\nsys.stdin.readline()'
    )
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-c", ghost))
    with refused("not-shared", "a.svs isn't here", "--data_dir"):
        list(beam.cut_slides(jobs([path]), RULE, tmp_path / "parts", options(IN_MEMORY)))
    monkeypatch.setattr(beam, "write_json", lambda *_: None)
    with refused("not-shared", "a.svs isn't here", "--data_dir"):
        list(beam.cut_slides(jobs([path]), RULE, tmp_path / "parts", options(IN_MEMORY)))


def test_a_failed_pipeline_is_one_line(tmp_path, monkeypatch):
    [path] = write_slides(tmp_path, ["a.svs"])

    def cut(flags=IN_MEMORY):
        return list(beam.cut_slides(jobs([path]), RULE, tmp_path / "parts", options(flags)))

    with refused("beam", "NoSuchRunner"):
        cut("runner=NoSuchRunner")
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-c", "raise SystemExit('no such room')"))
    with refused("beam", "no such room"):
        cut()
    assert not children()
    with beam.hold(tmp_path / "parts"), refused("locked", "in use"):
        cut()


def test_nothing_to_cut(tmp_path):
    assert list(beam.cut_slides([], TileRule(), tmp_path, options(IN_MEMORY))) == []


LAB = {"name": "lab", "mpp": 1.0, "tile_size": 64, "min_foreground": 0.1, "workers": 1}


def test_a_set_is_the_same(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for number in range(3):
        folder_builders.slide(folder / f"{number}.tif", number)
    (folder / "page.svs").write_text("<html>")
    local = folder_builders.build("histo_wsi", folder, tmp_path / "local", **LAB)
    how = {"beam_options": options(IN_MEMORY)}
    spread = folder_builders.build("histo_wsi", folder, tmp_path / "spread", how, **LAB)
    assert spread.n == local.n == 12
    assert spread.card["content_hash"] == local.card["content_hash"]
    assert spread.card["summary"] == local.card["summary"]
    for column in local.table:
        np.testing.assert_array_equal(spread.table[column], local.table[column])


def test_images_are_not_for_beam(tmp_path):
    folder_builders.picture(1).save(tmp_path / "a.png")
    how = {"beam_options": options(IN_MEMORY)}
    with refused("beam", "leave it out"):
        folder_builders.build("histo_patches", tmp_path, tmp_path / "data", how, name="p")


@pytest.mark.slow
def test_the_command(tmp_path):
    """`tfds build` with two processes of Beam; then without Beam there is nothing to do."""
    slides, data = tmp_path / "slides", tmp_path / "data"
    slides.mkdir()
    for number in range(4):
        folder_builders.slide(slides / f"{number}.tif", number)
    command = (
        commands.TFDS, "build", "tfds_builders/histo_wsi", "--config", json.dumps(LAB),
        "--manual_dir", slides, "--data_dir", data,
    )  # fmt: skip
    done = commands.run(*command, f"--beam_pipeline_options={TWO_PROCESSES}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "histo_wsi/lab: 16 records from 4 of 4 slides" in done.stdout
    done = commands.run(*command)
    assert done.returncode == 0 and "nothing changed" in done.stdout
    done = commands.run(*command, "--overwrite", "--beam_pipeline_options=runner=Nobody")
    assert "the pipeline failed" in commands.error_line(done)
