"""What a user's folder and tables may say, and how they are refused: no TensorFlow here."""

import os

from histo_jax.data import config, folders
from histo_jax.data.names import KEY, Names
from histo_jax.slides.rule import TileRule

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


def test_links_are_followed_once(tmp_path):
    fill(tmp_path / "real", "a.svs")
    folder = fill(tmp_path / "mine", "b.svs")
    os.symlink(tmp_path / "real", folder / "linked")
    os.symlink(folder, folder / "loop")
    assert [s.name for s in folders.slides(folder)] == ["b.svs", "linked/a.svs"]


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


def test_images_are_found_below_the_folder(tmp_path):
    fill(tmp_path, "z.PNG", "a/b/c.jpeg", "d.tif", "e.txt", ".f.png")
    assert [i.name for i in folders.images(tmp_path)] == ["d.tif", "z.PNG", "a/b/c.jpeg"]


def test_classes_are_the_first_folders(tmp_path):
    fill(tmp_path, "fat/1.png", "stroma/case/1.png")
    labels = [(i.name, i.label) for i in folders.labelled(tmp_path)]
    assert labels == [("fat/1.png", "fat"), ("stroma/case/1.png", "stroma")]


def test_labels_csv_lists_what_is_read(tmp_path):
    fill(tmp_path, "a.png", "b.png", "not listed.png")
    table = "file,label,target,slide,patient,split\na.png,x,12.5,s1,p1,train\nb.png,y,,s2,,test\n"
    (tmp_path / "labels.csv").write_text(table)
    a, b = folders.labelled(tmp_path)
    assert (a.label, a.target, a.slide, a.patient, a.split) == ("x", 12.5, "s1", "p1", "train")
    assert (b.label, b.target, b.slide, b.split) == ("y", None, "s2", "test")


def test_masks_go_by_the_stem_of_their_image(tmp_path):
    fill(tmp_path, "a.jpg", "b.png", "masks/a.png", "masks/b.png", "masks/unused.png")
    found = folders.labelled(tmp_path)
    assert [(i.name, i.mask.name, i.label) for i in found] == [
        ("a.jpg", "a.png", None),
        ("b.png", "b.png", None),
    ]


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


def test_whole_numbers_of_json_are_numbers():
    assert type(config.SlideConfig(name="x", mpp=1).mpp) is float


def test_every_option_of_the_cut_can_be_given():
    import dataclasses

    ours = {field.name for field in dataclasses.fields(config.SlideConfig)} | {"size", "thumbnail"}
    assert {field.name for field in dataclasses.fields(TileRule)} <= ours
