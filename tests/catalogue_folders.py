"""Miniatures of the catalogue's datasets: their layouts, and beside the images what is none."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.prepared_sets import pixels

SIDE = 24

# Patches: {path of an image: (slide, patient)}, and paths of what must not be read.
PATCHES: dict[str, tuple[dict[str, tuple[str, str]], list[str]]] = {
    "aml_cytomorphology_lmu": (
        {
            "PKG - AML-Cytomorphology_LMU/AML-Cytomorphology_LMU/BAS/BAS_0001.tiff": ("", ""),
            "PKG - AML-Cytomorphology_LMU/AML-Cytomorphology_LMU/NGS/NGS_0001.tiff": ("", ""),
        },
        ["PKG - AML-Cytomorphology_LMU/annotations.dat", "other/XYZ/XYZ_0001.tiff"],
    ),
    "janowczyk_epi": (
        {"epi/8863_500_a.tif": ("", "8863"), "epi/8864_500_b.tif": ("", "8864")},
        ["epi/masks/8863_500_a_mask.png", "epi/masks/8864_500_b_mask.png"],
    ),
    "janowczyk_lymphoma": (
        {"FL/sj-05-1881-R1_018.tif": ("sj-05-1881-R1", ""), "CLL/sj-03-1_1.tif": ("sj-03-1", "")},
        ["FL/.DS_Store", "other/sj-03-1_2.tif"],
    ),
    "janowczyk_mitosis": ({"01/01.tif": ("", "01"), "any.png": ("", "")}, ["01/01_mask.png"]),
    "janowczyk_nuclei": (
        {"nuclei/12750_500_f00003_original.tif": ("", "12750")},
        ["nuclei/12750_500_f00003_mask.png", "nuclei/12750_500_f00003_old.tif"],
    ),
    "janowczyk_tubule": (
        {"09-21631-03-2.bmp": ("", "09-21631"), "m2_10449-11E-T3N1b.bmp": ("", "10449-11E")},
        ["09-21631-03-2_anno.bmp", "m2_10449-11E-T3N1b_anno.bmp"],
    ),
    "cnmc": (
        {
            "C-NMC_training_data/fold_0/all/UID_9_11_1_all.bmp": ("", "9"),
            "C-NMC_training_data/fold_1/fold_1/hem/UID_H21_19_3_hem.bmp": ("", "H21"),
        },
        ["C-NMC_test_prelim_phase_data/1.bmp", "C-NMC_test_prelim_phase_data/labels.csv"],
    ),
    "consep": (
        {"CoNSeP/Train/Images/train_1.png": ("", ""), "CoNSeP/Test/Images/test_1.png": ("", "")},
        ["CoNSeP/Train/Overlay/train_1.png", "CoNSeP/Train/Labels/train_1.mat"],
    ),
    "crchistophenotypes": (
        {"Detection/img1/img1.bmp": ("", ""), "Detection/img2/img2.bmp": ("", "")},
        ["Classification/img1/img1.bmp", "Detection/img1/img1_detection.mat"],
    ),
    "glas2015": (
        {"Warwick/train_1.bmp": ("", "7"), "Warwick/testA_2.bmp": ("", "12")},
        ["Warwick/train_1_anno.bmp", "Warwick/testA_2_anno.bmp"],
    ),
    "icpr2014_mitos_atypia": (
        {
            "training_aperio/A03/A03/frames/x40/A03_00Aa.tiff": ("03", ""),
            "training_aperio/A03/frames/x20/A03_00A.tiff": ("03", ""),
            "training_hamamatsu/H03/frames/x20/H03_00A.tiff": ("03", ""),
        },
        ["A03/frames/x10/A03_00.tiff", "A03/frames/x40/A03_00Aa.jpg", "A03/mitosis/A03_00Aa.csv"],
    ),
    "icpr2012_mitos": (
        {"A00_v2/A00_00.bmp": ("00", ""), "H00_v2/H00_00.bmp": ("00", "")},
        ["A00_v2/A00_00.jpg", "A00_v2/A00_00.csv", "M00_v2/M00_00.bmp"],
    ),
    "lyon19": ({"a/1.png": ("", ""), "2.tif": ("", "")}, ["list.csv"]),
    "mimm_sbilab": ({"MiMM_SBILab Dataset/1.bmp": ("", "")}, ["readme.txt", "1.jpg"]),
    "monuseg2018_train": (
        {
            "MoNuSeg 2018 Training Data/Tissue Images/TCGA-A7-A13E-01Z-00-DX1.tif": (
                "TCGA-A7-A13E-01Z-00-DX1",
                "TCGA-A7-A13E",
            )
        },
        [
            "MoNuSeg 2018 Training Data/Annotations/TCGA-A7-A13E-01Z-00-DX1.xml",
            "MoNuSeg Test Data/Tissue Images/TCGA-2Z-A9J9-01A-01-TS1.tif",
        ],
    ),
    "prostate_mri": ({"a.jpg": ("", ""), "b/c.png": ("", "")}, ["MR/1.dcm"]),
    "ramtab": ({"a.tif": ("", "")}, []),
    "sn_am": (
        {"PKG - SN-AM/ALL/1.bmp": ("", ""), "PKG - SN-AM/MM/1.bmp": ("", "")},
        [f"PKG - SN-AM/MM/1_{k}_mask.bmp" for k in ("background", "nucleus", "cyto")],
    ),
    "tnbc_nuclei": (
        {"TNBC/Slide_01/01_1.png": ("", "01"), "TNBC/Slide_02/02_1.png": ("", "02")},
        ["TNBC/GT_01/01_1.png", "__MACOSX/TNBC/Slide_01/01_1.png", "TNBC/Slide_01/._01_1.png"],
    ),
    "warwick_beta_cell": ({"1.tif": ("", ""), "2.jpg": ("", "")}, []),
    "idcgrade_databiox": (
        {"BC_IDC_Grade_1/4x/1.JPG": ("", ""), "BC_IDC_Grade_3/40x/2.jpg": ("", "")},
        ["BC_IDC_Grade_4/10x/1.jpg", "BC_IDC_Grade_1/1.jpg"],
    ),
}

# Slides: as above; they are only looked for, so any bytes do.
SLIDES: dict[str, tuple[dict[str, tuple[str, str]], list[str]]] = {
    "tcga": (
        {
            "f1/TCGA-A7-A13E-01A-01-TS1.0a-b.svs": ("TCGA-A7-A13E-01A-01-TS1", "TCGA-A7-A13E"),
            "f2/TCGA-A7-A13E-11A-02-BSB.0a-c.svs": ("TCGA-A7-A13E-11A-02-BSB", "TCGA-A7-A13E"),
            "f3/TCGA-2Z-A9J9-01A-01-MS2.svs": ("TCGA-2Z-A9J9-01A-01-MS2", "TCGA-2Z-A9J9"),
        },
        ["f4/TCGA-A7-A13E-01Z-00-DX1.0a-d.svs", "f1/logs/TCGA-A7-A13E-01A-01-TS1.svs"],
    ),
    "cptac": (
        {
            "C3L-00004-21.svs": ("C3L-00004-21", "C3L-00004"),
            "C3N-01234-22_D1.svs": ("C3N-01234-22_D1", "C3N-01234"),
            "C3l-04086-21.svs": ("C3L-04086-21", "C3L-04086"),
        },
        ["other.svs"],
    ),
    "camelyon16": (
        {
            "CAMELYON16/images/normal_001.tif": ("normal_001", ""),
            "training/tumor/tumor_001.tif": ("tumor_001", ""),
            "testing/images/test_001.tif": ("test_001", ""),
        },
        [
            "CAMELYON16/masks/tumor_001_mask.tif",
            "CAMELYON16/images/normal_086.tif",
            "testing/images/test_114.tif",
        ],
    ),
    "tupac16": (
        {
            "training_image_data/TUPAC-TR-001.svs": ("TUPAC-TR-001", ""),
            "TUPAC-TE-001.svs": ("TUPAC-TE-001", ""),
        },
        ["mitoses_image_data_part_1/01/01.tif"],
    ),
    "camelyon17": (
        {"images/patient_000_node_0.tif": ("patient_000_node_0", "patient_000")},
        ["masks/patient_000_node_0_mask.tif", "masks/patient_000_node_0.tif"],
    ),
    "sln_breast": ({"PKG/HobI16-053768896760.svs": ("HobI16-053768896760", "")}, ["target.csv"]),
    "post_nat_brca": ({"a/99788.svs": ("a/99788.svs", "")}, ["a/99788.xml", "b.tif"]),
}


def draw(path: Path, number: int, mode: str = "RGB") -> np.ndarray:
    """Writes an image, another one for every number; RGBA is half transparent. Returns its RGB."""
    rgb = pixels(3, number, SIDE, SIDE)
    image = Image.fromarray(rgb)
    if mode == "RGBA":
        alpha = np.full((SIDE, SIDE), 255, np.uint8)
        alpha[: SIDE // 2] = 0
        image.putalpha(Image.fromarray(alpha))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return rgb


def fill(folder: Path, images: list[str], others: list[str], mode: str = "RGB") -> None:
    """Draws images, and the others, too, where their suffix is an image's."""
    for number, name in enumerate([*images, *others]):
        if name.lower().endswith((".png", ".jpg", ".tif", ".tiff", ".bmp")):
            draw(folder / name, number, mode if name in images else "RGB")
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("?")


def empty(folder: Path, names: list[str]) -> None:
    """Files that only their names tell apart."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"II*\0" + name.encode())
