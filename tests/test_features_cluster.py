"""The command `cluster`: files, lists and pages of slides whose clusters are known, and bad input."""

import argparse
import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from histo_jax.errors import HistoError
from histo_jax.features import cluster, kmeans, overlay, store
from histo_jax.features.store import SlideFeatures
from tests import browser, feature_files
from tests.test_features_overlay import check

ODD = "<i>a</i> & b"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of small matrices wait for one another where other tests run beside."""
    with threadpool_limits(1):
        yield


def run(features: Path, out: Path, *flags: str) -> Path:
    parser = argparse.ArgumentParser()
    cluster.add_flags(parser)
    cluster.run(parser.parse_args([str(features), "--out", str(out), *flags]))
    return out


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    feature_files.write(folder, "a", 0, slide=ODD)
    feature_files.write(folder, "b", 1)
    return folder


@pytest.fixture(scope="module")
def made(features, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run(features, out, "--k", "4", "--elbow", "2:6:1", "--each", "3")


@pytest.fixture(scope="module")
def numbers(made):
    """The cluster of each kind of tile."""
    labels = [int(row["cluster"]) for row in rows(made / "clusters.csv")[:48]]
    return dict(zip(feature_files.kinds(0).ravel().tolist(), labels, strict=True))


def test_every_tile_is_listed_with_its_place(made, features, numbers):
    listed = rows(made / "clusters.csv")
    assert list(listed[0]) == ["key", "slide", "x", "y", "cluster", "distance"]
    assert [row["key"] for row in listed[48:]] == SlideFeatures(features / "b.h5").keys.tolist()
    assert listed[9]["slide"] == ODD and (listed[9]["x"], listed[9]["y"]) == ("1536", "2560")
    kinds = [*feature_files.kinds(0).ravel(), *feature_files.kinds(1).ravel()]
    assert [int(row["cluster"]) for row in listed] == [numbers[kind] for kind in kinds]
    with np.load(made / "clusters.npz") as held:
        assert np.allclose([float(row["distance"]) for row in listed], held["distances"], rtol=1e-5)


def test_representatives_are_the_nearest_of_each(made):
    listed, chosen = rows(made / "clusters.csv"), rows(made / "representatives.csv")
    for number in range(4):
        its = sorted(
            (float(r["distance"]), r["key"]) for r in listed if int(r["cluster"]) == number
        )
        found = [(float(r["distance"]), r["key"]) for r in chosen if int(r["cluster"]) == number]
        assert found == its[:3]


def test_elbow_is_told_drawn_and_kept(made, features, capsys):
    assert [row["k"] for row in rows(made / "elbow.csv")] == ["2", "3", "4", "5", "6"]
    [bend] = [row["k"] for row in rows(made / "elbow.csv") if row["bend"] == "1"]
    assert bend in ("3", "4")  # there are four kinds
    run(features, made, "--elbow", "2:7:1")
    said = capsys.readouterr().out
    assert said.count("known") == 5 and f"elbow: k={bend} by the second difference" in said
    assert f"k={bend}: {bend} clusters hold tiles" in said
    run(features, made, "--k", "4", "--each", "3")  # as the others find it


def test_again_takes_up_what_is_there(made, features, numbers, monkeypatch, capsys):
    monkeypatch.setattr(kmeans, "fit", None)
    before = (made / "clusters.csv").read_bytes()
    pen, glass = numbers[3], numbers[2]
    run(
        features,
        made,
        "--k",
        "4",
        "--each",
        "2",
        "--show",
        f"{pen}",
        "--clusters",
        f"{pen},{glass}",
    )
    assert "taken up" in capsys.readouterr().out
    assert (made / "clusters.csv").read_bytes() == before
    listed = [int(row["cluster"]) for row in rows(made / "negatives.csv")]
    others = sorted({0, 1, 2, 3} - {pen, glass})
    assert listed == [others[0]] * 2 + [others[1]] * 2
    [feature] = check(json.loads((made / "slides/a.geojson").read_text()))
    # The pen is two tiles side by side, in the last row.
    x, y, side = 1024, 2048 + 5 * 512, 512
    corners = [[x, y], [x + 2 * side, y], [x + 2 * side, y + side], [x, y + side], [x, y]]
    assert feature["geometry"]["coordinates"] == [corners]
    picture = np.asarray(SlideFeatures(features / "a.h5").overview())
    painted = np.asarray(Image.open(made / "slides/a.png"))[:120, :160]
    tinted = np.zeros((120, 160), bool)
    tinted[100:, :40] = True
    assert np.array_equal(painted[~tinted], picture[~tinted])
    blue = 0.6 * picture[tinted] + 0.4 * np.array(overlay.PALETTE[0])
    assert np.array_equal(painted[tinted], np.rint(blue))


def test_other_features_are_clustered_anew_and_old_negatives_go(tmp_path, capsys):
    folder = tmp_path / "features"
    feature_files.write(folder, "a")
    out = run(folder, tmp_path / "out", "--k", "3", "--clusters", "0")
    assert (out / "negatives.csv").exists()
    feature_files.write(folder, "a", 1)
    run(folder, out, "--k", "3")
    assert "taken up" not in capsys.readouterr().out and not (out / "negatives.csv").exists()
    (out / "clusters.npz").write_bytes(b"PK damaged")
    run(folder, out, "--k", "3")
    assert "taken up" not in capsys.readouterr().out


def test_sheets_have_a_yellow_box_of_three_for_every_cluster(made):
    sheet = np.asarray(Image.open(made / "clusters.png"))
    assert sheet.shape == (96, 4 * 260 + 4, 3)
    assert (sheet[4, 4:260] == (255, 204, 0)).all()
    assert Image.open(made / "random.png").size == Image.open(made / "balanced.png").size


@pytest.mark.slow
def test_pages_read_well(made, features, numbers):
    run(features, made, "--k", "4", "--elbow", "2:6:1")
    seen = browser.assert_readable(made / "clusters.html")
    assert "of 2 slides, 16 numbers each" in seen.text
    assert ODD in seen.text and seen.images == 3 + 2 + 4 * 3
    assert "The curve bends most at k =" in seen.text


@pytest.mark.slow
def test_the_page_of_a_slide_reads_well(made):
    assert "cluster" in browser.assert_readable(made / "slides/a.html").text


def test_a_slide_pans_zooms_and_tells_its_tiles(made, features, numbers):
    run(features, made, "--k", "4", "--show", f"{numbers[1]}")
    key = SlideFeatures(features / "a.h5").keys[5 * 8]  # bottom left: pen
    with browser.browser() as opened:
        tab = opened.new_page(viewport={"width": 1200, "height": 900})
        tab.goto((made / "slides/a.html").resolve().as_uri())
        shown = "document.querySelectorAll('#boxes path').length"
        box = "document.getElementById('view').getAttribute('viewBox').split(' ').map(Number)"
        at = """([x, y]) => { const v = document.getElementById('view');
          const p = new DOMPoint(x, y).matrixTransform(v.getScreenCTM()); return [p.x, p.y] }"""
        assert tab.evaluate(shown) == 1 and tab.evaluate(box) == [1024, 2048, 4096, 3072]
        # Pointing, and clicking a tile of a cluster that is off.
        x, y = tab.evaluate(at, [1024 + 100, 2048 + 5 * 512 + 100])
        tab.mouse.move(x, y)
        assert tab.inner_text("#says") == f"cluster {numbers[3]} · {key}"
        tab.mouse.click(x, y)
        assert tab.evaluate(shown) == 2
        assert tab.is_checked(f"[data-cluster='{numbers[3]}']")
        tab.uncheck(f"[data-cluster='{numbers[1]}']")
        assert tab.evaluate(shown) == 1
        # The wheel zooms about the pointer: the same tile stays under it.
        tab.mouse.move(x, y)
        tab.mouse.wheel(0, -400)
        for _ in range(50):  # the page's own rules forbid wait_for_function
            tab.wait_for_timeout(100)
            if tab.evaluate(box)[2] < 3000:
                break
        tab.mouse.move(x + 1, y)
        assert key in tab.inner_text("#says")
        before = tab.evaluate(box)
        tab.mouse.down()
        tab.mouse.move(x + 61, y + 30, steps=4)
        tab.mouse.up()
        left, top, width, _ = tab.evaluate(box)
        assert left < before[0] and top < before[1] and width == before[2]
        assert tab.evaluate(shown) == 1  # a drag is no click
        tab.focus("#view")
        tab.keyboard.press("0")
        assert tab.evaluate(box) == [1024, 2048, 4096, 3072]
        tab.keyboard.press("+")
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate(box)[0] > 1024
        tab.close()


def test_patches_and_slides_without_pictures(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    keys = [f"k{i}" for i in range(30)]
    patches = feature_files.facts("set", patch_size_level0=0, overview_width=0, overview_height=0)
    store.write(tmp_path / "f/set.h5", patches, x, np.zeros((30, 2)), keys)
    out = run(tmp_path / "f", tmp_path / "patches", "--k", "3")
    assert not (out / "slides").exists() and not (out / "random.png").exists()
    assert "lie nowhere on a slide" in (out / "clusters.html").read_text()
    bare = feature_files.facts("bare", overview_width=0, overview_height=0)
    store.write(tmp_path / "g/bare.h5", bare, x, np.arange(60).reshape(30, 2) * 512, keys)
    out = run(tmp_path / "g", tmp_path / "bare", "--k", "3")
    assert [path.name for path in (out / "slides").iterdir()] == ["bare.geojson"]


def test_slides_of_one_name_in_two_folders_keep_their_files(tmp_path):
    paths = [feature_files.write(tmp_path / folder, "a", i) for i, folder in enumerate("xy")]
    parser = argparse.ArgumentParser()
    cluster.add_flags(parser)
    out = ["--out", str(tmp_path / "out"), "--k", "2"]
    cluster.run(parser.parse_args([*map(str, paths), *out]))
    assert {"a.geojson", "a-2.geojson"} <= {p.name for p in (tmp_path / "out/slides").iterdir()}


def test_many_clusters_go_to_further_pages(features, tmp_path, monkeypatch):
    from histo_jax.features import cluster_pages

    monkeypatch.setattr(cluster_pages, "A_PAGE", 10)
    out = run(features, tmp_path, "--k", "25")
    second = (out / "clusters-2.html").read_text()
    assert "clusters-3.html#clusters" in second and second.count('class="cluster"') == 10


BAD = [
    (["--k", "97"], "--k: 97 clusters of 96 tiles can't be (take fewer)"),
    (["--k", "0"], "--k: 0 clusters of 96 tiles can't be (take fewer)"),
    ([], "--k: says how many clusters (or --elbow finds out)"),
    (["--elbow", "50:150:50"], "--elbow: 100 clusters of 96 tiles can't be (take fewer)"),
    (["--elbow", "5"], "--elbow 5: is no grid of three k or more (as 1000:10000:500)"),
    (["--k", "4", "--show", "4"], "--show 4: no cluster 4 (they are 0 to 3)"),
    (["--k", "4", "--clusters", "1;2"], "--clusters 1;2: is no list of clusters' numbers (as 3,17,40)"),
    (["--k", "4", "--each", "0"], "--each: 0 tiles a cluster can't be (1 or more)"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "line"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_what_cannot_be_is_one_line_before_any_work(features, tmp_path, flags, line):
    with pytest.raises(HistoError) as error:
        run(features, tmp_path / "out", *flags)
    assert str(error.value) == line and error.value.reason == "clusters"
    assert not (tmp_path / "out").exists()


def test_no_tile_at_all(tmp_path):
    none = np.zeros((0, 4), np.float32)
    store.write(tmp_path / "a.h5", feature_files.facts("a"), none, np.zeros((0, 2)), [], [])
    with pytest.raises(HistoError, match="no tile in all of these features"):
        run(tmp_path, tmp_path / "out", "--k", "2")


def test_features_of_two_encoders_are_refused(tmp_path):
    feature_files.write(tmp_path, "a")
    feature_files.write(tmp_path, "b", checkpoint="d" * 64)
    with pytest.raises(HistoError, match=r"b\.h5: is of checkpoint dddd") as error:
        run(tmp_path, tmp_path / "out", "--k", "2")
    assert error.value.reason == "features-foreign"


def test_a_slide_without_tiles_among_others(tmp_path):
    feature_files.write(tmp_path, "a")
    none = np.zeros((0, feature_files.WIDTH), np.float32)
    jpeg = feature_files.jpeg(np.zeros((6, 8, 3), np.uint8))
    store.write(tmp_path / "b.h5", feature_files.facts("b"), none, np.zeros((0, 2)), [], [], jpeg)
    out = run(tmp_path, tmp_path / "out", "--k", "3")
    made = json.loads((out / "slides/b.geojson").read_text())
    assert made == {"type": "FeatureCollection", "features": []}
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["features"].shape[0] == 0
