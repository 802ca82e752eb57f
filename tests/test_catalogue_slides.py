"""Every set of slides of the catalogue, from a miniature of its folder."""

import pytest

from histo_jax import catalogue
from histo_jax.data import config
from histo_jax.data.catalogued import slides
from tests import folder_builders
from tests.catalogue_folders import SLIDES, empty
from tests.prepared_sets import refused
from tests.test_builders_folders import DICOM, dicom

ENTRIES = {e.id: e for e in catalogue.load().values() if e.kind == "slides"}


def miniature(name):
    return SLIDES.get(name) or SLIDES[name.split("_")[0]]


@pytest.mark.parametrize("name", ENTRIES)
def test_slides_are_found_and_nothing_else(name, tmp_path):
    found, others = miniature(name)
    empty(tmp_path, [*found, *others])
    items, notes = slides(tmp_path, ENTRIES[name], None)
    assert {item.name: (item.slide, item.patient) for item in items} == found
    assert not any("names are not as" in note for note in notes)
    options = config.SlideConfig(name="x", catalogue=name)
    assert options.tissue == ("otsu" if name == "cptac_aml" else "ciga2021")
    assert options.mpp is None  # the finest there is


def test_an_own_choice_comes_before_the_catalogues():
    assert config.SlideConfig(name="x").tissue == "otsu"
    assert config.SlideConfig(name="x", catalogue="tcga_ov", tissue="otsu").tissue == "otsu"


def test_diagnostic_slides_are_a_variant(tmp_path):
    found, others = SLIDES["tcga"]
    empty(tmp_path, [*found, *others])
    items, _ = slides(tmp_path, ENTRIES["tcga_brca"], "diagnostic")
    assert [item.slide for item in items] == ["TCGA-A7-A13E-01Z-00-DX1"]
    items, _ = slides(tmp_path, ENTRIES["tcga_brca"], "all")
    assert len(items) == 4


def called(uid, name):
    return dicom(uid) + b"\x40\x00\x12\x05LO" + len(name).to_bytes(2, "little") + name


def test_dicom_slides_go_by_the_archives_name_and_radiology_is_none(tmp_path):
    for folder, uid, name in (
        ("brca/TCGA-A7-A13E/1.2/SM_1.2.3", b"1.2.3", b"TCGA-A7-A13E-01A-01-TS1"),
        ("brca/TCGA-A7-A13E/1.2/SM_1.2.4", b"1.2.4", b"TCGA-A7-A13E-01Z-00-DX1 "),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(2):
            (tmp_path / folder / f"{number}.dcm").write_bytes(called(uid, name))
    (tmp_path / "brca/TCGA-A7-A13E/1.3/MR_1.2.5").mkdir(parents=True)
    (tmp_path / "brca/TCGA-A7-A13E/1.3/MR_1.2.5/1.dcm").write_bytes(dicom(b"1.2.5"))
    (item,), _ = slides(tmp_path, ENTRIES["tcga_brca"], None)
    assert (item.slide, item.patient) == ("TCGA-A7-A13E-01A-01-TS1", "TCGA-A7-A13E")
    assert len(item.members) == 1
    items, _ = slides(tmp_path, ENTRIES["tcga_brca"], "all")
    assert len(items) == 2


def test_cptacs_dicom_folders_name_the_patient_where_nothing_else_does(tmp_path):
    folder = tmp_path / "cptac_gbm/C3L-00016/1.2/SM_1.2.3"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(dicom(b"1.2.3"))
    (tmp_path / "cptac_gbm/C3L-00016/1.2/CT_1.2.4").mkdir()
    (tmp_path / "cptac_gbm/C3L-00016/1.2/CT_1.2.4/1.dcm").write_bytes(DICOM)
    (item,), _ = slides(tmp_path, ENTRIES["cptac_gbm"], None)
    assert item.patient == "C3L-00016" and item.slide == item.name


def test_a_folder_of_other_slides_is_refused(tmp_path):
    empty(tmp_path, ["a.svs"])
    with refused("layout", "no slide of tcga_brca: looked for TCGA-", "says what must lie where"):
        slides(tmp_path, ENTRIES["tcga_brca"], None)


def test_slides_csv_comes_first(tmp_path):
    empty(tmp_path, ["TUPAC-TR-001.svs"])
    (tmp_path / "slides.csv").write_text("file,patient,mpp\nTUPAC-TR-001.svs,p7,0.25\n")
    (item,), _ = slides(tmp_path, ENTRIES["tupac16"], None)
    assert (item.slide, item.patient, item.mpp) == ("TUPAC-TR-001", "p7", 0.25)


def test_a_whole_build(tmp_path):
    """Two patients of TCGA, at the finest resolution, by the catalogue's tissue rule."""
    folder = tmp_path / "in"
    for number, name in enumerate(list(SLIDES["tcga"][0])[1:]):
        (folder / name).parent.mkdir(parents=True)
        folder_builders.slide(folder / name, number)
    made = folder_builders.build("histo_wsi", folder, tmp_path, config="tcga_brca")
    assert made.card["options"]["tissue"] == "ciga2021"
    assert made.card["catalogue"]["id"] == "tcga_brca"
    found = set(zip(made.table["slide"].tolist(), made.table["patient"].tolist(), strict=True))
    assert found <= set(SLIDES["tcga"][0].values()) and found
    assert set(made.table["mpp"].tolist()) == {0.5} and set(made.table["level"].tolist()) == {0}
