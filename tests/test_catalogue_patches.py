"""Every set of patches of the catalogue, from a miniature of its folder."""

import numpy as np
import pytest
from PIL import Image

from histo_jax import catalogue
from histo_jax.data.catalogued import images
from tests import catalogue_folders
from tests.catalogue_folders import PATCHES, draw, fill
from tests.folder_builders import build, builder, decoded, read
from tests.prepared_sets import refused

ENTRIES = catalogue.load()


def glas(folder):
    """With the table that names its patients, spaces and all."""
    found, others = PATCHES["glas2015"]
    fill(folder, list(found), others)
    (folder / "Warwick/Grade.csv").write_text(
        "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n"
        "train_1,7, benign, adenomatous\ntestA_2, 12, malignant, moderately differentiated\n"
    )


def test_none_is_forgotten():
    assert {*PATCHES, "pannuke_fold1"} == {e.id for e in ENTRIES.values() if e.kind == "patch"}


@pytest.mark.parametrize("name", PATCHES)
def test_images_are_read_and_nothing_else(name, tmp_path):
    found, others = PATCHES[name]
    mode = "RGBA" if ENTRIES[name].layout.alpha == "drop" else "RGB"
    fill(tmp_path / "in", list(found), others, mode)
    if name == "glas2015":
        glas(tmp_path / "in")
    items, records, summary = read("histo_patches", tmp_path / "in", tmp_path, name)
    assert {item.name: (item.slide, item.patient) for item in items} == found
    assert len(records) == len(found) == summary["read"] == summary["fit"]["resize"]
    assert summary["fit"] == {"resize": len(found), "tile": 0, "crop": 0}  # 24 pixels a side
    mpp = ENTRIES[name].mpp or np.nan
    assert all(np.array_equal(r["mpp"], mpp, equal_nan=True) for r in records)
    assert {r["dataset"] for r in records} == {f"histo_patches/{name}"}


def test_alpha_is_dropped_not_composed(tmp_path):
    (name, *_), _ = PATCHES["tnbc_nuclei"]
    rgb = draw(tmp_path / "in" / name, 5, "RGBA")
    _, (record,), _ = read("histo_patches", tmp_path / "in", tmp_path, "tnbc_nuclei")
    np.testing.assert_array_equal(pixels_of(record), rgb)


def pixels_of(record):
    import io

    return np.asarray(Image.open(io.BytesIO(record["image"])))


def test_deep_gray_is_scaled_where_the_catalogue_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    values = np.linspace(1000, 5000, 400).reshape(20, 20).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "in/a.tif")
    _, (record,), _ = read("histo_patches", tmp_path / "in", tmp_path, "ramtab")
    gray = pixels_of(record)
    assert gray.shape == (20, 20, 3) and gray.min() == 0 and gray.max() == 255
    assert abs(int(gray[10, 0, 0]) - 128) <= 2 and (np.diff(gray[..., 0].ravel()) >= 0).all()
    _, records, summary = read("histo_patches", tmp_path / "in", tmp_path, "warwick_beta_cell")
    assert not records and summary["skipped"] == {"colour-16-bit": 1}


def test_an_array_of_images(tmp_path):
    folder = tmp_path / "in/Fold 1/images/fold1"
    folder.mkdir(parents=True)
    array = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float64)
    array[3] = array[0]  # a copy inside the array
    np.save(folder / "images.npy", array)
    np.save(folder / "types.npy", np.array(["Breast"] * 4))
    made = build("histo_patches", tmp_path / "in", tmp_path, config="pannuke_fold1")
    records = decoded(made)
    assert made.n == 3 and made.card["summary"]["skipped"] == {"duplicate": 1}
    stored = {r["image"].tobytes() for r in records.values()}
    assert stored == {image.astype(np.uint8).tobytes() for image in array}
    np.save(folder / "images.npy", array * 2)
    with refused("no-records", "1 damaged", "image 0 has values beyond 0 .. 255"):
        build("histo_patches", tmp_path / "in", tmp_path / "other", config="pannuke_fold1")


@pytest.mark.parametrize(("fit", "records"), [(None, 2), ("tile", 6), ("crop", 1)])
def test_the_three_fits_and_their_counts(tmp_path, fit, records):
    folder = tmp_path / "in"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    Image.fromarray(image).save(folder / "train_1.bmp")
    draw(folder / "testB_1.bmp", 1)  # 24 pixels
    options = {"name": "g", "catalogue": "glas2015", "fit": fit}
    _, found, summary = read("histo_patches", folder, tmp_path, **options)
    assert len(found) == records
    if fit is None:
        assert summary["fit"] == {"resize": 2, "tile": 6, "crop": 1}
        return
    assert summary["fit"] == {"resize": 1, "tile": 6, "crop": 1}  # of the one that is large enough
    assert summary["skipped"] == {"too-small": 1}
    x, y = (224, 224) if fit == "tile" else ((700 - 224) // 2, (500 - 224) // 2)
    (piece,) = (r for r in found if (r["x"], r["y"]) == (x, y))
    np.testing.assert_array_equal(pixels_of(piece), image[y : y + 224, x : x + 224])


def test_a_whole_build_says_what_the_dataset_is(tmp_path, capsys):
    glas(tmp_path / "in")
    made = build("histo_patches", tmp_path / "in", tmp_path, config="glas2015")
    assert sorted(made.table["patient"].tolist()) == ["12", "7"]
    known = made.card["catalogue"]
    assert known["id"] == "glas2015" and known["licence"] == "research only"
    assert made.card["options"]["mpp"] == 0.62005
    out = capsys.readouterr().out
    assert "note: 2 of the 165 that were released are here" in out
    assert "images by fit: 2 resize" in out and "2 images that are not asked for ignored" in out
    info = builder("histo_patches", tmp_path, config="glas2015").info
    assert "GlaS challenge" in info.citation and info.homepage.endswith("glascontest/")
    build("histo_patches", tmp_path / "in", tmp_path, config="glas2015")
    assert "nothing changed since it was built" in capsys.readouterr().out


def test_variants_are_parts(tmp_path):
    found, others = PATCHES["idcgrade_databiox"]
    fill(tmp_path, list(found), others)
    entry = ENTRIES["idcgrade_databiox"]
    items, notes = images(tmp_path, entry, "40x")
    assert [item.name for item in items] == ["BC_IDC_Grade_3/40x/2.jpg"] and not notes
    with refused(
        "layout", "no image of idcgrade_databiox: looked for .*/10x/", "says what must lie"
    ):
        images(tmp_path, entry, "10x")


def test_what_is_doubtful_is_said(tmp_path):
    catalogue_folders.fill(tmp_path, ["epi/odd.tif", "epi/1_2.tif"], [])
    _, notes = images(tmp_path, ENTRIES["janowczyk_epi"], None)
    assert notes == [
        "1 names are not as the catalogue knows them: epi/odd.tif; their patients stay unknown",
        "2 of the 42 that were released are here",
    ]
    _, notes = images(tmp_path, ENTRIES["lyon19"], None)
    assert "every image in the folder is taken" in notes[0]
    glas(tmp_path)
    (tmp_path / "Warwick/Grade.csv").unlink()
    items, notes = images(tmp_path, ENTRIES["glas2015"], None)
    assert not any(item.patient for item in items)
    assert notes[0] == "no Grade.csv in the folder: no patient from it"


def test_names_of_configs_are_explained(tmp_path):
    for name, reason, words in (
        ("bach", "config", "bach is built by tfds_builders/bach, not here"),
        ("glas201", "config", "did you mean glas2015"),
        ("mylab", "config", "BuilderConfig mylab not found"),
    ):
        with refused(reason, words):
            builder("histo_patches", tmp_path, config=name)
    with refused("config", "bach_seg is built by tfds_builders/bach_seg, not here"):
        builder("histo_labelled", tmp_path, config="bach_seg")
