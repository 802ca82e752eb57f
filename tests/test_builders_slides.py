"""histo_wsi and histo_demo from folder to prepared set, in this process."""

import json
import re
import shutil

import numpy as np
import pytest

from histo_jax.data import slide_set
from histo_jax.data.prepared import CARD, open_prepared
from tests import folder_builders
from tests.prepared_sets import refused

OPTIONS = {"name": "lab", "mpp": 1.0, "tile_size": 64, "min_foreground": 0.1, "workers": 1}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Two patients, a copy under another name, a web page, glass."""
    folder = tmp_path_factory.mktemp("slides")
    (folder / "sub").mkdir()
    folder_builders.slide(folder / "a.tif", 1)
    folder_builders.slide(folder / "sub" / "b.tif", 2)
    shutil.copy(folder / "a.tif", folder / "copy.tif")
    (folder / "page.svs").write_text("<!DOCTYPE html><html>")
    folder_builders.slides.write_slide(folder / "glass.tif", np.full((256, 256, 3), 240, np.uint8))
    table = "file,patient,label\na.tif,one,x\ncopy.tif,one,x\nsub/b.tif,two,y\n"
    (folder / "slides.csv").write_text(table)
    return folder


@pytest.fixture(scope="module")
def built(slides, tmp_path_factory):
    return folder_builders.build("histo_wsi", slides, tmp_path_factory.mktemp("data"), **OPTIONS)


@pytest.fixture
def mine(slides, built, tmp_path):
    """A copy of folder and data to spoil; times are kept."""
    shutil.copytree(slides, tmp_path / "slides")
    shutil.copytree(built.path.parents[2], tmp_path / "data")
    return tmp_path / "slides", tmp_path / "data"


def test_records_say_where_they_are_from(slides, built):
    records = folder_builders.decoded(built)
    assert len(records) == built.n == 8
    for key, record in records.items():
        identity, level, x, y = key.split("-")
        assert (record["level"], record["x"], record["y"]) == (
            int(level),
            int(x),
            int(y),
        ) and level == "1"
        assert record["image"].shape == (64, 64, 3) and record["mpp"] == 1.0
        assert record["dataset"] == b"histo_wsi/lab"
        assert (built.path.parents[2] / ".parts" / "histo_wsi-lab" / f"{identity}.zip").exists()
    seen = {(r["slide"], r["patient"], int(r["label"])) for r in records.values()}
    assert seen == {(b"a.tif", b"one", 0), (b"sub/b.tif", b"two", 1)}
    assert built.card["classes"] == ["x", "y"]


def test_pixels_are_those_of_the_slide(slides, built):
    from histo_jax.slides.source import Slide

    record = next(r for r in folder_builders.decoded(built).values() if r["slide"] == b"a.tif")
    with Slide(slides / "a.tif") as slide:
        rgb, _ = slide.read(int(record["x"]), int(record["y"]), 1, (64, 64))
    assert np.abs(rgb.astype(int) - record["image"]).mean() < 4  # JPEG


def test_every_slide_and_tile_is_counted(built):
    summary = built.card["summary"]
    assert summary["files"] == 5 and summary["read"] == 3 and summary["records"] == 8
    assert summary["skipped"] == {"duplicate": 1, "html": 1}
    assert sum(summary["tiles"].values()) == 12 and summary["tiles"]["kept"] == 8
    (line,) = (built.path / "quarantine.jsonl").read_text().splitlines()
    line = json.loads(line)
    assert line["path"] == "page.svs" and line["reason"] == "html" and len(line["sha256"]) == 64


def test_the_page_is_named_at_the_end_and_equal_when_built_again(slides, built, tmp_path, capsys):
    again = folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS | {"workers": 2})
    page = again.path / "slides.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"look at it: {page}"
    assert page.read_bytes() == (built.path / "slides.html").read_bytes()
    text = page.read_text()
    assert text.count("<article") == 3 and "data:image/jpeg;base64," in text
    assert all(name in text for name in ("a.tif", "sub/b.tif", "glass.tif: no tissue", "page.svs"))


def test_nothing_changed_is_said_and_nothing_done(mine, capsys, monkeypatch):
    slides, data = mine
    monkeypatch.setattr(slide_set, "cut_slides", None)
    before = (data / "histo_wsi/lab/1.0.0" / CARD).stat().st_mtime_ns
    folder_builders.build("histo_wsi", slides, data, **OPTIONS | {"workers": 2, "timeout_s": 9.0})
    assert "histo_wsi/lab: nothing changed" in capsys.readouterr().out
    assert (data / "histo_wsi/lab/1.0.0" / CARD).stat().st_mtime_ns == before


def test_changed_options_and_files_are_refused(mine):
    slides, data = mine
    with refused("options-changed", "mpp was 1.0 and is now 0.5", "--overwrite"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS | {"mpp": 0.5})
    table = (slides / "slides.csv").read_text()
    (slides / "slides.csv").write_text(table.replace("two", "three"))
    with refused("files-changed", "1 files changed", "sub/b.tif", "--overwrite"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    (slides / "slides.csv").write_text(table)
    (slides / "page.svs").unlink()
    with refused("files-vanished", "1 files vanished", "page.svs", "--overwrite"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    again = folder_builders.build(
        "histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS | {"min_foreground": 0.0}
    )
    assert again.card["options"]["min_foreground"] == 0.0 and again.n == 12


def test_added_slides_extend_the_set_and_old_ones_are_not_cut_again(mine, built):
    slides, data = mine
    parts = data / ".parts" / "histo_wsi-lab"
    before = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.zip")}
    folder_builders.slide(slides / "new.tif", 3)
    extended = folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    after = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.zip")}
    assert len(after) == len(before) + 1 and before.items() <= after.items()
    assert extended.n == 12 and extended.card["content_hash"] != built.card["content_hash"]
    keys, images = (
        dict(zip(s.table["key"], s.table["sha256"], strict=True)) for s in (built, extended)
    )
    assert keys.items() <= images.items()
    assert not list((data / "histo_wsi/lab").glob(".*"))


def test_a_failed_extension_leaves_the_old_set(mine, built, monkeypatch):
    slides, data = mine
    folder_builders.slide(slides / "new.tif", 3)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("histo_jax.data.prepared.write_index", full)
    with refused("no-space", "the disk is full"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    assert open_prepared(data, "histo_wsi/lab").card == built.card


def test_what_killed_builds_leave_is_cleared(mine, built, capsys):
    slides, data = mine
    folder = data / "histo_wsi/lab"
    (folder / "incomplete.ABCDEF_1.0.0").mkdir()
    (folder / "1.0.0").rename(folder / ".1.0.0.old")  # killed while it extended the set
    shutil.copytree(folder / ".1.0.0.old", folder / "1.0.0")
    (folder / "1.0.0" / CARD).unlink()
    same = folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    assert same.card == built.card
    assert [p.name for p in folder.iterdir()] == ["1.0.0"]
    (folder / "1.0.0" / CARD).unlink()  # killed before the card
    again = folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    assert again.card["content_hash"] == built.card["content_hash"]
    assert "removes the incomplete" in capsys.readouterr().out


def test_a_stopped_cut_is_resumed(slides, built, tmp_path, monkeypatch):
    cut_slides = slide_set.cut_slides

    def stopped(*arguments):
        outcomes = cut_slides(*arguments)
        yield next(outcomes)
        outcomes.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(slide_set, "cut_slides", stopped)
    with pytest.raises(KeyboardInterrupt):
        folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS)
    (first,) = (tmp_path / ".parts/histo_wsi-lab").glob("*.zip")
    made = first.stat().st_mtime_ns
    monkeypatch.setattr(slide_set, "cut_slides", cut_slides)
    resumed = folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS | {"workers": 2})
    assert first.stat().st_mtime_ns == made
    assert resumed.card["content_hash"] == built.card["content_hash"]
    np.testing.assert_array_equal(resumed.table["key"], built.table["key"])  # and their order


def test_too_many_refused_fail_the_build_after_the_rest(slides, tmp_path):
    with refused(
        "quarantine", "1 of 5 slides refused, at most 0 may be: 1 html", "quarantine.jsonl"
    ):
        folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS, max_quarantine=0)
    parts = tmp_path / ".parts/histo_wsi-lab"
    assert (
        len(list(parts.glob("*.zip"))) == 3 and "html" in (parts / "quarantine.jsonl").read_text()
    )
    assert not (tmp_path / "histo_wsi/lab/1.0.0").exists()
    assert folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS).n == 8


def test_a_sample_is_no_set(slides, tmp_path, capsys):
    with refused("not-prepared", "has no card.json"):
        folder_builders.build(
            "histo_wsi", slides, tmp_path, {"max_examples_per_split": 3}, **OPTIONS
        )
    out = capsys.readouterr().out
    assert "lab: 3 records" in out and "a sample, not a set" in out
    assert folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS).n == 8


def test_copies_that_disagree_are_refused(mine):
    slides, data = mine
    (slides / "slides.csv").write_text("file,label\na.tif,x\ncopy.tif,y\n")
    with refused("conflict", "copy.tif: is a copy of a.tif, but its label is 'y', not 'x'"):
        folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)


def test_official_splits_come_from_the_table(mine):
    slides, data = mine
    table = (
        "file,split\na.tif,train\ncopy.tif,train\npage.svs,train\nglass.tif,test\nsub/b.tif,test\n"
    )
    (slides / "slides.csv").write_text(table)
    made = folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    assert {(s, n) for s, n in zip(made.table["split"], made.table["slide"], strict=True)} == {
        ("train", "a.tif"),
        ("test", "sub/b.tif"),
    }
    assert "label" not in made.table


def test_no_tissue_anywhere_is_one_error(slides, tmp_path):
    (tmp_path / "only").mkdir()
    shutil.copy(slides / "glass.tif", tmp_path / "only")
    with refused("no-records", "gave no record for split train: 0 records from 1 of 1 slides"):
        folder_builders.build("histo_wsi", tmp_path / "only", tmp_path / "data", **OPTIONS)


def test_few_kept_tiles_name_another_rule(slides, tmp_path, capsys):
    (tmp_path / "mixed").mkdir()
    image = np.full((1024, 1024, 3), 240, np.uint8)
    image[:256, :128] = folder_builders.picture(1, 256).crop((64, 0, 192, 256))
    folder_builders.slides.write_slide(tmp_path / "mixed" / "a.tif", image)
    folder_builders.build("histo_wsi", tmp_path / "mixed", tmp_path / "data", **OPTIONS)
    assert "warning: only 2 of 64 grid tiles were kept by the tissue rule 'otsu'" in (
        out := capsys.readouterr().out
    )
    assert "tissue='ciga2021'" in out


def test_names_are_hidden_on_demand(slides, tmp_path):
    made = folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS, pseudonymise=True)
    plain = {"a.tif", "sub/b.tif", "one", "two"}
    assert not plain & {*made.table["slide"], *made.table["patient"]}
    assert len(set(made.table["slide"])) == 2 == len(set(made.table["patient"]))
    files = b"".join(p.read_bytes() for p in made.path.iterdir() if p.suffix != ".npz")
    files = re.sub(rb'"data:image/jpeg;base64,[^"]*"', b"", files)  # any letters, somewhere
    for name in (b"a.tif", b"b.tif", b"copy.tif", b"page.svs", b"one,", b"two"):
        assert name not in files, name
    text = (made.path / "slides.html").read_text()
    assert all(name in text for name in set(made.table["slide"])) and "no tissue found" in text
    identities = {p.stem for p in (tmp_path / ".parts/histo_wsi-lab").glob("*.zip")}
    assert not identities & {key.split("-")[0] for key in made.table["key"]}


def test_a_second_build_at_the_same_time_is_refused(slides, tmp_path):
    from histo_jax import files

    with files.lock(tmp_path / ".parts/histo_wsi-lab/build.lock"):
        with refused("locked", "in use by pid"):
            folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS)


def test_demo_has_classes_and_patients(tmp_path):
    made = folder_builders.build(
        "histo_demo", None, tmp_path, name="d", slides=12, tile_size=16, max_tiles=4
    )
    assert made.card["classes"] == [
        "fat", "lymphocytes", "necrosis", "normal_glands", "stroma", "tumour_glands",
    ]  # fmt: skip
    assert set(made.table["patient"]) == {"patient000", "patient001"}
    assert set(made.table["label"]) == set(range(6))
    assert made.n == made.card["summary"]["records"] > 30


def test_drawn_patches_carry_class_cellularity_and_mask(tmp_path):
    options = {"name": "p", "patients": 2, "size": 16}
    made = folder_builders.build("histo_demo_patches", None, tmp_path, **options)
    assert made.n == 2 * 6 * 9 and len(made.card["classes"]) == 6
    for example in folder_builders.decoded(made).values():
        assert example["mask"].shape[:2] == (16, 16) and set(np.unique(example["mask"])) <= {0, 1}
        assert abs(100 * example["mask"].mean() - example["target"]) < 0.01
    drawn = [row.split(",")[1] for row in next(tmp_path.rglob("labels.csv")).read_text().split()]
    assert not {"patient000", "patient001"} & set(drawn)  # the slides' patients
