"""histo_patches and histo_labelled from folder to prepared set, in this process."""

import csv
import hashlib
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tensorflow_datasets.core import shuffle

from tests import folder_builders
from tests.folder_builders import build, decoded, picture
from tests.prepared_sets import refused


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    picture(1).save(folder / "a.png")
    picture(2).save(folder / "more" / "b.jpg", quality=90)
    picture(3).convert("L").save(folder / "gray.png")
    shutil.copy(folder / "a.png", folder / "more" / "again.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:500])
    picture(4).convert("CMYK").save(folder / "print.jpg")
    return folder


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    return build("histo_patches", images, tmp_path_factory.mktemp("data"), name="p", mpp=0.5)


def test_whole_images_keep_their_bytes(images, whole):
    stored = set(whole.table["sha256"])
    for name in ("a.png", "more/b.jpg"):
        assert hashlib.sha256((images / name).read_bytes()).hexdigest().encode() in stored
    records = decoded(whole)
    key = hashlib.sha256((images / "a.png").read_bytes()).hexdigest()[:16] + "-0-0-0"
    np.testing.assert_array_equal(records[key]["image"], np.asarray(picture(1)))
    assert records[key]["mpp"] == 0.5 and records[key]["patient"] == b""
    assert "label" not in records[key]


def test_records_that_wait_on_disk_come_in_the_same_order(images, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    made = build("histo_patches", images, tmp_path, name="p", mpp=0.5)
    for column in ("key", "sha256", "shard"):
        np.testing.assert_array_equal(made.table[column], whole.table[column])


def test_what_is_not_read_is_counted(whole):
    assert whole.n == 3
    assert whole.card["summary"] == {
        "files": 6, "read": 3, "records": 3,
        "skipped": {"colour-cmyk": 1, "damaged": 1, "duplicate": 1},
    }  # fmt: skip
    lines = (whole.path / "quarantine.jsonl").read_text()
    assert '"broken.png"' in lines and '"print.jpg"' in lines and lines.count("\n") == 2


def test_squares_of_each_image(images, tmp_path):
    made = build("histo_patches", images, tmp_path, name="t", tile=16)
    records = decoded(made)
    assert len(records) == 3 * 9
    identity = hashlib.sha256((images / "a.png").read_bytes()).hexdigest()[:16]
    piece = records[f"{identity}-0-32-16"]
    np.testing.assert_array_equal(piece["image"], np.asarray(picture(1))[16:32, 32:48])
    assert (piece["x"], piece["y"], np.isnan(piece["mpp"])) == (32, 16, True)


def test_added_images_extend_and_vanished_ones_are_refused(images, tmp_path):
    folder, data = tmp_path / "images", tmp_path / "data"
    shutil.copytree(images, folder)
    assert build("histo_patches", folder, data, name="p").n == 3
    picture(9).save(folder / "z.png")
    assert build("histo_patches", folder, data, name="p").n == 4
    (folder / "z.png").unlink()
    with refused("files-vanished", "z.png", "--overwrite"):
        build("histo_patches", folder, data, name="p")
    assert build("histo_patches", folder, data, folder_builders.overwrite(), name="p").n == 3


def test_a_pipe_is_refused_and_never_waited_for(images, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    os.mkfifo(folder / "f.png")
    made = build("histo_patches", folder, tmp_path / "data", name="p")
    assert made.n == 3 and made.card["summary"]["skipped"]["unreadable"] == 1


def test_a_set_whose_shards_are_gone_is_not_unchanged(images, tmp_path):
    made = build("histo_patches", images, tmp_path, name="p")
    for shard in made.shards:
        shard.unlink()
    with refused("missing-shard", "shard can't be read", "--overwrite"):
        build("histo_patches", images, tmp_path, name="p")


def test_pseudonymised_images_carry_no_metadata(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    text = PngInfo()
    text.add_text("PatientName", "SMITH^JOHN")
    picture(1).save(folder / "a.png", pnginfo=text)
    plain = build("histo_patches", folder, tmp_path / "data", name="plain")
    hidden = build("histo_patches", folder, tmp_path / "data", name="h", pseudonymise=True)
    assert b"SMITH" in plain.shards[0].read_bytes()
    assert b"SMITH" not in hidden.shards[0].read_bytes()


def test_too_many_broken_images(images, tmp_path):
    words = "2 of 6 images refused, at most 1 may be: 1 colour-cmyk, 1 damaged"
    with refused("quarantine", words):
        build("histo_patches", images, tmp_path, name="p", max_quarantine=1)
    assert not (tmp_path / "histo_patches/p/1.0.0").exists()


def test_only_tfrecord(images, tmp_path):
    made = folder_builders.builder("histo_patches", tmp_path, name="p")
    with refused("file-format", "prepared sets are TFRecord"):
        made.download_and_prepare(file_format="array_record")


def test_configs_of_other_names(tmp_path):
    with refused("config", "BuilderConfig mylab not found"):
        type(folder_builders.builder("histo_patches", tmp_path, name="p"))(
            data_dir=tmp_path, config="mylab"
        )
    with refused("config", "Cannot name a custom BuilderConfig the same"):
        folder_builders.builder("histo_patches", tmp_path, name="default")


def labelled(folder, rows, masks=None):
    """Images by name and number, labels.csv of `rows`, masks by stem."""
    folder.mkdir()
    for number, row in enumerate(rows):
        picture(number, 32).save(folder / row["file"])
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    for stem, values in (masks or {}).items():
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).save(folder / "masks" / f"{stem}.png")
    return folder


def test_labels_targets_and_ids(tmp_path):
    rows = [
        {"file": "a.png", "label": "10", "target": "1.5", "patient": "p", "slide": "s"},
        {"file": "b.png", "label": "9", "target": "", "patient": "", "slide": ""},
        {"file": "c.png", "label": "", "target": "7", "patient": "", "slide": ""},
    ]
    made = build("histo_labelled", labelled(tmp_path / "in", rows), tmp_path, name="l", mpp=1)
    assert made.card["classes"] == ["9", "10"]  # by number
    table = {
        column: made.table[column].tolist() for column in ("label", "target", "patient", "slide")
    }
    found = sorted(zip(*table.values(), strict=True), key=str)
    assert [row[0] for row in found] == [-1, 0, 1]
    assert found[2] == (1, 1.5, "p", "s") and found[0][1] == 7 and np.isnan(found[1][1])


def test_official_splits(tmp_path):
    rows = [
        {"file": f"{i}.png", "label": "xy"[i % 2], "split": split}
        for i, split in enumerate(("train", "train", "validation", "test"))
    ]
    made = build("histo_labelled", labelled(tmp_path / "in", rows), tmp_path, name="l")
    assert sorted(made.table["split"].tolist()) == ["test", "train", "train", "validation"]


def test_splits_may_not_share_an_image_however_it_is_stored(tmp_path):
    rows = [
        {"file": f"{i}.{kind}", "label": "xy"[i % 2], "split": ("train", "test")[i % 2]}
        for i, kind in enumerate(("png", "bmp", "png", "png"))
    ]
    folder = labelled(tmp_path / "in", rows)
    for name in ("2.png", "3.png"):  # blank ones are no leak
        Image.new("RGB", (20, 20), "white").save(
            folder / name, dpi=(72, 72) if "2" in name else None
        )
    for name in ("0.png", "1.bmp"):
        picture(0).save(folder / name)
    with refused("leak", "1.bmp: has the pixels of 0.png: test and train share an image"):
        build("histo_labelled", folder, tmp_path, name="l")
    assert not list(tmp_path.glob("histo_labelled/l/*/card.json"))
    picture(1).save(folder / "1.bmp")
    assert build("histo_labelled", folder, tmp_path, name="l").n == 4


def test_class_folders(tmp_path):
    for number, name in enumerate(("b/1.png", "b/2.png", "a/1.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "in" / name)
    made = build("histo_labelled", tmp_path / "in", tmp_path, name="l")
    assert made.card["classes"] == ["a", "b"] and sorted(made.table["label"].tolist()) == [0, 1, 1]
    shutil.copy(tmp_path / "in/b/1.png", tmp_path / "in/a/copy.png")
    with refused("conflict", "1.png: is a copy of a/copy.png, but its label is 'b', not 'a'"):
        build("histo_labelled", tmp_path / "in", tmp_path, name="l")
    assert made.path.exists()  # the set that was there stays


def test_ids_in_the_names(tmp_path):
    names = ("a/p1_s1_x.png", "a/p1_s2_x.png", "b/p2_s1_x.png", "b/p2_s3_x.png")
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "in" / name)
    pattern = "(?P<patient>p[0-9])_(?P<slide>s[0-9])"
    made = build("histo_labelled", tmp_path / "in", tmp_path, name="l", ids=pattern)
    found = zip(made.table["patient"].tolist(), made.table["slide"].tolist(), strict=True)
    assert sorted(found) == [("p1", "s1"), ("p1", "s2"), ("p2", "s1"), ("p2", "s3")]
    lines = [f"{name},{'xy'[i // 2]},{('train', 'test')[i % 2]}" for i, name in enumerate(names)]
    (tmp_path / "in/labels.csv").write_text("\n".join(["file,label,split", *lines]))
    with refused("leak", "patients in more than one split: p1, p2"):
        build("histo_labelled", tmp_path / "in", tmp_path, name="torn", ids=pattern)


def test_real_colon_tiles(real_data, tmp_path):
    """Kather 2016 as it is released: a folder a class, the slide in every name."""
    folder, ids = real_data / "kather2016_sample", "(?P<slide>CRC-Prim-HE-[0-9]+)"
    made = build("histo_labelled", folder, tmp_path, name="kather", mpp=0.495, ids=ids)
    assert made.n == 24 and len(made.card["classes"]) == 8
    assert np.bincount(made.table["label"]).tolist() == [3] * 8
    assert len(np.unique(made.table["slide"])) == 10


@pytest.mark.parametrize("tile", [None, 16])
def test_masks_are_cut_with_their_image(tmp_path, tile):
    rng = np.random.default_rng(0)
    values = {s: rng.integers(0, 400, (32, 32)).astype(np.uint16) for s in ("a", "b")}
    rows = [{"file": f"{s}.png", "label": ""} for s in ("a", "b")]
    folder = labelled(tmp_path / "in", rows, values)
    made = build("histo_labelled", folder, tmp_path, name="m", instance_masks=True, tile=tile)
    records = decoded(made)
    assert len(records) == (2 if tile is None else 8) and made.card["classes"] is None
    identity = hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()[:16]
    expected = (values["a"] != 0).astype(np.uint8)[..., None]
    if tile is None:
        np.testing.assert_array_equal(records[f"{identity}-0-0-0"]["mask"], expected)
    else:
        piece = records[f"{identity}-0-16-0"]
        np.testing.assert_array_equal(piece["mask"], expected[:16, 16:])
        np.testing.assert_array_equal(piece["image"], np.asarray(picture(0, 32))[:16, 16:])
    with refused("mask", "masks/a.png: mask of a.png holds the classes"):
        build("histo_labelled", folder, tmp_path, name="other")


def test_ids_are_those_of_the_files(images, tmp_path):
    """A set built from a copy of the folder is the same set."""
    shutil.copytree(images, tmp_path / "in")
    a, b = (build("histo_patches", f, tmp_path / d, name="p", tile=24)
            for f, d in ((images, "x"), (tmp_path / "in", "y")))  # fmt: skip
    assert a.card["content_hash"] == b.card["content_hash"]
    np.testing.assert_array_equal(a.table["key"], b.table["key"])
    buffer = io.BytesIO()
    picture(1).crop((0, 0, 24, 24)).save(buffer, "PNG")
    assert hashlib.sha256(buffer.getvalue()).hexdigest().encode() in set(a.table["sha256"])
