"""histo_wsi with regions drawn on its slides: labelled tiles, built, changed, stopped, refused."""

import collections
import json
import shutil

import numpy as np
import pytest

from histo_jax.data import slide_set
from tests import folder_builders
from tests.prepared_sets import refused
from tests.test_slides_regions import asap, box, feature

# Tiles of 64 pixels at level 0 of slides of 512.
OPTIONS = {"name": "lab", "tile_size": 64, "tissue": "none", "regions": "only", "workers": 1}


def geojson(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Two slides with regions, of QuPath and of ASAP; one without, labels of their own."""
    folder = tmp_path_factory.mktemp("slides")
    for number, name in enumerate(("a", "b", "c")):
        folder_builders.slide(folder / f"{name}.tif", number, 512)
    tumour, stroma = box(0, 0, 256, 128), box(256, 256, 512, 512)
    geojson(folder / "a.geojson", feature([tumour], "tumour"), feature([stroma], "stroma"))
    asap(folder, tumour=box(128, 128, 256, 256), fat=box(300, 0, 310, 10))
    (folder / "a.xml").rename(folder / "b.tif.xml")
    geojson(folder / "gone.geojson")
    (folder / "slides.csv").write_text("file,patient,label\na.tif,p,x\nb.tif,q,y\n")
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


def counted(made):
    """Tiles by slide and class."""
    classes = made.card["classes"]
    pairs = zip(made.table["slide"], made.table["label"], strict=True)
    return dict(collections.Counter((str(slide), classes[label]) for slide, label in pairs))


def test_tiles_in_regions_have_their_class(built):
    expected = {("a.tif", "tumour"): 8, ("a.tif", "stroma"): 16, ("b.tif", "tumour"): 4}
    assert counted(built) == expected and built.card["classes"] == ["stroma", "tumour"]
    for record in folder_builders.decoded(built).values():
        x, y, stroma = record["x"], record["y"], record["label"] == 0
        assert (x >= 256 and y >= 256) if stroma else (x < 256 and y < 256)
    assert set(built.table["patient"]) == {"p", "q"}
    tiles = built.card["summary"]["tiles"]
    assert tiles["kept"] == 28 and tiles["outside"] == 2 * 64 - 28
    page = (built.path / "slides.html").read_text()
    assert "not in a region that was drawn" in page and "regions of one class" in page


def test_what_is_left_out_is_said(slides, tmp_path, capsys):
    folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS)
    told = capsys.readouterr().out
    assert "note: 1 slides have no regions and are left out: c.tif" in told
    assert "note: 1 files of regions have no slide: gone.geojson" in told
    assert "note: the labels are those of the regions, not of slides.csv" in told
    assert "warning: only" not in told


@pytest.mark.slow
def test_equal_with_more_workers_and_after_a_stop(slides, built, tmp_path, monkeypatch):
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
    stamp = first.stat().st_mtime_ns
    monkeypatch.setattr(slide_set, "cut_slides", cut_slides)
    again = folder_builders.build("histo_wsi", slides, tmp_path, **OPTIONS | {"workers": 4})
    assert first.stat().st_mtime_ns == stamp
    assert again.card["content_hash"] == built.card["content_hash"]
    np.testing.assert_array_equal(again.table["key"], built.table["key"])


@pytest.mark.slow
def test_other_regions_are_refused_and_cut_anew_on_demand(mine, built):
    slides, data = mine
    parts = {p: p.stat().st_mtime_ns for p in (data / ".parts/histo_wsi-lab").glob("*.zip")}
    geojson(slides / "a.geojson", feature([box(0, 0, 128, 64)], "tumour"))
    with refused("files-changed", "1 files changed", "a.geojson", "--overwrite"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    again = folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    assert counted(again) == {("a.tif", "tumour"): 2, ("b.tif", "tumour"): 4}
    assert again.card["content_hash"] != built.card["content_hash"]
    assert sum(part.stat().st_mtime_ns == stamp for part, stamp in parts.items()) == 1
    with refused("options-changed", "regions was 'only' and is now None"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS | {"regions": None})


@pytest.mark.slow
def test_regions_of_one_more_slide_extend_the_set(mine):
    slides, data = mine
    geojson(slides / "c.geojson", feature([box(0, 0, 64, 64)], "fat"))
    extended = folder_builders.build("histo_wsi", slides, data, **OPTIONS)
    assert counted(extended)["c.tif", "fat"] == 1 and extended.n == 29
    assert extended.card["classes"] == ["fat", "stroma", "tumour"]
    (slides / "c.geojson").unlink()
    with refused("files-vanished", "2 files vanished", "c.geojson"):
        folder_builders.build("histo_wsi", slides, data, **OPTIONS)


def test_a_bad_file_costs_its_slide_alone(mine, capsys):
    slides, data = mine
    (slides / "c.xml").write_text("<ASAP_Annotations>")
    geojson(slides / "b.geojson", feature([box(0, 0, 9000, 9)], "tumour"))
    (slides / "b.tif.xml").unlink()
    made = folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    assert made.card["summary"]["skipped"] == {"regions": 1, "regions-outside": 1}
    assert {slide for slide, _ in counted(made)} == {"a.tif"}
    told = capsys.readouterr().out
    assert (
        "b.tif: skipped, b.geojson: feature 1 reaches 9000, 9, outside a slide of 512x512" in told
    )
    assert "c.tif: skipped, c.xml: is no XML: no element found" in told
    page = (made.path / "slides.html").read_text()
    assert "export the regions again" in page and "b.geojson: feature 1 reaches" in page


@pytest.mark.slow
def test_slides_without_a_usable_region_are_remarked(mine, capsys):
    slides, data = mine
    geojson(slides / "a.geojson", feature([box(0, 0, 64, 64)]))
    geojson(slides / "c.geojson", feature([box(0, 0, 20, 20)], "fat"))
    made = folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    told = capsys.readouterr().out
    assert "a.tif: 1 drawn regions without a class left out" in told
    assert "a.tif: no region with a class is drawn" in told
    assert "c.tif: no tile lies in a drawn region" in told
    assert counted(made) == {("b.tif", "tumour"): 4}


@pytest.mark.slow
def test_names_are_hidden_on_demand(slides, tmp_path):
    (tmp_path / "in").mkdir()
    for path in slides.iterdir():
        shutil.copy(path, tmp_path / "in")
    geojson(tmp_path / "in/c.geojson", feature([box(0, 0, 9000, 9)], "tumour"))
    options = OPTIONS | {"pseudonymise": True}
    made = folder_builders.build("histo_wsi", tmp_path / "in", tmp_path / "out", **options)
    files = b"".join(p.read_bytes() for p in made.path.iterdir() if p.suffix != ".npz")
    for name in (b"a.tif", b"c.tif", b"a.geojson", b"c.geojson", b"b.tif.xml", b"gone"):
        assert name not in files, name
    assert made.card["classes"] == ["stroma", "tumour"]


@pytest.mark.slow
def test_copies_with_other_regions_are_refused(mine):
    slides, data = mine
    shutil.copy(slides / "a.tif", slides / "copy.tif")
    geojson(slides / "copy.geojson", feature([box(0, 0, 64, 64)], "stroma"))
    table = (slides / "slides.csv").read_text() + "copy.tif,p,x\n"
    (slides / "slides.csv").write_text(table)
    with refused("conflict", "copy.tif: is a copy of a.tif, but other regions are drawn on it"):
        folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    shutil.copy(slides / "a.geojson", slides / "copy.geojson")
    made = folder_builders.build("histo_wsi", slides, data, folder_builders.overwrite(), **OPTIONS)
    assert made.n == 28 and made.card["summary"]["skipped"] == {"duplicate": 1}
