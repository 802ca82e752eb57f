"""The drawn tissue: seeded, varied between patients, readable as slides."""

import numpy as np

from histo_jax.data import drawn
from histo_jax.slides.source import Slide


def test_equal_seeds_draw_equal_pixels():
    a, b, other = (
        drawn.draw("tumour_glands", 96, drawn.draw_patient(s, 1), (s, 1)) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != other).mean() > 0.5


def test_classes_differ_by_what_defines_them():
    patient = drawn.draw_patient(0, 0)
    images = {name: drawn.draw(name, 256, patient, (0,)) for name in drawn.CLASSES}
    middle = {name: image[48:-48, 48:-48].astype(float) for name, image in images.items()}
    dark = {name: (image.min(-1) < 110).mean() for name, image in middle.items()}
    white = {name: (image.min(-1) > 200).mean() for name, image in middle.items()}
    blue = {name: (image[..., 2] - image[..., 0] > 20).mean() for name, image in middle.items()}
    assert max(white, key=white.get) == "fat" and white["fat"] > 0.6
    assert white["normal_glands"] > white["tumour_glands"]  # wide lumens
    assert max(blue, key=blue.get) == "lymphocytes"
    assert blue["tumour_glands"] > blue["normal_glands"] > blue["stroma"]
    assert dark["fat"] < dark["stroma"]


def test_patients_differ_in_stain():
    means = []
    for number in range(4):
        image = drawn.draw("stroma", 128, drawn.draw_patient(0, number), (0,))
        means.append(image[32:-32, 32:-32].mean((0, 1)))
    assert np.ptp(means, axis=0).max() > 10


def test_slides_are_pyramids_with_their_scale(tmp_path):
    image = drawn.draw("stroma", 256, drawn.draw_patient(0, 0), (0,))
    drawn.write_slide(tmp_path / "a.tif", image)
    with Slide(tmp_path / "a.tif") as slide:
        assert slide.level_dimensions == ((256, 256), (128, 128))
        assert abs(slide.mpp - 0.5) < 1e-6
        read, alpha = slide.read(0, 0, 0, (256, 256))
        np.testing.assert_array_equal(read, image)
        assert alpha == 1
        half, _ = slide.read(0, 0, 1, (128, 128))
        assert abs(half.mean() - image.mean()) < 0.5


def test_each_patient_has_every_class_and_slides_are_drawn_once(tmp_path):
    drawn.draw_slides(tmp_path, slides=12, tile_size=8, seed=3)
    rows = (tmp_path / "slides.csv").read_text().split()
    assert len(rows) == 13 and rows[0] == "file,patient,label"
    assert {row.split(",")[1] for row in rows[1:]} == {"patient000", "patient001"}
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")}
    (tmp_path / "patient000_fat.tif").unlink()
    drawn.draw_slides(tmp_path, slides=12, tile_size=8, seed=3)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")}
    assert len(after) == 12 and sum(before[p] == after[p] for p in before) == 11
