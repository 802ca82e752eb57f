"""The drawn tissue: seeded, varied between patients, readable as slides."""

import numpy as np
import pytest

from histo_jax.data.drawn import slides, stain
from histo_jax.data.drawn.tissue import CLASSES
from histo_jax.slides.source import Slide


def drawn(name: str, side: int = 256, seed: int = 0, number: int = 0) -> np.ndarray:
    return slides.draw_slide(name, side, stain.draw_patient(seed, number), (seed, number))


def test_equal_seeds_draw_equal_pixels():
    a, b, other = (drawn("tumour_glands", 96, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != other).mean() > 0.5


def test_classes_differ_by_what_defines_them():
    patient = stain.draw_patient(0, 0)
    canvases = {
        name: slides.canvas_of(name, 256, patient, np.random.default_rng(0)) for name in CLASSES
    }
    cellularity = {name: canvas.nuclei.mean() for name, canvas in canvases.items()}
    empty = {
        name: ((canvas.eosin + canvas.haematoxylin) < 0.2).mean()
        for name, canvas in canvases.items()
    }
    assert max(empty, key=empty.get) == "fat" and empty["fat"] > 0.5
    assert empty["normal_glands"] > empty["tumour_glands"]  # wide lumens
    ranked = sorted(CLASSES, key=cellularity.get)
    assert set(ranked[-2:]) == {"lymphocytes", "tumour_glands"}
    assert cellularity["normal_glands"] > cellularity["stroma"] > cellularity["fat"]
    assert 0.15 < cellularity["lymphocytes"] < 0.75


def test_amounts_are_never_negative_and_masks_are_nuclei():
    for name in CLASSES:
        canvas = slides.canvas_of(name, 96, stain.draw_patient(1, 2), np.random.default_rng(1))
        assert canvas.eosin.min() >= 0 and canvas.haematoxylin.min() >= 0
        assert canvas.eosin.dtype == canvas.haematoxylin.dtype == np.float32
        if name in ("lymphocytes", "tumour_glands"):
            inside, outside = canvas.nuclei == 1, canvas.nuclei == 0
            blue = canvas.haematoxylin
            assert blue[inside].mean() > 2 * blue[outside].mean()


@pytest.mark.parametrize("palette", stain.PALETTES)
def test_patients_differ_in_stain(palette):
    means = []
    for number in range(6):
        patient = stain.draw_patient(0, number, palette)
        image = slides.draw_slide("stroma", 128, patient, (0,))
        means.append(image[32:-32, 32:-32].mean((0, 1)))
    assert np.ptp(means, axis=0).max() > 30


def test_palettes_are_other_stains():
    one, other = (stain.draw_patient(0, 0, palette).stains for palette in stain.PALETTES)
    assert np.abs(one - other).max() > 0.05


def test_slides_are_pyramids_with_their_scale(tmp_path):
    image = drawn("stroma")
    slides.write_slide(tmp_path / "a.tif", image)
    with Slide(tmp_path / "a.tif") as slide:
        assert slide.level_dimensions == ((256, 256), (128, 128))
        assert abs(slide.mpp - 0.5) < 1e-6
        read, alpha = slide.read(0, 0, 0, (256, 256))
        np.testing.assert_array_equal(read, image)
        assert alpha == 1
        half, _ = slide.read(0, 0, 1, (128, 128))
        assert abs(half.mean() - image.mean()) < 0.5


def test_each_patient_has_every_class_and_slides_are_drawn_once(tmp_path):
    options = {"slides": 12, "tile_size": 8, "seed": 3, "palette": "classic"}
    slides.draw_slides(tmp_path, **options)
    rows = (tmp_path / "slides.csv").read_text().split()
    assert len(rows) == 13 and rows[0] == "file,patient,label"
    assert {row.split(",")[1] for row in rows[1:]} == {"patient000", "patient001"}
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")}
    (tmp_path / "patient000_fat.tif").unlink()
    slides.draw_slides(tmp_path, **options)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")}
    assert len(after) == 12 and sum(before[p] == after[p] for p in before) == 11


def test_patches_know_their_cellularity(tmp_path):
    slides.draw_patches(tmp_path, patients=1, size=24, seed=0, palette="other")
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().split()[1:]]
    assert len(rows) == 6 * 9 == len(list(tmp_path.glob("*.png")))
    assert {row[2] for row in rows} == set(CLASSES)
    said = {row[2]: [] for row in rows}
    for _, _, name, target in rows:
        said[name].append(float(target))
    assert np.mean(said["lymphocytes"]) > np.mean(said["stroma"]) > 0
