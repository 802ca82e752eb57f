"""Workers that slides kill, builds that are killed, and the parts they leave."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import slide_files as files
import tifffile

from histo_jax.errors import HistoError
from histo_jax.files import lock
from histo_jax.slides import parts, pool, worker
from histo_jax.slides.parts import part_is_current, read_card, read_part, write_part
from histo_jax.slides.pool import Job, cut_slides
from histo_jax.slides.tiles import TileRule, cut, options_digest

RULE = TileRule(size=64, max_tiles=5)
TESTS = Path(__file__).parent


def write_slides(folder, names):
    folder.mkdir(exist_ok=True)
    images = [files.tissue_image(256, 192, seed) for seed in range(len(names))]
    return [files.write_slide(folder / n, i) for n, i in zip(names, images, strict=True)]


def jobs(paths):
    return [Job(str(path)) for path in paths]


@pytest.fixture
def misbehaving(monkeypatch):
    """Workers that do what a slide's name says."""
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-P", str(TESTS / "slide_files.py")))


def contents(part):
    card, tiles = read_part(part)
    return {k: v for k, v in card.items() if k != "seconds"}, list(tiles)


def children(pid="self"):
    """Processes started by `pid` that still run."""
    task = Path(f"/proc/{os.getpid() if pid == 'self' else pid}/task")
    return [
        child for thread in task.iterdir() for child in (thread / "children").read_text().split()
    ]


def test_a_part_holds_what_was_cut(tmp_path):
    [path] = write_slides(tmp_path, ["a.svs"])
    result = cut(path, RULE)
    part = write_part(tmp_path / "parts", result, 1.5)
    assert part.name == f"{result.id}.zip"
    card, tiles = read_part(part)
    assert card["kept"] == 5 and card["counts"]["kept"] == 5 and card["seconds"] == 1.5
    assert card["dimensions"] == [256, 192] and card["sha256"].startswith(card["id"])
    expected = [(vars(tile).copy(), tile.jpeg) for tile in result.tiles]
    for fields, _ in expected:
        del fields["jpeg"]
    assert parts.read_thumbnail(part) == result.thumbnail and card["tried"] == result.tried
    assert list(tiles) == expected
    with zipfile.ZipFile(part) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_part_is_current_for_its_slide_and_options_only(tmp_path):
    [path] = write_slides(tmp_path, ["a.svs"])
    result = cut(path, RULE)
    part = write_part(tmp_path, result, 0)
    right = (result.id, options_digest(RULE), result.size, path)
    assert part_is_current(part, *right)
    assert not part_is_current(part, "0" * 16, *right[1:])
    assert not part_is_current(part, right[0], options_digest(RULE, 0.25), *right[2:])
    assert not part_is_current(part, *right[:2], right[2] + 1, right[3])
    assert not part_is_current(tmp_path / "none.zip", *right)
    copy = shutil.copy(path, tmp_path / "copy.svs")
    assert part_is_current(part, *right[:3], copy)
    os.utime(path, ns=(0, 0))  # fetched again
    assert not part_is_current(part, *right)


def test_a_part_of_an_older_form_is_cut_again(tmp_path):
    """Before there were thumbnails, by an equal rule."""
    [path] = write_slides(tmp_path / "slides", ["a.svs"])
    part = write_part(tmp_path, cut(path, RULE), 0)
    with zipfile.ZipFile(part) as whole:
        members = {i.filename: whole.read(i) for i in whole.infolist()}
    del members["thumbnail.jpg"]
    with zipfile.ZipFile(part, "w") as older:
        for name, data in members.items():
            older.writestr(name, data)
    [outcome] = cut_slides(jobs([path]), RULE, tmp_path, 1)
    assert outcome.error is None and parts.read_thumbnail(part)[:2] == b"\xff\xd8"


def test_a_damaged_part_is_not_current(tmp_path):
    [path] = write_slides(tmp_path, ["a.svs"])
    result = cut(path, RULE)
    part = write_part(tmp_path, result, 0)
    whole = part.read_bytes()
    for damaged in (b"", whole[:-30], whole[: len(whole) // 2], b"{}"):
        part.write_bytes(damaged)
        assert not part_is_current(part, result.id, options_digest(RULE), result.size, path)


def test_one_worker_equals_four(tmp_path):
    paths = write_slides(tmp_path / "slides", [f"{i}.svs" for i in range(6)])
    found = {}
    for workers in (1, 4):
        outcomes = list(cut_slides(jobs(paths), RULE, tmp_path / str(workers), workers))
        assert [o.error for o in outcomes] == [None] * 6
        found[workers] = {o.path: contents(o.part) for o in outcomes}
    assert found[1] == found[4] and set(found[1]) == {str(path) for path in paths}
    assert not children()


def test_bad_slides_cost_only_themselves(tmp_path, misbehaving):
    """Abort (twice, then given up), abort once, a mistake, too much memory, a web page."""
    names = ["a.svs", "die.svs", "once.svs", "broken.svs", "greedy.svs", "b.svs"]
    paths = write_slides(tmp_path / "slides", names)
    page = tmp_path / "slides" / "page.svs"
    page.write_text("<html>")
    found = {}
    for outcome in cut_slides(jobs([*paths, page]), RULE, tmp_path / "parts", 2):
        assert outcome.path not in found
        found[Path(outcome.path).name] = outcome
    reasons = {name: o.error and o.error.reason for name, o in found.items()}
    assert reasons == {
        "a.svs": None,
        "b.svs": None,
        "once.svs": None,
        "die.svs": "worker-died",
        "broken.svs": "worker-error",
        "greedy.svs": "memory",
        "page.svs": "html",
    }
    assert "worker killed by signal 6" in str(found["die.svs"].error)
    assert {o.part is None for o in found.values() if o.error} == {True}
    assert not children()


def test_a_dying_workers_last_words_are_about_its_slide(tmp_path, misbehaving):
    """Whatever it printed about slides before: b.svs, between the two attempts."""
    paths = write_slides(tmp_path / "slides", ["a.svs", "die.svs", "b.svs"])
    outcomes = cut_slides(jobs(paths), RULE, tmp_path / "parts", 1)
    [told] = [o.error.what for o in outcomes if o.error]
    assert told == "worker killed by signal 6: library noise on stdout"


def test_openslides_abort_is_survived(tmp_path, misbehaving):
    """The real thing: GLib gives up on a tile of 128 x 1091018848 pixels."""
    [path] = write_slides(tmp_path, ["unguarded.svs"])
    files.set_tag(path, 323, 1091018848)
    [good] = write_slides(tmp_path / "slides", ["a.svs"])
    found = {o.path: o for o in cut_slides(jobs([path, good]), RULE, tmp_path / "parts", 1)}
    assert found[str(path)].error.reason == "worker-died"
    assert found[str(good)].error is None


def test_a_slide_that_never_ends(tmp_path, misbehaving):
    paths = write_slides(tmp_path / "slides", ["sleep.svs", "a.svs", "b.svs"])
    begin = time.monotonic()
    outcomes = list(cut_slides(jobs(paths), RULE, tmp_path / "parts", 2, timeout_s=4))
    assert time.monotonic() - begin < 60
    reasons = {Path(o.path).name: o.error and o.error.reason for o in outcomes}
    assert reasons == {"sleep.svs": "timeout", "a.svs": None, "b.svs": None}
    assert not children()


def test_finished_parts_are_taken_as_they_are(tmp_path):
    paths = write_slides(tmp_path / "slides", ["a.svs", "b.svs"])
    first = {o.path: o.part for o in cut_slides(jobs(paths), RULE, tmp_path / "parts", 1)}
    stamps = {part: part.stat().st_mtime_ns for part in first.values()}
    copy = tmp_path / "slides" / "copy.svs"
    copy.write_bytes(paths[0].read_bytes())
    [more] = write_slides(tmp_path / "more", ["c.svs"])
    files.write_slide(more, files.tissue_image(256, 192, 99))
    again = {
        o.path: o.part for o in cut_slides(jobs([*paths, copy, more]), RULE, tmp_path / "parts", 1)
    }
    assert {part: part.stat().st_mtime_ns for part in first.values()} == stamps
    assert again[str(copy)] == first[str(paths[0])]  # a copy is the same slide
    assert len(set(again.values())) == 3
    other = TileRule(size=64, max_tiles=3)
    for outcome in cut_slides(jobs(paths), other, tmp_path / "parts", 1):
        assert read_card(outcome.part)["kept"] == 3


def test_closing_the_iterator_ends_the_workers(tmp_path, misbehaving):
    paths = write_slides(tmp_path / "slides", ["a.svs", "sleep.svs"])
    outcomes = cut_slides(jobs(paths), RULE, tmp_path / "parts", 2)
    assert next(outcomes).error is None
    assert children()
    outcomes.close()
    assert not children()
    with lock(tmp_path / "parts" / ".lock"):
        pass


@pytest.mark.parametrize("at_fault", ["slide", "disk"])
def test_whose_fault_it_is_amid_a_part(tmp_path, monkeypatch, at_fault):
    """Pixels are read and written in turn: a slide that can't be read is refused, a full disk ends
    the build."""
    [path] = write_slides(tmp_path / "slides", ["a.svs"])

    def failing(*arguments, take):
        if at_fault == "disk":
            monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
            return cut(*arguments, take=take)
        fail()

    def fail(*_):
        raise OSError(5, "Input/output error")

    job = {"path": str(path), "mpp": None, "parts_dir": str(tmp_path / "parts")}
    reply = worker.answer(job | {"rule": dataclasses.asdict(RULE)}, failing)
    assert reply["error"][1] == {"slide": "read-failed", "disk": "write-failed"}[at_fault]
    assert list((tmp_path / "parts").iterdir()) == []


def test_one_build_at_a_time(tmp_path):
    [path] = write_slides(tmp_path / "slides", ["a.svs"])
    with lock(tmp_path / ".lock"):
        with pytest.raises(HistoError) as caught:
            list(cut_slides(jobs([path]), RULE, tmp_path, 1))
    assert caught.value.reason == "locked"


BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from histo_jax.slides import pool
from histo_jax.slides.tiles import TileRule
pool.COMMAND = (sys.executable, "-P", {program!r})
jobs = [pool.Job(str(p)) for p in sorted(Path({slides!r}).glob("*.svs"))]
for outcome in pool.cut_slides(jobs, TileRule(size=64, max_tiles=5), {parts!r}, 2):
    print(outcome.part, flush=True)
"""


def test_a_killed_build_leaves_whole_parts_and_no_process(tmp_path):
    """kill -9 amid the build: its workers go, even one that never ends; the next build goes on."""
    names = ["a.svs", "b.svs", "sleep.svs", "c.svs"]
    paths = write_slides(tmp_path / "slides", names)
    places = {"tests": str(TESTS), "program": str(TESTS / "slide_files.py")}
    places |= {"slides": str(tmp_path / "slides"), "parts": str(tmp_path / "parts")}
    script = BUILD.format(**places)
    build = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    finished = [Path(build.stdout.readline().decode().strip()) for _ in range(3)]
    workers = children(build.pid)
    assert len(workers) >= 1
    build.send_signal(signal.SIGKILL)
    build.wait()
    build.stdout.close()
    patience = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < patience, "a worker outlived its build"
        time.sleep(0.05)
    leftover = tmp_path / "parts" / ".0123456789abcdef.zip.tmp.1"
    leftover.write_bytes(b"half")  # as a kill amid a write would leave
    kept = {part: part.stat().st_mtime_ns for part in finished}
    assert len(kept) == 3 and all(read_card(part)["kept"] == 5 for part in kept)
    outcomes = list(cut_slides(jobs(paths), RULE, tmp_path / "parts", 2))
    assert [o.error for o in outcomes] == [None] * 4
    assert {part: part.stat().st_mtime_ns for part in finished} == kept
    assert not leftover.exists()
    fresh = {o.path: contents(o.part) for o in cut_slides(jobs(paths), RULE, tmp_path / "new", 1)}
    assert {o.path: contents(o.part) for o in outcomes} == fresh


def test_workers_that_cannot_start(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-c", "raise SystemExit('no such room')"))
    with pytest.raises(HistoError, match="no such room") as caught:
        list(cut_slides([Job("a.svs")], RULE, tmp_path, 1))
    assert caught.value.reason == "worker-start"
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-c", "import time; time.sleep(99)"))
    monkeypatch.setattr(pool, "START_S", 0.2)
    with pytest.raises(HistoError, match="says nothing"):
        list(cut_slides([Job("a.svs")], RULE, tmp_path, 1))
    assert not children()


def test_a_full_disk_is_not_the_slides_fault(tmp_path):
    job = Job("a.svs")
    reply = {"error": ("parts/0.zip", "write-failed", "cannot write: no space", ""), "seconds": 1}
    with pytest.raises(HistoError, match="no space"):
        pool._outcome(job, reply)


def test_no_slides_no_workers(tmp_path):
    assert list(cut_slides([], RULE, tmp_path, 4)) == []


def test_a_pipe_does_not_hold_the_worker(tmp_path):
    os.mkfifo(tmp_path / "pipe.svs")
    job = {"path": str(tmp_path / "pipe.svs"), "mpp": None, "rule": {}, "parts_dir": str(tmp_path)}
    assert worker.answer(job)["error"][1] == "not-a-file"


def test_a_huge_single_level_stays_small(tmp_path):
    """100,000 x 100,000 pixels in one level, within 1 GiB of address space."""
    path = tmp_path / "huge.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        out.write(
            iter([zlib.compress(np.full((256, 256, 3), 240, np.uint8).tobytes())] * 391**2),
            shape=(100_000, 100_000, 3),
            dtype=np.uint8,
            tile=(256, 256),
            photometric="rgb",
            compression="adobe_deflate",
            metadata=None,
        )
    options = {"timeout_s": 120, "memory_bytes": 2**30}
    [outcome] = cut_slides([Job(str(path))], TileRule(), tmp_path / "parts", 1, **options)
    assert outcome.error is None, outcome.error
    card = read_card(outcome.part)
    assert card["kept"] == 0 and card["grid"] == [446, 446]


@pytest.mark.slow
def test_mutants(tmp_path):
    """Slides with a few bytes changed: each is read or refused, and the build always ends."""
    rng = np.random.default_rng(0)
    [path] = write_slides(tmp_path, ["a.svs"])
    whole = bytearray(path.read_bytes())
    folder = tmp_path / "mutants"
    folder.mkdir()
    for i in range(1500):
        mutant = bytearray(whole)
        for place in rng.integers(0, 400 if i % 2 else len(whole), 3):
            mutant[-int(place) - 1 if i % 4 == 1 else int(place)] = rng.integers(256)
        (folder / f"{i}.svs").write_bytes(mutant)
    paths = sorted(folder.iterdir())
    outcomes = list(cut_slides(jobs(paths), RULE, tmp_path / "parts", 2, timeout_s=60))
    assert sorted(o.path for o in outcomes) == sorted(str(path) for path in paths)
    refused = [o.error.reason for o in outcomes if o.error]
    assert 100 < len(refused) < 1500
    assert {"worker-error", "timeout"}.isdisjoint(refused), set(refused)


def test_real_slides(real_data, tmp_path, misbehaving):
    """The slide that kills its reader, read on purpose without our guard, beside the others."""
    folder = tmp_path / "slides"
    folder.mkdir()
    (folder / "unguarded-crash.svs").symlink_to(real_data / "wsi_broken" / "crash.svs")
    paths = [folder / "unguarded-crash.svs", real_data / "wsi_broken" / "crash.svs"]
    for name in ("wsi", "wsi_synthetic"):
        paths += sorted((real_data / name).iterdir())
    found = {}
    for outcome in cut_slides(jobs(paths), TileRule(), tmp_path / "parts", 2, timeout_s=60):
        result = outcome.error.reason if outcome.error else read_card(outcome.part)["kept"]
        found[Path(outcome.path).name] = result
    assert found == {
        "unguarded-crash.svs": "worker-died",
        "crash.svs": "implausible-tile",
        "cmu-1-small-region.svs": 41,
        "test3-DAPI-2-(387).ndpi": 0,
        "boxes.tiff": "implausible-mpp",
        "boxes_0.dcm": 0,
        "boxes_1.dcm": 0,
        "boxes.png": "not-a-slide",
        "boxes-no-icc.png": "not-a-slide",
        "small.svs": 0,
        "unopenable.tiff": "unsupported-codec",
    }


def test_part_names_are_safe(tmp_path):
    """A part's members are named by us, whatever the slide is called."""
    [path] = write_slides(tmp_path, ["..%2f..\n.svs"])
    part = parts.write_part(tmp_path / "parts", cut(path, RULE), 0)
    assert read_card(part)["name"] == path.name
    with zipfile.ZipFile(part) as archive:
        assert all(name.isascii() and "/" not in name for name in archive.namelist())
