"""The page of a slide build: every slide, every reason, whatever the slides are called."""

import html
import json
import re

import numpy as np
import pytest
import slide_files as files

from histo_jax.data import slides_page
from histo_jax.data.config import SlideConfig
from histo_jax.slides.parts import write_part
from histo_jax.slides.tiles import TileRule, cut
from tests import browser

ODD = "<script>alert(1)</script>\"'&/é\u202e患者.svs"
RULE = TileRule(size=64)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Tissue, with tiles that can't be read; glass; smaller than a tile; many cells."""
    folder = tmp_path_factory.mktemp("parts")
    tissue = files.write_slide(folder / "a.svs", files.tissue_image(640, 512), power=40)
    files.zero_tiles(tissue, [3, 17])
    files.write_slide(folder / "b.svs", np.full((256, 192, 3), 245, np.uint8))
    files.write_slide(folder / "c.svs", files.tissue_image(48, 640))
    files.write_slide(folder / "d.svs", files.tissue_image(3000, 2000, 1))
    names = {"a.svs": ODD, "b.svs": "glass.svs", "c.svs": "slim.svs", "d.svs": "large.svs"}
    rules = {"d.svs": TileRule(size=16, max_tiles=20)}
    return {
        names[name]: write_part(folder / "parts", cut(folder / name, rules.get(name, RULE)), 1.0)
        for name in names
    }


def written(folder, parts, names=lambda name: name, refused=(), remarks=(), **options):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(line) + "\n" for line in refused]
    (folder / "quarantine.jsonl").write_text("".join(lines))
    summary = {"files": 9, "read": len(parts), "records": 30, "skipped": {}}
    summary["skipped"] = {line["reason"]: 1 for line in refused} | {"duplicate": 2}
    summary["tiles"] = {"kept": 30, "background": 40, "unreadable": 1, "not-needed": 7}
    config = SlideConfig(name="x", **options)
    return slides_page.write_page(
        folder, "histo_wsi/<i>", config, parts, names, summary, list(remarks)
    )


def refusal(path, reason, error):
    return {"path": path, "sha256": "", "stage": "cut", "reason": reason, "error": error}


REFUSED = (
    refusal("<b>z</b>.svs", "html", "holds a web page, not a slide"),
    refusal("dies.svs", "worker-died", "worker killed by signal 6: (process:77): at 12:31:55"),
)


@pytest.fixture(scope="module")
def page(parts, tmp_path_factory):
    return written(
        tmp_path_factory.mktemp("page"), parts, refused=REFUSED, remarks=["few < kept"], mpp=0.5
    )


def test_slides_reasons_and_options_are_told(page):
    text = re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", page.read_text())))
    for words in (
        "Slides of histo_wsi/<i>", "30 tiles kept of 71 tried", "42 % of the tried tiles kept",
        "2 slides refused", "at 0.5 µm a pixel", "at least 50 % of its pixels", "few < kept",
        "<b>z</b>.svs holds a web page, not a slide html the download failed: fetch the slide again",
        "worker killed by signal 6 worker-died", "2 more files are copies",
        f"{ODD} aperio · 640 by 512 pixels · 0.5 µm a pixel", "2 can't be read",
        "objective power 40 and mpp 0.5 disagree", "slim.svs: smaller than one tile",
        "glass.svs: no tissue found",
    ):  # fmt: skip
        assert words in text, words
    assert "12:31:55" not in text  # a dying worker's words differ from build to build
    assert "<script" not in page.read_text()
    order = [text.rindex(name) for name in ("glass.svs", "slim.svs", "large.svs")]
    assert order == sorted(order)  # the smallest kept share first


def test_tiles_are_drawn_where_they_were_tried(parts, page):
    card = slides_page.read_card(parts[ODD])
    kept = {(tile["x"] // 64, tile["y"] // 64) for tile in card["tiles"]}
    articles = page.read_text().split("<article")[1:]
    (article,) = (text for text in articles if ODD in html.unescape(text))
    drawn = {
        outcome: {tuple(map(int, place)) for place in re.findall(r"M(\d+) (\d+)h1v1h-1z", path)}
        for outcome, path in re.findall(r'<path class="(\w+)"[^>]* d="([^"]*)"', article)
    }
    assert drawn["kept"] == drawn["casing"] == kept and len(kept) > 20
    assert len(drawn["background"]) == card["counts"]["background"]
    assert drawn["unreadable"] == {(3, 0), (7, 1)} == {(c % 10, c // 10) for c in [3, 17]}
    assert 'viewBox="0 0 10.0 8.0"' in article


def test_equal_builds_give_equal_bytes(parts, page, tmp_path):
    folder = tmp_path / "again"
    backwards = dict(reversed(parts.items()))
    assert written(folder, backwards, refused=REFUSED[::-1], remarks=["few < kept"], mpp=0.5)
    # Remarks follow the order of the slides, the rest its own.
    same = written(folder, parts, refused=REFUSED, remarks=["few < kept"], mpp=0.5)
    assert same.read_bytes() == page.read_bytes()


def test_hidden_names_stay_hidden(parts, tmp_path):
    hidden = {name: f"hash{number}" for number, name in enumerate(parts)}
    text = written(tmp_path, parts, hidden.__getitem__, pseudonymise=True).read_text()
    assert all(name in text for name in hidden.values())
    assert not any(html.escape(name) in text or name in text for name in parts)
    assert "Names are replaced by keyed hashes" in text


def test_no_more_than_can_be_looked_at(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(slides_page, "MOST_SLIDES", 2)
    monkeypatch.setattr(slides_page, "MOST_LINES", 1)
    text = written(tmp_path, parts).read_text()
    assert text.count("<article") == 2 and "2 of 4: those of which the smallest share" in text
    assert "and 2 more like these" in text


def test_few_of_many_tried_tiles_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("histo_jax.slides.tiles.LISTED", 30)
    slide = files.write_slide(tmp_path / "a.svs", files.tissue_image(640, 512))
    result = cut(slide, TileRule(size=64, tissue="none"))
    assert sum(map(len, result.tried.values())) == 30 and result.counts["kept"] == 80
    text = written(tmp_path, {"a.svs": write_part(tmp_path, result, 0)}).read_text()
    assert "The first 30 tried are drawn." in text


@pytest.fixture(scope="module")
def chromium():
    with browser.browser() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1200, "light")])
def test_in_a_browser(page, chromium, width, scheme):
    """Nothing is said, nothing fetched, pictures are there, and no page is wider than its screen."""
    seen = browser.look(chromium, page, width, scheme)
    assert (seen.errors, seen.requests, seen.broken, seen.overflow) == ([], [], 0, 0)
    assert seen.images == 4 and "<script>alert(1)</script>" in seen.text


def test_drawings_lie_on_their_pictures(page, chromium):
    view = chromium.new_page()
    view.goto(page.as_uri())
    places = view.evaluate(
        "[...document.querySelectorAll('.view')].map(v => ['img', 'svg'].map(n => "
        "{ const r = v.querySelector(n).getBoundingClientRect(); "
        "return [r.x, r.y, r.width, r.height].map(Math.round) }))"
    )
    view.close()
    assert len(places) == 4 and all(image == drawing for image, drawing in places)
