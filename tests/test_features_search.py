"""Search finds what a plain sort finds, in the same order, and says what it can't look for."""

import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_jax import weights
from histo_jax.evaluation import entrants, floors
from histo_jax.features import encoder, nearest, queries, search
from histo_jax.features.table import open_table
from tests import browser, planted_features
from tests.labelled_sets import CARD
from tests.prepared_sets import refused

pytestmark = pytest.mark.usefixtures("quick_compile")


def run(*words):
    parser = argparse.ArgumentParser()
    search.add_flags(parser)
    search.run(parser.parse_args([str(word) for word in words]))


def plain(x, vector, metric):
    """All rows, nearest first, of equals the lower first; and their values."""
    x, vector = x.astype(np.float64), vector.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(vector)
        values = np.where(lengths > 0, x @ vector / np.where(lengths > 0, lengths, 1), 0)
        return np.argsort(-values, kind="stable"), values
    values = np.linalg.norm(x - vector, axis=1)
    return np.argsort(values, kind="stable"), values


@pytest.mark.parametrize("metric", nearest.METRICS)
@pytest.mark.parametrize("offset", [0, 300])
def test_the_nearest_are_those_of_a_plain_sort(tmp_path, metric, offset):
    """Far from the origin float32 alone would order them wrongly."""
    x = planted_features.blobs(500) + np.float32(offset)
    x[7] = 0
    table = planted_features.write(tmp_path, x, pictures=False)
    vectors = np.concatenate([x[[3, 7, 250]], planted_features.blobs(2, seed=9) + offset])
    for vector, hits in zip(vectors, nearest.nearest(table, vectors, 40, metric), strict=True):
        order, values = plain(x, vector, metric)
        np.testing.assert_array_equal(hits.rows, order[:40])
        np.testing.assert_allclose(hits.values, values[order[:40]], rtol=1e-12, atol=1e-9)


def test_float32_alone_would_be_wrong(tmp_path):
    """What the test above asks for is not given for free."""
    x = planted_features.blobs(500) + np.float32(300)
    score, _ = nearest._scores(x, x[3:4], "euclid")
    order, _ = plain(x, x[3], "euclid")
    assert np.argsort(-np.asarray(score)[:, 0], kind="stable")[:40].tolist() != order[:40].tolist()


@pytest.mark.parametrize("metric", nearest.METRICS)
def test_neither_blocks_nor_files_nor_company_change_the_answer(tmp_path, metric):
    x = planted_features.blobs(300)
    tables = []
    for slides in (1, 7):
        (tmp_path / str(slides)).mkdir()
        tables.append(
            planted_features.write(tmp_path / str(slides), x, slides=slides, pictures=False)
        )
    vectors = x[::100]
    whole = nearest.nearest(tables[0], vectors, 25, metric)
    for table in tables:
        for block in (17, 1000):
            alone = [nearest.nearest(table, v[None], 25, metric, block=block)[0] for v in vectors]
            together = nearest.nearest(table, vectors, 25, metric, block=block)
            for a, b, c in zip(whole, alone, together, strict=True):
                for other in (b, c):
                    np.testing.assert_array_equal(a.rows, other.rows)
                    np.testing.assert_array_equal(a.values, other.values)


@pytest.mark.parametrize("metric", nearest.METRICS)
def test_of_equals_the_lower_row_comes_first(tmp_path, metric):
    x = planted_features.blobs(200)
    twins = np.array([190, 12, 77, 130, 131])
    x[twins] = x[twins[0]]
    table = planted_features.write(tmp_path, x, pictures=False)
    for block in (8, 512):
        for k in (2, 3, 5):
            [hits] = nearest.nearest(table, x[[190]], k, metric, block=block)
            assert hits.rows.tolist() == sorted(twins)[:k]
            assert len(set(hits.values)) == 1


def test_many_queries_take_several_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(nearest, "TOGETHER", 4)
    x = planted_features.blobs(60)
    table = planted_features.write(tmp_path, x, pictures=False)
    out = [[(i, i + 1)] for i in range(10)]
    found = nearest.nearest(table, x[:10], 3, left_out=out)
    for i, hits in enumerate(found):
        order, _ = plain(x, x[i], "cosine")
        assert hits.rows.tolist() == [row for row in order if row != i][:3]


def test_numbers_that_are_none_are_refused(tmp_path):
    x = planted_features.blobs(60)
    x[45, 2] = np.nan
    table = planted_features.write(tmp_path, x, pictures=False)
    with refused("features-not-finite", "s2.h5: row 5 "):
        nearest.nearest(table, x[:1], 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    planted_features.write(folder, planted_features.blobs())
    return folder


def hits(out):
    with open(out / "search.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_tile_within_and_across_slides(folder, tmp_path, capsys):
    x, out = open_table(folder).rows(np.arange(120)), tmp_path / "out"
    order, values = plain(x, x[45], "cosine")
    for flags, kept in (
        ([], range(120)),
        (["--across"], [*range(40), *range(80, 120)]),
        (["--within", "s1"], range(40, 80)),
        (["--within", "s0"], range(40)),
    ):
        run(folder, "--key", "k0045", "--top", 6, "--out", out, *flags)
        wanted = [row for row in order if row in kept and row != 45][:6]
        assert [row["key"] for row in hits(out)] == [f"k{row:04d}" for row in wanted]
    first = hits(out)[0]
    assert (first["query"], first["rank"], first["slide"]) == ("k0045", "1", "s0")
    assert float(first["cosine"]) == pytest.approx(values[wanted[0]])
    assert [int(first["x"]), int(first["y"])] == [wanted[0] % 40 * 64, wanted[0] // 40 * 64]
    said = json.loads((out / "search.json").read_text())
    assert said["within"] == "s0" and said["hits"][0]["key"] == first["key"]
    printed = capsys.readouterr().out
    assert first["key"] in printed and f"{float(first['cosine']):.4f}" in printed


def test_a_tile_by_its_place(folder, tmp_path):
    """Row 45 lies at 5 * 64, 64."""
    for at in ("320,64", "383,127", "350,100"):
        run(folder, "--slide", "s1", "--xy", at, "--top", 1, "--metric", "euclid",
            "--out", tmp_path)  # fmt: skip
        assert hits(tmp_path)[0]["query"] == "k0045" and float(hits(tmp_path)[0]["distance"]) > 0


@pytest.mark.slow
def test_the_page_shows_queries_hits_and_places(folder, tmp_path):
    run(folder, "--key", "k0045", "k0003", "--top", 5, "--out", tmp_path)
    seen = browser.assert_readable(tmp_path / "search.html")
    html = (tmp_path / "search.html").read_text()
    assert "s1 · 320, 64" in seen.text and "No picture" not in seen.text
    assert html.count('class="dot own"') == 2 and html.count('class="dot"') == 10
    assert 'cx="352.0" cy="96.0"' in html  # the middle of the tile
    slides = {row["slide"] for row in hits(tmp_path) if row["query"] == "k0045"} | {"s1"}
    shown = {row["slide"] for row in hits(tmp_path) if row["query"] == "k0003"} | {"s0"}
    assert seen.images == 2 + 10 + len(slides) + len(shown)


def test_files_without_pictures(tmp_path):
    planted_features.write(tmp_path, planted_features.blobs(30), pictures=False)
    run(tmp_path, "--key", "k0001", "--top", 3, "--out", tmp_path / "out")
    html = (tmp_path / "out" / "search.html").read_text()
    assert "hold no pictures" in html and "<img" not in html


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """An encoder's file, the encoder, and three images of which two are of one colour."""
    folder = tmp_path_factory.mktemp("encoder")
    network = entrants.network(CARD | {"image_size": 32})
    card = CARD | {"image_size": 32, "mpp": None}
    weights.save(*floors.random_init(network.encoder, 4), card, folder / "tiny.safetensors")
    made = encoder.open_encoder(str(folder / "tiny.safetensors"))
    (folder / "images").mkdir()
    for name, side, colour in (("a.png", 32, 0), ("b.png", 50, 1), ("c.tif", 32, 0)):
        Image.new("RGB", (side, side), planted_features.COLOURS[colour]).save(
            folder / "images" / name
        )
    return folder, made


@pytest.fixture(scope="module")
def described(seeing, tmp_path_factory):
    """Features of tiles of the three colours, by that encoder."""
    folder = tmp_path_factory.mktemp("described")
    rng = np.random.default_rng(0)
    images = np.array(planted_features.COLOURS)[np.arange(30) % 3][:, None, None]
    images = np.clip(images + rng.integers(-9, 10, (30, 32, 32, 3)), 0, 255).astype(np.uint8)
    [x] = seeing[1].describe([images], queries.BATCH)
    known = {name: value for name, value in seeing[1].facts.items()}
    planted_features.write(folder, x, **known)
    return folder


def test_images_are_described_as_tiles_are(seeing, described, tmp_path):
    folder, made = seeing
    source = folder / "tiny.safetensors"
    run(described, "--image", folder / "images", "--checkpoint", source, "--top", 4,
        "--out", tmp_path)  # fmt: skip
    found = hits(tmp_path)
    assert [row["query"] for row in found] == ["a.png"] * 4 + ["b.png"] * 4 + ["c.tif"] * 4
    of = {
        name: {int(r["key"][1:]) % 3 for r in found if r["query"] == name}
        for name in ("a.png", "b.png")
    }
    assert of == {"a.png": {0}, "b.png": {1}}
    assert [r["key"] for r in found[:4]] == [r["key"] for r in found[8:]]
    plain_image = np.full((1, 32, 32, 3), planted_features.COLOURS[0], np.uint8)
    [wanted] = made.describe([plain_image], queries.BATCH)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xe4.png")  # no text: its name is escaped
    shutil.copy(folder / "images" / "a.png", odd)
    [it] = queries.images(open_table(described), [Path(odd)], str(source))
    assert it.name == r"\xe4.png"
    [a, *_] = queries.images(open_table(described), [folder / "images" / "a.png"], str(source))
    np.testing.assert_allclose(a.vector, wanted[0], rtol=1e-4, atol=1e-5)
    assert "b.png" in (tmp_path / "search.html").read_text()


def test_another_encoder_is_refused(seeing, described, folder, tmp_path):
    made, images = seeing[0], seeing[0] / "images"
    network = entrants.network(CARD)
    other = tmp_path / "other.safetensors"
    weights.save(
        *floors.random_init(network.encoder, 5), CARD | {"image_size": 32, "mpp": None}, other
    )
    with refused("features-foreign", "is of checkpoint", "give the encoder that the features"):
        run(described, "--image", images, "--checkpoint", other, "--out", tmp_path)
    small = tmp_path / "small.safetensors"
    weights.save(
        *floors.random_init(network.encoder, 4), CARD | {"image_size": 16, "mpp": None}, small
    )
    with refused("features-foreign", "is of patch_size 16, .* of 32"):
        run(described, "--image", images, "--checkpoint", small, "--out", tmp_path)
    with refused("features-foreign", "s0.h5: is of checkpoint"):
        run(described / "s0.h5", folder / "s0.h5", "--key", "k0001", "--out", tmp_path)
    assert not (tmp_path / "search.csv").exists() and made


def test_images_that_are_none(seeing, described, tmp_path):
    flags = ["--checkpoint", seeing[0] / "tiny.safetensors", "--out", tmp_path / "out"]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    (tmp_path / "b.png").write_text("<html>")
    (tmp_path / "none").mkdir()
    for place, reason, words in (
        ("a.png", "damaged", "a.png: "),
        ("b.png", "html", "web page"),
        ("none", "no-images", "no image in it"),
        ("gone.png", "missing", "no such image"),
    ):
        with refused(reason, words):
            run(described, "--image", tmp_path / place, *flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing to look for"),
        (["--key", "k0045x"], "no tile has the key 'k0045x' .did you mean k0045"),
        (["--key", "k0045", "--top", "0"], "--top: is 0, 119 tiles"),
        (["--key", "k0045", "--top", "120"], "is 120, 119 tiles .* .give 1 to 119"),
        (["--key", "k0045", "--top", "40", "--within", "s1"], "give 1 to 39"),
        (["--key", "k0045", "--top", "81", "--across"], "give 1 to 80"),
        (["--key", "k0045", "--within", "s9"], "no slide is called 's9'"),
        (["--key", "k0045", "--within", "s1", "--across"], "goes not with --within"),
        (["--slide", "s1"], "goes with --slide"),
        (["--slide", "s1", "--xy", "12"], "two whole numbers"),
        (["--slide", "s1", "--xy", "9000,9000"], "no tile at 9000,9000 .the nearest is at 2496,64"),
        (["--image", "{here}", "--across", "--checkpoint", "c"], "an image is of no slide"),
        (["--image", "{here}"], "is needed to look for an image"),
    ],
)
def test_what_cannot_be_looked_for_is_one_line(folder, tmp_path, flags, words):
    with refused("config", words):
        run(folder, "--out", tmp_path, *(flag.format(here=folder) for flag in flags))
    assert not list(tmp_path.iterdir())


def test_slides_without_tiles_and_patches(tmp_path):
    """A slide whose tiles are gone is no obstacle; patches lie nowhere."""
    from histo_jax.features import store

    x = planted_features.blobs(30)
    planted_features.write(tmp_path, x, slides=1, patch_size_level0=0)
    none = np.zeros((0, 12), np.float32), np.zeros((0, 2), np.int64), []
    store.write(tmp_path / "empty.h5", planted_features.facts("empty"), *none)
    run(tmp_path, "--key", "k0001", "--top", 29, "--out", tmp_path / "out")
    assert "Where they are" not in (tmp_path / "out" / "search.html").read_text()
    for slide, words in (("s0", "set of patches"), ("empty", "has no tile")):
        with refused("config", words):
            run(tmp_path, "--slide", slide, "--xy", "1,1", "--out", tmp_path / "more")
    with refused("config", "0 tiles are looked at"):
        run(tmp_path, "--key", "k0001", "--within", "empty", "--out", tmp_path / "more")
