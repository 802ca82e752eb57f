"""Every damaged input of the table is told in one whole line, or read as it should be."""

import json
import re
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from histo_jax.data import arrays, folders, masks, prepared, record
from histo_jax.data.images import read_images
from histo_jax.data.regions import drawn_on
from histo_jax.errors import HistoError
from histo_jax.slides import regions
from histo_jax.slides.parts import read_part, write_part
from histo_jax.slides.reasons import REASONS
from histo_jax.slides.tiles import TileRule, cut
from tests import damaged, damaged_words, folder_builders
from tests.prepared_sets import make_set

REMEDIES = {"slide": REASONS, "image": record.REASONS, "regions_file": REASONS}


# Doors: how an input comes in.


def slide(path, given=None, size=64, tissue="none", **rule):
    return cut(path, TileRule(size=size, tissue=tissue, **rule), given)


def image(path, side=None):
    read, _ = record.open_image(record.read_bytes(path), path)
    if side:
        record.check_side(read, side, path)


def mask(path):
    masks.read_mask(path, "a.png", (40, 40), instances=False)


def array(path):
    list(arrays.read(path))


def slide_table(path):
    folders.slides(path.parent)


def label_table(path):
    folders.labelled(path.parent)


def slide_folder(path):
    folders.slides(path)


def image_folder(path, ids=None):
    folders.labelled(path, ids)


def labelled_build(path, **options):
    folder_builders.read("histo_labelled", path, path.parent / "data", name="x", **options)


def opened_set(path):
    prepared.open_version(path)


def verified_set(path):
    prepared.verify(prepared.open_version(path))


def read_set(path):
    made = prepared.open_version(path)
    list(read_images(made, np.arange(made.n), 24, 4))


def new_index(path):
    try:
        prepared.write_index(path, {})
    finally:
        assert not (path / prepared.CARD).exists()  # half a build has none


def regions_file(path):
    regions.read(path, types.SimpleNamespace(path=path, dimensions=(320, 256), bounds=(0,) * 4))


def region_folder(path):
    drawn_on(path, folders.slides(path))


def part(path):
    list(read_part(path)[1])


TABLE = {
    slide: damaged.SLIDES, image: damaged.IMAGES, mask: damaged.MASKS, array: damaged.ARRAYS,
    slide_table: damaged_words.SLIDE_TABLES, label_table: damaged_words.LABEL_TABLES,
    regions_file: damaged_words.REGIONS, region_folder: damaged_words.REGION_FOLDERS,
    slide_folder: damaged_words.SLIDE_FOLDERS, image_folder: damaged_words.IMAGE_FOLDERS,
    labelled_build: damaged_words.BUILDS, opened_set: damaged.SETS, verified_set: damaged.DEEP,
    read_set: damaged.RECORDS, new_index: damaged.INDEXES, part: damaged.PARTS,
}  # fmt: skip
CASES = [(door, case) for door, cases in TABLE.items() for case in cases]


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory):
    made = make_set(tmp_path_factory.mktemp("data"), n=8, splits=("test", "train"))
    for name in prepared.BESIDE:
        (made.path / name).write_text("{}")
    prepared.write_card(prepared.write_index(made.path, made.card))
    verified_set(made.path)
    return made.path


@pytest.fixture(scope="module")
def whole_part(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return write_part(folder, slide(damaged.svs()(folder / "a.svs"), max_tiles=2), 0)


def write(door, case, folder, request):
    """Makes a case's input in a folder; returns what goes to the door."""
    if door is part:
        path = folder / "part.zip"
        shutil.copy(request.getfixturevalue("whole_part"), path)
    elif door in (opened_set, verified_set, read_set, new_index):
        path = folder / "histo_patches/tiny/1.0.0"
        shutil.copytree(request.getfixturevalue("whole_set"), path)
    elif door is slide_table:
        path = folder / "slides.csv"
        for name in ("a.svs", "b.svs"):
            (folder / name).write_bytes(b"II*\0" + name.encode())
    elif door is label_table:
        path = folder / "labels.csv"
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(damaged.PNG)
    else:
        path = folder / case.name
    if callable(case.make):
        case.make(path)
        return path
    if not isinstance(case.make, dict):
        path.write_bytes(case.make if isinstance(case.make, bytes) else case.make.encode())
        return path
    for name, data in case.make.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def check(error, case, path, remedies=None):
    """One whole line: the path, what is wrong, what to do."""
    line = case.line
    if remedies and remedies[case.reason]:
        line += f" ({remedies[case.reason]})"
    told = str(error)
    assert error.reason == case.reason, told
    assert "\n" not in told
    assert re.fullmatch(re.escape(f"{path}: {line}").replace("…", ".+"), told), told


@pytest.mark.parametrize(
    ("door", "case"), CASES, ids=[f"{d.__name__}-{c.fault}-{c.name}" for d, c in CASES]
)
def test_refused(door, case, tmp_path, request):
    path = write(door, case, tmp_path, request)
    with pytest.raises(HistoError) as caught:
        door(path, **case.options)
    where = path / case.where if case.where else path
    check(caught.value, case, where, REMEDIES.get(door.__name__))


@pytest.mark.parametrize("case", damaged_words.OPTIONS, ids=lambda case: case.name)
def test_options(case, tmp_path):
    options = {"name": "x"} | json.loads("{" + case.name + "}")
    with pytest.raises(HistoError) as caught:
        folder_builders.builder(case.make, tmp_path, **options)
    check(caught.value, case, f"--config, {case.where}")


@pytest.mark.parametrize(
    ("name", "make", "wanted"), [case[1:] for case in damaged.ODD_SLIDES], ids=lambda v: str(v)[:20]
)
def test_odd_slides_are_read(name, make, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(Path(name))
    options = {k: wanted[k] for k in ("given", "default_mpp", "tissue") if k in wanted}
    made = slide(name, **options)
    told = {"mpp": made.mpp and round(made.mpp, 6), **made.counts}
    (told["warning"],) = made.warnings or (None,)
    for key, value in wanted.items():
        assert key in options or told[key] == value, (key, told)
    assert told["warning"] == wanted.get("warning") and sum(made.counts.values()) == 20


@pytest.mark.parametrize("case", damaged.REAL_SLIDES, ids=lambda case: case.name)
def test_real_slides_are_refused(case, real_data, tmp_path):
    path = real_data / case.name
    if case.make:  # by itself, elsewhere
        path = Path(shutil.copy(real_data / case.make, tmp_path))
    with pytest.raises(HistoError) as caught:
        slide(path)
    check(caught.value, case, path, REASONS)


def test_every_fault_and_every_reason_is_there():
    cases = [case for _, case in CASES] + damaged_words.OPTIONS
    faults = {case.fault for case in cases} | {case[0] for case in damaged.ODD_SLIDES}
    assert faults | {e for e in damaged.ELSEWHERE if e in damaged.FAULTS} == set(damaged.FAULTS)
    reasons = {case.reason for case in cases}
    assert {*REASONS, *record.REASONS} <= reasons | damaged.ELSEWHERE.keys()
    assert not reasons & damaged.ELSEWHERE.keys()
    for test in damaged.ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(), test
    assert len(cases) + len(damaged.ODD_SLIDES) >= 120
