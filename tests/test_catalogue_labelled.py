"""Every labelled set of the catalogue, from a miniature with its quirks."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from histo_jax import catalogue
from histo_jax.catalogue import experts
from histo_jax.data.catalogued import images
from histo_jax.data.config import LabelledConfig
from tests import folder_builders
from tests.catalogue_folders import SIDE, draw, fill
from tests.folder_builders import build, decoded, read
from tests.prepared_sets import refused

ENTRIES = {e.id: e for e in catalogue.load().values() if e.kind in ("labelled", "outlined")}


def told(items):
    """What is known of each image, by its name."""
    return {i.name.split("/")[-1]: (i.label, i.slide, i.patient, i.split) for i in items}


def test_bach(tmp_path):
    photos = "ICIAR2018_BACH_Challenge/Photos"
    names = ("Normal/n001.tif", "Benign/b001.tif", "InSitu/is001.tif", "Invasive/iv001.tif")
    others = [f"{photos}/Thumbs.db", f"{photos}/microscopy_ground_truth.csv", "TestDataset/1.tif"]
    fill(tmp_path / "in", [f"{photos}/{name}" for name in names], others)
    items, records, _ = read("bach", tmp_path / "in", tmp_path, "default")
    assert [told(items)[n.split("/")[1]][0] for n in names] == [
        "normal", "benign", "in situ carcinoma", "invasive carcinoma",
    ]  # fmt: skip
    assert {round(r["mpp"], 2) for r in records} == {0.42} and len(records) == 4


def test_lymph(tmp_path):
    found = ["CLL/sj-03-5521_006.tif", "FL/sj-05-1881-R1_018.tif", "MCL/sj-05-768_004.tif"]
    fill(tmp_path / "in/lymphoma", found, ["FL/.DS_Store", "FL/._sj-05-1881-R1_018.tif"])
    items, records, _ = read("lymph", tmp_path / "in", tmp_path, "default")
    assert told(items) == {
        "sj-03-5521_006.tif": ("CLL", "sj-03-5521", "", "train"),
        "sj-05-1881-R1_018.tif": ("FL", "sj-05-1881-R1", "", "train"),
        "sj-05-768_004.tif": ("MCL", "sj-05-768", "", "train"),
    }
    assert len(records) == 3


def breakhis(folder):
    """Two patients, and the slide that lies under two subtypes."""
    top = folder / "BreaKHis_v1/histology_slides/breast"
    draw(top / "benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png", 1)
    once = (
        top / "malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/100X/SOB_M_DC-14-13412-100-001.png"
    )
    again = (
        top / "malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/100X/SOB_M_LC-14-13412-100-001.png"
    )
    draw(once, 2)
    again.parent.mkdir(parents=True)
    shutil.copy(once, again)
    draw(again.with_name("SOB_M_LC-14-13412-100-002.png"), 3)
    draw(top / "README.png", 4)


def test_breakhis_reads_the_doubled_slide_once(tmp_path):
    breakhis(tmp_path / "in")
    made = build("breakhis", tmp_path / "in", tmp_path, config="default")
    assert made.card["classes"] == ["benign", "malignant"]
    assert made.card["summary"]["skipped"] == {"duplicate": 1}
    found = zip(made.table["label"].tolist(), made.table["patient"].tolist(), strict=True)
    assert sorted(found) == [(0, "14-22549AB"), (1, "14-13412"), (1, "14-13412")]
    items, _ = images(tmp_path / "in", ENTRIES["breakhis"], "40x")
    assert len(items) == 1


def test_nct_crc_comes_with_its_split(tmp_path):
    found = [
        "NCT-CRC-HE-100K/ADI/ADI-AAAFLCLY.tif", "NCT-CRC-HE-100K/TUM/TUM-AAAA.tif",
        "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif",
    ]  # fmt: skip
    fill(tmp_path / "in", found, ["NCT-CRC-HE-100K-NONORM/ADI/ADI-AAAFLCLY.tif"])
    made = build("nct_crc", tmp_path / "in", tmp_path, config="default")
    table = zip(made.table["split"].tolist(), made.table["label"].tolist(), strict=True)
    assert sorted(table) == [("test", 0), ("train", 0), ("train", 1)]
    assert made.card["classes"] == ["ADI", "TUM"]


def test_a_release_may_be_known_to_share_images_between_its_splits(tmp_path, monkeypatch):
    found = ["NCT-CRC-HE-100K/ADI/ADI-AAAFLCLY.tif", "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif"]
    fill(tmp_path / "in", found, [])
    image = Image.open(tmp_path / "in" / found[0])
    image.save(tmp_path / "in" / found[1], dpi=(72, 72))  # other bytes
    with refused("leak", "has the pixels of .*: (test|train) and (test|train) share an image"):
        build("nct_crc", tmp_path / "in", tmp_path, config="default")
    known = dataclasses.replace(ENTRIES["nct_crc"], twins=True)
    monkeypatch.setattr(LabelledConfig, "entry", known)
    made = build("nct_crc", tmp_path / "in", tmp_path, config="default")
    assert sorted(made.table["split"].tolist()) == ["test", "train"]


def gleason(folder, core, maps):
    """A core of 24 pixels, and {expert: value or array} of its maps."""
    stem = f"slide{core // 10:03}_core{core % 10:03}"
    draw(folder / f"Train Imgs/{stem}.jpg", core)
    for expert, values in maps.items():
        values = np.broadcast_to(np.uint8(values), (SIDE, SIDE))
        path = folder / f"Maps{expert}_T/{stem}_classimg_nonconvex.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(values)).save(path)


def half(left, right):
    values = np.full((SIDE, SIDE), right, np.uint8)
    values[:, : SIDE // 3] = left
    return values


def test_gleason_takes_what_most_experts_say(tmp_path):
    folder = tmp_path / "in"
    gleason(folder, 11, {1: 3, 2: 4, 5: 4})
    gleason(folder, 12, {1: 3, 4: 4})  # a tie: the lower one
    gleason(folder, 13, {1: 6, 2: 1, 3: 5})  # 6 is 1
    gleason(folder, 21, {1: half(5, 3)})
    gleason(folder, 22, {1: half(5, 0), 2: half(5, 0), 3: 0})  # a third drawn, the rest is nothing
    gleason(folder, 23, {1: 0})
    gleason(folder, 24, {})
    items, notes = images(folder, ENTRIES["gleason2019"], None)
    labels = {name: known[:2] for name, known in told(items).items()}
    assert labels == {
        "slide001_core001.jpg": ("Gleason 4", "001"),
        "slide001_core002.jpg": ("Gleason 3", "001"),
        "slide001_core003.jpg": ("benign", "001"),
        "slide002_core001.jpg": ("Gleason 3", "002"),
        "slide002_core002.jpg": ("Gleason 5", "002"),
    }
    assert notes[0] == "2 images that no expert drew on are left out"
    items, _ = images(folder, ENTRIES["gleason2019"], "highest")
    assert told(items)["slide002_core001.jpg"][0] == "Gleason 5"


def test_gleasons_strange_values_are_refused(tmp_path):
    gleason(tmp_path, 11, {1: 3, 2: 2})
    with refused("mask", "Maps2_T/slide001_core001_classimg_nonconvex.png: holds the values .2."):
        images(tmp_path, ENTRIES["gleason2019"], None)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(
        tmp_path / "Maps2_T/slide001_core001_classimg_nonconvex.png"
    )
    with refused("mask", "is of another size than Maps1_T's"):
        images(tmp_path, ENTRIES["gleason2019"], None)


def test_a_stroke_of_the_pen_is_no_highest_grade(tmp_path):
    said, path = ENTRIES["gleason2019"].layout.experts, tmp_path / "map.png"
    values = np.full((80, 80), 3, np.uint8)
    values[:40] = 0  # half of it nothing
    for side, grade in ((4, "Gleason 3"), (8, "Gleason 5")):  # 1 and 4 of 200 looked at
        values[40 : 40 + side, :side] = 5
        Image.fromarray(values).save(path)
        assert experts.read_class([path], said, "highest") == grade
    assert experts.read_class([path], said, "largest") == "Gleason 3"
    assert experts.read_class([], said, "largest") is None


def breastpathq(folder, validation=True):
    found = [
        "train/99788_1.tif",
        "train/99788_2.tif",
        "train/99790_1.tif",
        "validation/99854_1.tif",
    ]
    others = ["cells/99788_Region 1_crop.tif", "test_patches/102174_1.tif"]
    fill(folder / "breastpathq/datasets", found, others)
    (folder / "breastpathq/datasets/train_labels.csv").write_text(
        "slide,rid,y\n99788,1,0.07\n99788,2,1\n99790,1,0\n99790,7,0.5\n"
    )
    if validation:
        path = folder / "breastpathq-test/val_labels.csv"
        path.parent.mkdir()
        path.write_text("slide,rid,p1,p2\n99854,1,0.2,0.3\n")


def test_breastpathq_is_in_percent_and_two_raters_are_averaged(tmp_path):
    breastpathq(tmp_path / "in")
    items, records, _ = read("breastpathq", tmp_path / "in", tmp_path, "default")
    assert {item.name.split("/")[-1]: (item.target, item.slide) for item in items} == {
        "99788_1.tif": (7.0, "99788"), "99788_2.tif": (100.0, "99788"),
        "99790_1.tif": (0.0, "99790"), "99854_1.tif": (25.0, "99854"),
    }  # fmt: skip
    assert sorted(r["target"] for r in records) == [0, 7, 25, 100]
    assert {item.split for item in items} == {"train"}  # pooled, as in the paper


def test_breastpathqs_raters_may_be_rows(tmp_path):
    breastpathq(tmp_path)
    table = "slide,rid,y\n99854,1,0.2\n99854,1,0.4\n"
    (tmp_path / "breastpathq-test/val_labels.csv").write_text(table)
    items, _ = images(tmp_path, ENTRIES["breastpathq"], None)
    assert items[-1].target == pytest.approx(30)


def test_breastpathq_without_the_other_archive(tmp_path):
    breastpathq(tmp_path, validation=False)
    items, notes = images(tmp_path, ENTRIES["breastpathq"], None)
    assert len(items) == 3
    assert notes[:2] == [
        "no val_labels.csv in the folder: no target from it",
        "1 images without a target are left out",
    ]
    (tmp_path / "breastpathq/datasets/train_labels.csv").unlink()
    with refused("layout", "no train_labels.csv and val_labels.csv with a target of any image"):
        images(tmp_path, ENTRIES["breastpathq"], None)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("slide,rid\n1,1\n", "lacks the column y, has rid, slide"),
        ("slide,y\n1,1\n", "lacks the column rid"),
        ("slide,rid,y\n99788,1,much\n", "train_labels.csv, row 1: 'much' is no number"),
        (b"\xff\xfe", "not readable as CSV"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, table, words):
    breastpathq(tmp_path)
    table = table if isinstance(table, bytes) else table.encode()
    (tmp_path / "breastpathq/datasets/train_labels.csv").write_bytes(table)
    with refused("table", words):
        images(tmp_path, ENTRIES["breastpathq"], None)


def digestpath(folder, quality=60):
    """An image with a JPEG mask, whose edges are gray, and one without tumour."""
    positive = folder / "Colonoscopy_tissue_segment_dataset/tissue-train-pos-v1"
    draw(positive / "a.jpg", 1)
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[5:17, 3:20] = 255
    Image.fromarray(drawn).save(positive / "a_mask.jpg", quality=quality)
    draw(folder / "tissue-train-neg/b.jpg", 2)
    return positive, drawn > 127


def test_digestpaths_masks_are_binary(tmp_path):
    positive, drawn = digestpath(tmp_path / "in")
    assert len(np.unique(np.asarray(Image.open(positive / "a_mask.jpg")))) > 2
    made = build("digestpath2019", tmp_path / "in", tmp_path, config="default")
    (record,) = decoded(made).values()
    assert set(np.unique(record["mask"])) == {0, 1}
    assert (record["mask"][..., 0] != drawn).mean() < 0.02
    assert made.card["classes"] is None


def test_digestpaths_negatives_are_a_variant_with_empty_masks(tmp_path):
    digestpath(tmp_path / "in")
    items, records, _ = read("digestpath2019", tmp_path / "in", tmp_path, "with_negatives")
    assert len(items) == 2
    masks = [np.asarray(Image.open(io.BytesIO(r["mask"]))) for r in records]
    assert sorted(mask.max() for mask in masks) == [0, 1]


def test_digestpath_without_a_mask_is_refused(tmp_path):
    positive, _ = digestpath(tmp_path)
    (positive / "a_mask.jpg").unlink()
    with refused("mask", "no {stem}_mask.jpg beside .*a.jpg"):
        images(tmp_path, ENTRIES["digestpath2019"], None)


def test_names_that_say_nothing_would_leak(tmp_path):
    fill(tmp_path, ["CLL/sj-03-5521_006.tif", "CLL/other.tif"], [])
    with refused("layout", "1 names are not as the catalogue knows them: CLL/other.tif"):
        images(tmp_path, ENTRIES["lymph"], None)


OUTLINES = """<?xml version="1.0"?>
<Annotations MicronsPerPixel="0.467">
<Annotation Id="1"><Attributes/><Regions><RegionAttributeHeaders/>
<Region Id="1" Text="Carcinoma Invasive"><Attributes/><Vertices>{outer}</Vertices></Region>
<Region Id="2" Text="?"><Attributes><Attribute Name="a" Value="Carcinoma In Situ"/></Attributes>
<Vertices>{inner}</Vertices></Region>
<Region Id="3" Text="benign"><Attributes/><Vertices>{line}</Vertices></Region>
</Regions></Annotation></Annotations>
"""


def corners(*points):
    return "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)


def square(low, high):
    return corners((low, low), (high, low), (high, high), (low, high))


def outlined(folder):
    """A slide of 256 pixels: invasive in 100 … 200, in situ inside it in 120 … 140."""
    folder = folder / "ICIAR2018_BACH_Challenge/WSI"
    folder.mkdir(parents=True)
    folder_builders.slide(folder / "A01.svs", 1)
    folder_builders.slide(folder / "01.svs", 2)  # without outlines
    parts = {"outer": square(100, 200), "inner": square(120, 140), "line": corners((0, 0), (9, 9))}
    (folder / "A01.xml").write_text(OUTLINES.format(**parts))
    return folder


def test_bach_seg_draws_masks_from_outlines(tmp_path):
    outlined(tmp_path / "in")
    options = {"name": "b", "tile_size": 64, "workers": 1}
    made = build("bach_seg", tmp_path / "in", tmp_path, **options)
    whole = np.full((256, 256), 9, np.uint8)
    for record in decoded(made).values():
        x, y = int(record["x"]), int(record["y"])
        whole[y : y + 64, x : x + 64] = record["mask"][..., 0]
        assert record["slide"] == b"A01" and record["level"] == 0
    expected = np.zeros((256, 256), np.uint8)
    expected[100:200, 100:200] = 3
    expected[120:140, 120:140] = 2
    np.testing.assert_array_equal(whole, expected)
    assert made.n == 16 and made.card["options"]["tissue"] == "none"
    assert made.card["counts"]["masks"] == 16 and (made.path / "card.html").is_file()


def test_outlines_that_do_not_fit(tmp_path):
    folder = outlined(tmp_path / "in")
    for text, words in (
        ("<Annotations>", "A01.xml: not readable as outlines: no element"),
        ("<Annotations/>", "A01.xml: outlines no region"),
        (OUTLINES.format(outer='<Vertex X="1"/>', inner="", line=""), "not readable as outlines"),
        (OUTLINES.format(outer='<Vertex X="a" Y="1"/>', inner="", line=""), "could not convert"),
    ):
        (folder / "A01.xml").write_text(text)
        with refused("mask", words):
            build("bach_seg", tmp_path / "in", tmp_path, config="default")
    (folder / "A01.xml").unlink()
    with refused("mask", "no A01.xml beside"):
        build("bach_seg", tmp_path / "in", tmp_path, config="default")


def test_maps_that_were_read_are_not_read_again(tmp_path, monkeypatch):
    gleason(tmp_path / "in", 11, {1: 3, 2: 4})
    gleason(tmp_path / "in", 12, {1: 5, 2: 5})
    first = images(tmp_path / "in", ENTRIES["gleason2019"], None, tmp_path)
    monkeypatch.setattr(experts, "read_class", lambda *_: "again")
    assert images(tmp_path / "in", ENTRIES["gleason2019"], None, tmp_path) == first
    gleason(tmp_path / "in", 12, {1: 4, 2: 4, 3: 4})
    items, _ = images(tmp_path / "in", ENTRIES["gleason2019"], None, tmp_path)
    assert [item.label == "again" for item in items] == [False, True]
    items, _ = images(tmp_path / "in", ENTRIES["gleason2019"], "highest", tmp_path)
    assert all(item.label == "again" for item in items)  # another reading
