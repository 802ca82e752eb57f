"""The card of a set, for people and for programs: what it counts, says, hides and shows."""

import csv
import html
import json
import re
import shlex
import shutil

import numpy as np
import pytest

from histo_jax import files
from histo_jax.data import card_page, contact_sheet, prepared
from histo_jax.data.counts import counts
from histo_jax.evaluation.page.datacard import datacard
from tests import browser, folder_builders, test_docs
from tests.catalogue_folders import PATCHES, fill
from tests.folder_builders import build, picture
from tests.prepared_sets import refused

ODD = "<b onclick='x'>\"class\"</b>&é\u202e患者"
FILE = "<img src=x onerror=alert(1)>&\u202e.png"
OPTIONS = {"name": "lab", "mpp": 0.4992}


def words(made):
    """What a reader reads, blanks as single spaces."""
    body = (made.path / "card.html").read_text().partition("<body>")[2]
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", body)))


def no_true_name(made, names):
    """None of the names is in the files that people and programs read of a set."""
    text = "".join((made.path / name).read_text() for name in ("card.html", "card.json"))
    text = re.sub(r"data:image/jpeg;base64,[^\"]*", "", text)  # any letters, somewhere
    return [name for name in names if name in text or html.escape(name) in text]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, two splits, three patients; one image broken, one a copy."""
    folder = tmp_path_factory.mktemp("in")
    rows = [
        (FILE, ODD, "mueller", "s1", "train"), ("b.png", ODD, "mueller", "s1", "train"),
        ("c.png", "stroma", "mueller", "s2", "train"), ("d.png", "", "huber", "s3", "train"),
        ("e.png", "stroma", "", "", "test"), ("again.png", "stroma", "", "", "test"),
        ("broken.png", ODD, "gruber", "s4", "test"),
    ]  # fmt: skip
    for number, (name, *_) in enumerate(rows):
        picture(number, 40).save(folder / name)
    rows[3] = (*rows[3][:1], "stroma", *rows[3][2:])
    shutil.copy(folder / "e.png", folder / "again.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "patient", "slide", "split"])
        table.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def labelled(folder, tmp_path_factory):
    return build("histo_labelled", folder, tmp_path_factory.mktemp("data"), **OPTIONS)


def test_the_card_counts_what_the_set_holds(labelled):
    assert labelled.card["counts"] == {
        "splits": {
            "test": {
                "records": 1, "slides": 0, "patients": 0,
                "classes": {ODD: 0, "stroma": 1}, "unlabelled": 0,
            },
            "train": {
                "records": 4, "slides": 3, "patients": 2,
                "classes": {ODD: 2, "stroma": 2}, "unlabelled": 0,
            },
        },
        "slides": 3, "patients": 2, "no_slide": 1, "no_patient": 1,
        "mpp": {"0.499": 5}, "width": [40, 40], "height": [40, 40], "target": None, "masks": 0,
    }  # fmt: skip
    assert labelled.card["catalogue"] is None and labelled.card["schema"] == 1
    assert labelled.card["git_commit"] == files.git_commit()
    assert {"card.html", "quarantine.jsonl"} <= set(labelled.card["beside"])
    prepared.verify(labelled)


def test_the_page_says_it_in_words(labelled):
    text = words(labelled)
    for said in (
        "5 images of 40 by 40 pixels in 2 classes from 3 slides of 2 patients, at 0.499 µm a pixel.",
        "5 of 5, at most 96 pixels a side.",
        "train test all images 4 1 5 slides 3 0 3 patients 2 0 2",
        f"{ODD} 2 0 2 stroma 2 1 3",
        "The slide of 1 image is not known. The patient of 1 image is not known.",
        "files found 7 files read 5 records 5",
        "damaged 1 fetch the file again duplicate 1 nothing: it is a copy",
        "organ not said stain not said magnification not said licence not said citation not said",
        labelled.card["content_hash"], labelled.card["index_sha256"],
        labelled.card["options_digest"], f"commit {files.git_commit() or 'unknown'}",
        'builder.as_dataset(split="train")',
    ):  # fmt: skip
        assert said in text, said
    page = (labelled.path / "card.html").read_text()
    assert re.findall(r'href="([^"#]+)"', page) == ["data:,", "quarantine.jsonl", "card.json"]
    assert page.count("<img") == 5 and "<img src=x" not in page and "onclick='x'" not in page
    assert "<script" not in page and str(labelled.path.parents[2]) not in page


def test_its_commands_are_commands(labelled, monkeypatch):
    monkeypatch.chdir(test_docs.ROOT)
    page = (labelled.path / "card.html").read_text()
    found = [html.unescape(c) for c in re.findall(r'<pre class="wrap">([^<]*)</pre>', page)]
    assert len(found) == 4
    for command in found:
        arguments = shlex.split(command.replace("<this folder>", "folder"))
        start = max((s for s in test_docs.CHECKS if arguments[: len(s)] == list(s)), key=len)
        test_docs.CHECKS[start](monkeypatch, arguments[len(start) :])


@pytest.mark.parametrize(
    ("name", "config", "options", "chosen"),
    [
        ("histo_wsi", "default", {}, "default"),
        ("histo_demo", "tiny", {}, "tiny"),
        ("histo_patches", "glas2015", {}, "glas2015"),
        ("breakhis", "40x", {}, "40x"),
        (
            "histo_patches",
            None,
            {"name": "40x", "catalogue": "idcgrade_databiox", "variant": "40x"},
            None,
        ),
        ("histo_patches", None, {"name": "tiny"}, None),
    ],
)
def test_the_build_command_of_every_kind_of_config(
    name, config, options, chosen, monkeypatch, tmp_path
):
    made = folder_builders.builder(name, tmp_path, config, **options)
    card = {"builder": name, "config": made.config.name, "options": made.options()}
    words = shlex.split(card_page.build_command(card))
    test_docs.check_tfds(monkeypatch, words[2:])
    if chosen is None:
        assert json.loads(words[4]) == {"name": made.config.name, **made.options()}
    else:
        assert words[4] == chosen


def test_equal_builds_give_equal_bytes(folder, labelled, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # now
    again = build("histo_labelled", tmp_path / "elsewhere", tmp_path / "data", **OPTIONS)
    assert again.card["sources"] != labelled.card["sources"]
    pages = [(made.path / "card.html").read_bytes() for made in (labelled, again)]
    assert pages[0] == pages[1] and len(pages[0]) < 400_000


def test_a_card_of_before_still_opens(labelled, tmp_path):
    shutil.copytree(labelled.path.parents[2], tmp_path / "d")
    path = tmp_path / "d/histo_labelled/lab/1.0.0"
    card = json.loads((path / "card.json").read_text())
    del card["counts"], card["git_commit"], card["beside"]["card.html"]
    (path / "card.json").write_text(json.dumps(card))
    (path / "card.html").unlink()
    old = prepared.open_version(path)
    prepared.verify(old)
    facts = [dict(datacard("x", "", one)["facts"]) for one in (old, labelled)]
    assert facts[0] == facts[1]


def test_a_changed_page_is_found_by_verify(labelled, tmp_path):
    shutil.copytree(labelled.path.parents[2], tmp_path / "d")
    made = prepared.open_version(tmp_path / "d/histo_labelled/lab/1.0.0")
    with open(made.path / "card.html", "a") as page:
        page.write(" ")
    with refused("damaged", "card.html", "not what the build wrote"):
        prepared.verify(made)


def test_hidden_names_stay_hidden(folder, labelled, tmp_path):
    names = [FILE, "b.png", "broken.png", "mueller", "huber", "gruber", "s1", "s2", "s3", "s4"]
    made = build("histo_labelled", folder, tmp_path, **OPTIONS, pseudonymise=True)
    assert no_true_name(made, names) == [] != no_true_name(labelled, names)
    assert "from 3 slides of 2 patients" in words(made)


def test_slides_are_tiles_and_their_page_is_named_last(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number in range(2):
        folder_builders.slide(tmp_path / "in" / f"müller{number}.tif", number)
    options = {"name": "lab", "mpp": 1.0, "tile_size": 64, "min_foreground": 0.1}
    made = build("histo_wsi", tmp_path / "in", tmp_path / "data", **options)
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last == [f"look at it: {made.path / name}" for name in ("card.html", "slides.html")]
    assert made.card["counts"]["splits"]["train"]["classes"] is None
    text, page = words(made), (made.path / "card.html").read_text()
    for said in (
        "8 tiles of 64 by 64 pixels from 2 slides, at 1 µm a pixel.",
        "slides found 2 slides read 2 records 8 tiles of the grid 8 kept",
        "No file was left out.", 'Every option', "tissue otsu",
    ):  # fmt: skip
        assert said in text, said
    assert 'href="slides.html"' in page and "eval.py" not in page
    assert page.count('title="müller0.tif, ') == 4 == page.count('title="müller1.tif, ')
    hidden = build("histo_wsi", tmp_path / "in", tmp_path / "h", **options, pseudonymise=True)
    assert no_true_name(hidden, ["müller"]) == []


def test_a_dataset_of_the_catalogue(tmp_path):
    found, others = PATCHES["janowczyk_mitosis"]  # the name of one image says nothing
    fill(tmp_path / "in", list(found), others)
    made = build("histo_patches", tmp_path / "in", tmp_path / "d", config="janowczyk_mitosis")
    known, text = made.card["catalogue"], words(made)
    assert (known["organ"], known["stain"], known["magnification"]) == ("breast", "H&E", "40x")
    said = [
        f"{known['name']} (breast, H&E): 2 images of 24 by 24 pixels from 1 patient",
        f"licence {known['licence'] or 'not said: ask before you use it'}", known["citation"],
        known["homepage"], f"how sure the layout is {known['confidence']}", *known["quirks"],
        *known["notes"], "tfds build tfds_builders/histo_patches --config janowczyk_mitosis",
    ]  # fmt: skip
    for one in said:
        assert " ".join(one.split()) in text, one
    assert "any.png" in text and known["quirks"]
    facts = dict(datacard("x", "", made)["facts"])
    assert (facts["organ"], facts["licence"]) == ("breast", known["licence"] or "unknown")
    hidden = build(
        "histo_patches", tmp_path / "in", tmp_path / "d",
        name="h", catalogue="janowczyk_mitosis", pseudonymise=True,
    )  # fmt: skip
    assert no_true_name(hidden, ["any.png", "01.tif"]) == []


def test_targets_and_masks_are_told(tmp_path):
    made = build("histo_demo_patches", None, tmp_path, name="p", patients=2, size=16)
    target, text = made.card["counts"]["target"], words(made)
    assert made.card["counts"]["masks"] == target["records"] == made.n == 108
    assert "Drawn tissue, no evidence about patients: 108 images of 16 by 16 pixels" in text
    assert "6 classes with targets and masks from 2 patients" in text
    least, most = (f"{target[end]:.3g}" for end in ("least", "most"))
    assert f"108 have a target, from {least} to {most}. 108 have a mask." in text
    assert "configs/probe.py" in text and "configs/segment.py" in text
    assert "chosen evenly over classes by a hash of their keys" in text
    assert (made.path / "card.html").read_text().count("<img") == 48


def table(n, **columns):
    keys = np.array([f"k{i}" for i in range(n)])
    return {"key": keys, "slide": np.array([""] * n)} | columns


def test_the_sheet_is_even_over_classes_else_over_slides():
    label = np.array([0] * 500 + [1] * 100 + [2] * 5 + [-1] * 3, np.int32)
    chosen = contact_sheet.choose(table(608, label=label))
    assert np.bincount(label[chosen] + 1).tolist() == [3, 20, 20, 5]
    slide = np.array([f"s{i % 60}" for i in range(600)])
    chosen = contact_sheet.choose(table(600, slide=slide))
    assert len(np.unique(slide[chosen])) == 48 == len(chosen)
    assert len(contact_sheet.choose(table(7))) == 7


def test_the_sheet_depends_on_keys_alone():
    """Not on shards, and little on what is added."""
    given, order = table(400), np.random.default_rng(0).permutation(400)
    chosen = set(given["key"][contact_sheet.choose(given)])
    mixed = {name: column[order] for name, column in given.items()}
    assert set(mixed["key"][contact_sheet.choose(mixed)]) == chosen
    more = table(440)
    assert len(set(more["key"][contact_sheet.choose(more)]) & chosen) > 36


def test_pixel_sizes_are_counted_to_three_digits_and_unknown_ones_too():
    mpp = np.array([0.25, 0.2501, 0.4992, np.nan, np.inf], np.float32)
    columns = {"size": [(3, 4), (5, 4), None, None, None], "mask": [False] * 5}
    known = table(5, mpp=mpp, patient=np.array([""] * 5), split=np.array(["train"] * 5))
    counted = counts(known | {"label": np.array([0, 1, 1, -1, 3])}, columns, ["a"])
    assert counted["mpp"] == {"0.25": 2, "0.499": 1, "unknown": 2}
    assert (counted["width"], counted["height"]) == ([3, 5], [4, 4])
    train = counted["splits"]["train"]
    assert train["classes"] == {"a": 1, "1": 2, "2": 0, "3": 1} and train["unlabelled"] == 1


def test_many_pixel_sizes_lose_digits_until_they_fit():
    many = {f"{0.2 + i / 1000:g}": 1 for i in range(100)} | {"unknown": 25}
    bars = card_page._bars(many)
    assert [size for size, *_ in bars] == [*(f"{0.2 + i / 100:g}" for i in range(11)), "unknown"]
    assert sum(n for _, n, _ in bars) == 125 and bars[-1][2] == 100
    assert card_page._bars({"0.499": 2, "0.5": 1}) == [("0.499", 2, 100.0), ("0.5", 1, 50.0)]


def test_in_a_browser(labelled):
    seen = browser.assert_readable(labelled.path / "card.html")
    assert seen.images == 5 and ODD in seen.text
