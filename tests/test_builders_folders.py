"""What a user's folder and tables may say, and how they are refused: no TensorFlow here."""

import os

import pytest

from histo_jax.data import config, demo_set, folders
from histo_jax.data.names import KEY, Names
from histo_jax.slides.rule import TileRule
from tests.prepared_sets import refused

HEAD = b"II*\0" + bytes(200)  # enough to look like a TIFF
DICOM = bytes(128) + b"DICM" + b"\x02\x00"


def fill(folder, *names, data=HEAD):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data + name.encode())
    return folder


def dicom(uid):
    tag = b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid
    return DICOM + tag


def test_slides_are_found_by_name_and_by_content(tmp_path):
    fill(tmp_path, "b/c.svs", "a.ndpi", "no suffix", ".hidden.svs", ".git/x.svs", "ünï code\n.tif")
    fill(tmp_path, "notes.txt", "look.png", "Slidedat.ini", data=b"text")
    found = folders.slides(tmp_path)
    assert [s.name for s in found] == ["a.ndpi", "no suffix", "ünï code\n.tif", "b/c.svs"]
    assert found[3].slide == "b/c.svs" and found[3].split == "train"


def test_a_dicom_series_is_one_slide(tmp_path):
    fill(tmp_path, "a/1", "a/2", "a/3.dcm", data=dicom(b"1.2.3"))
    fill(tmp_path, "a/4.dcm", data=dicom(b"1.2.4"))
    fill(tmp_path, "b/1", data=dicom(b"1.2.3"))  # another folder, another slide
    found = folders.slides(tmp_path)
    assert [(s.name, len(s.members)) for s in found] == [("a/1", 2), ("a/4.dcm", 0), ("b/1", 0)]


def test_links_are_followed_once_and_all_broken_ones_named_at_once(tmp_path):
    fill(tmp_path / "real", "a.svs")
    folder = fill(tmp_path / "mine", "b.svs")
    os.symlink(tmp_path / "real", folder / "linked")
    os.symlink(folder, folder / "loop")
    assert [s.name for s in folders.slides(folder)] == ["b.svs", "linked/a.svs"]
    os.symlink(tmp_path / "gone.svs", folder / "x.svs")
    os.symlink(folder / "y.svs", folder / "y.svs")
    with refused("unreachable", "no file behind the link", "x.svs", "y.svs"):
        folders.slides(folder)


def test_names_that_are_no_utf8_are_escaped(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.svs")
    path.write_bytes(HEAD)
    (found,) = folders.slides(tmp_path)
    assert found.name == "a\\xff.svs" and found.file == path


def test_slides_csv_says_more_about_some(tmp_path):
    fill(tmp_path, "a.svs", "b/c.svs", "d.svs")
    table = "\ufefffile, mpp,patient ,label\na.svs,0.25,p1,tumour\n b/c.svs ,,p2,\n"
    (tmp_path / "slides.csv").write_text(table)
    a, d, c = folders.slides(tmp_path)
    assert (a.mpp, a.patient, a.label, a.split) == (0.25, "p1", "tumour", "train")
    assert (c.name, c.mpp, c.patient, c.label) == ("b/c.svs", None, "p2", None)
    assert (d.mpp, d.patient) == (None, "")


@pytest.mark.parametrize(
    ("table", "reason", "words"),
    [
        ("file,lable\na.svs,x\n", "table", "unknown column 'lable' .did you mean label"),
        ("file,target\na.svs,1\n", "table", "unknown column 'target'"),
        ("label\nx\n", "table", "has the columns label .`file`"),
        ("file,label,label\na.svs,x,y\n", "table", "has the columns file, label, label"),
        ("", "table", "has the columns none"),
        ("file\n", "table", "has no rows"),
        ("file,label\na.svs,x\na.svs,x\n", "table", "line 3 names a.svs again"),
        ("file,label\na.svs\n", "table", "line 2 has not 2 cells"),
        ("file,label\na.svs,x,y\n", "table", "line 2 has not 2 cells"),
        ("file,label\n,x\n", "table", "line 2 names no file"),
        ("file,mpp\na.svs,fine\n", "table", "mpp of a.svs is 'fine', not a number"),
        ("file,mpp\na.svs,nan\n", "table", "mpp of a.svs is 'nan'"),
        ("file\nx.svs\ny.svs\n", "missing", "names 2 files that are not in its folder: x.svs, y.svs"),
        ("file,split\na.svs,val\nb.svs,test\n", "split", "in split 'val' .known: train, validation"),
        ("file,split\na.svs,train\nb.svs,\n", "split", "names no split for b.svs"),
        ("file,split\na.svs,train\n", "split", "names no split for b.svs"),
        ("file,split,patient\na.svs,train,p\nb.svs,test,p\n", "leak", "patients in more than one split: p"),
        (b"file\n\xff\n", "table", "not readable as CSV in UTF-8"),
    ],
)  # fmt: skip
def test_a_slides_csv_that_does_not_fit_is_refused(tmp_path, table, reason, words):
    fill(tmp_path, "a.svs", "b.svs")
    (tmp_path / "slides.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with refused(reason, "slides.csv: ", words):
        folders.slides(tmp_path)


def test_folders_without_anything_say_what_they_might_hold(tmp_path):
    fill(tmp_path, "a.txt", data=b"text")
    with refused("no-slides", "no slide in it", "histo_patches"):
        folders.slides(tmp_path)
    with refused("no-images", "no image in it", ".png"):
        folders.images(tmp_path)


def test_images_are_found_below_the_folder(tmp_path):
    fill(tmp_path, "z.PNG", "a/b/c.jpeg", "d.tif", "e.txt", ".f.png")
    assert [i.name for i in folders.images(tmp_path)] == ["d.tif", "z.PNG", "a/b/c.jpeg"]


def test_classes_are_the_first_folders(tmp_path):
    fill(tmp_path, "fat/1.png", "stroma/case/1.png")
    labels = [(i.name, i.label) for i in folders.labelled(tmp_path)]
    assert labels == [("fat/1.png", "fat"), ("stroma/case/1.png", "stroma")]
    fill(tmp_path, "loose.png")
    with refused("no-labels", "outside the class folders lie loose.png"):
        folders.labelled(tmp_path)


def test_one_class_is_none(tmp_path):
    fill(tmp_path, "fat/1.png", "fat/2.png")
    with refused("no-labels", "one class only: fat"):
        folders.labelled(tmp_path)


def test_labels_csv_lists_what_is_read(tmp_path):
    fill(tmp_path, "a.png", "b.png", "not listed.png")
    table = "file,label,target,slide,patient,split\na.png,x,12.5,s1,p1,train\nb.png,,,s2,,test\n"
    (tmp_path / "labels.csv").write_text(table)
    with refused("no-labels", "neither label nor target of b.png"):
        folders.labelled(tmp_path)
    (tmp_path / "labels.csv").write_text(table.replace("b.png,,,", "b.png,y,,"))
    a, b = folders.labelled(tmp_path)
    assert (a.label, a.target, a.slide, a.patient, a.split) == ("x", 12.5, "s1", "p1", "train")
    assert (b.label, b.target, b.slide, b.split) == ("y", None, "s2", "test")


@pytest.mark.parametrize(
    ("table", "reason", "words"),
    [
        ("file,label\ngone.png,x\n", "missing", "names 1 files that are not in its folder: gone.png"),
        ("file,patient\na.png,x\n", "no-labels", "neither label nor target of a.png"),
        ("file,label,slide,split\na.png,x,s,train\nb.png,x,s,test\n", "leak", "slides in more than one"),
        ("file,class\na.png,x\n", "table", "unknown column 'class'"),
    ],
)  # fmt: skip
def test_a_labels_csv_that_does_not_fit_is_refused(tmp_path, table, reason, words):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text(table)
    with refused(reason, "labels.csv: ", words):
        folders.labelled(tmp_path)


def test_masks_go_by_the_stem_of_their_image(tmp_path):
    fill(tmp_path, "a.jpg", "b.png", "masks/a.png", "masks/b.png", "masks/unused.png")
    found = folders.labelled(tmp_path)
    assert [(i.name, i.mask.name, i.label) for i in found] == [
        ("a.jpg", "a.png", None),
        ("b.png", "b.png", None),
    ]
    fill(tmp_path, "c.png")
    with refused("mask", "no <name>.png for c.png"):
        folders.labelled(tmp_path)
    fill(tmp_path, "masks/c.png", "c.jpg")
    with refused("mask", "one mask for c.jpg and c.png"):
        folders.labelled(tmp_path)


def test_a_folder_of_images_beside_masks_is_no_class(tmp_path):
    fill(tmp_path, "images/a.png", "masks/a.png")
    (found,) = folders.labelled(tmp_path)
    assert found.label is None and found.mask.name == "a.png"


def test_pseudonyms_need_their_key(tmp_path):
    plain, hidden = Names(tmp_path, False), Names(tmp_path, True)
    assert plain("Smith") == "Smith" and hidden("") == ""
    assert hidden("Smith") != "Smith" and len(hidden("Smith")) == 16
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    assert Names(tmp_path, True)("Smith") == hidden("Smith")
    assert Names(tmp_path / "other", True)("Smith") != hidden("Smith")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "x", "mp": 1}, "mp: no such option .did you mean mpp"),
        ({"name": "x", "colour": 1}, "colour: no such option .known: name, pseudonymise"),
        ({"mpp": 1}, "name: is missing"),
        ({"name": "a/b"}, "name: 'a/b' is no name of a folder"),
        ({"name": ""}, "name: '' is no name"),
        ({"name": "x", "mpp": "0.5"}, "mpp: '0.5' is no float or null"),
        ({"name": "x", "max_tiles": 1.5}, "max_tiles: 1.5 is no int"),
        ({"name": "x", "max_tiles": True}, "max_tiles: True is no int"),
        ({"name": "x", "pseudonymise": 1}, "pseudonymise: 1 is no bool"),
        ({"name": "x", "max_quarantine": -1}, "max_quarantine: is negative"),
    ],
)
def test_options_are_checked_before_anything(options, words):
    with refused("config", words):
        config.SlideConfig(**options)


def test_options_of_images_and_demo():
    assert config.SlideConfig(name="x", mpp=1).mpp == 1.0
    assert type(config.SlideConfig(name="x", mpp=1).mpp) is float
    with refused("config", "tile: 4 is below 8"):
        config.ImageConfig(name="x", tile=4)
    with refused("config", "mpp: 50 µm is not within"):
        config.LabelledConfig(name="x", mpp=50)
    with refused("config", "slides: 7 is no multiple"):
        demo_set.DemoConfig(name="x", slides=7)
    with refused("config", "palette: is 'red' .known: classic, other"):
        demo_set.DemoPatchesConfig(name="x", palette="red")


def test_every_option_of_the_cut_can_be_given():
    import dataclasses

    ours = {field.name for field in dataclasses.fields(config.SlideConfig)} | {"size"}
    assert {field.name for field in dataclasses.fields(TileRule)} <= ours
