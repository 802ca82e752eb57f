"""What an image build says beside its counts: files of other kinds, one class, too many refused."""

import numpy as np
import pytest
from PIL import Image

from tests.folder_builders import build
from tests.prepared_sets import pixels, refused


def fill(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(7, number)).save(folder / name)


def test_files_of_other_kinds_are_counted(tmp_path, capsys):
    folder = tmp_path / "images"
    fill(folder, "a.png", "sub/b.jpg")
    for name in ("a.xml", "b.XML", "sub/c.xml", "note.txt", "Miller", "d.\x1b[31m"):
        (folder / name).write_text("?")
    (folder / ".hidden.xml").write_text("?")
    made = build("histo_patches", folder, tmp_path / "data", name="p")
    out = capsys.readouterr().out
    assert "6 files of other kinds ignored (.xml, " in out and "no suffix" in out and ".txt" in out
    assert "\x1b" not in out
    assert made.card["summary"]["other_files"] == 6 and made.card["summary"]["files"] == 2


def test_images_that_nobody_asks_for_are_counted(tmp_path, capsys):
    folder = tmp_path / "images"
    fill(folder, "a.png", "b.png", "c.png", "d.png")
    (folder / "labels.csv").write_text("file,label\na.png,x\nb.png,y\n")
    (folder / "masks").mkdir()
    for stem in "abe":
        Image.fromarray(np.zeros((24, 24), np.uint8)).save(folder / "masks" / f"{stem}.png")
    build("histo_labelled", folder, tmp_path / "data", name="p")
    out = capsys.readouterr().out
    assert "; 3 images that are not asked for ignored" in out and "other kinds" not in out
    assert "warning" not in out


@pytest.mark.parametrize("table", ["file,label\na.png,x\nb.png,x\n", "file,label\na.png,x\n"])
def test_one_class_only_is_said_at_once(tmp_path, capsys, table):
    folder = tmp_path / "images"
    fill(folder, "a.png", "b.png")
    (folder / "labels.csv").write_text(table)
    made = build("histo_labelled", folder, tmp_path / "data", name="p")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert line.startswith("histo_labelled/p: warning: one class only, 'x'") and "eval.py" in line
    assert made.card["classes"] == ["x"]


def test_targets_of_one_class_are_fine(tmp_path, capsys):
    folder = tmp_path / "images"
    fill(folder, "a.png", "b.png")
    (folder / "labels.csv").write_text("file,label,target\na.png,x,3\nb.png,x,4\n")
    build("histo_labelled", folder, tmp_path / "data", name="p")
    assert "warning" not in capsys.readouterr().out


def test_too_many_refused_are_told_before_anything_is_called_prepared(tmp_path, capsys):
    folder = tmp_path / "images"
    fill(folder, "a.png", "b.png")
    for number in range(3):
        (folder / f"bad{number}.png").write_text("<html>")
    table = "file,split,label\na.png,train,x\nb.png,test,y\n"
    table += "".join(f"bad{number}.png,train,x\n" for number in range(3))
    (folder / "labels.csv").write_text(table)
    with refused("quarantine", "3 of 5 images refused, at most 2 may be: 3 html"):
        build("histo_labelled", folder, tmp_path / "data", name="p", max_quarantine=2)
    said = "".join(capsys.readouterr())
    assert "prepared to" not in said
    assert not (tmp_path / "data/histo_labelled/p/1.0.0").exists()
    assert build("histo_labelled", folder, tmp_path / "data", name="p", max_quarantine=3).n == 2
    assert "prepared to" in "".join(capsys.readouterr())  # so it would have been said
