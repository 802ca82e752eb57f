"""Thumbnails: what the slide looks like, read together with its threshold."""

import io

import numpy as np
import pytest
import slide_files as files
from PIL import Image

from histo_jax.slides import overview
from histo_jax.slides.overview import SIDE, UNREAD, look, slide_threshold
from histo_jax.slides.source import Slide

IMAGE = files.tissue_image(1280, 960)


def shrunk(image, size):
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)).astype(int)


def off(seen, image):
    """Mean difference a channel from the picture shrunk at once."""
    return np.abs(seen.image - shrunk(image, seen.image.shape[1::-1])).mean()


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_the_whole_slide_is_shown(tmp_path, levels):
    """Of a level that is large enough: with four levels the coarsest has 160 pixels."""
    path = files.write_slide(tmp_path / "a.svs", IMAGE, levels=levels)
    with Slide(path) as slide:
        seen = look(slide)
    assert seen.image.shape == (240, SIDE, 3) and off(seen, IMAGE) < 4
    decoded = np.asarray(Image.open(io.BytesIO(seen.jpeg())))
    assert np.abs(decoded.astype(int) - seen.image).mean() < 4 and len(seen.jpeg()) < 40_000


def test_a_small_slide_is_not_enlarged(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", IMAGE[:100, :70])
    with Slide(path) as slide:
        np.testing.assert_array_equal(look(slide).image, IMAGE[:100, :70])


def test_the_picture_is_as_large_as_asked(tmp_path, monkeypatch):
    """Of the first level that is large enough, or of the last that is read whole."""
    path = files.write_slide(tmp_path / "a.svs", IMAGE, levels=3)
    with Slide(path) as slide:
        seen = look(slide, 640)
        assert seen.image.shape == (480, 640, 3) and off(seen, IMAGE) < 4
        assert look(slide, 2048).image.shape == IMAGE.shape
        np.testing.assert_array_equal(seen.saturation, look(slide).saturation)
        monkeypatch.setattr(overview, "MOST_WHOLE", 640 * 480)
        assert look(slide, 2048).image.shape == (480, 640, 3)


def test_a_large_level_is_sampled(tmp_path, monkeypatch):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    monkeypatch.setattr(overview, "MOST_WHOLE", 1000)
    monkeypatch.setattr(overview, "_WINDOW", 24)
    with Slide(path) as slide:
        seen = look(slide)
    assert seen.saturation.sum() == 32 * 32 * 24 * 24 and off(seen, IMAGE) < 12
    assert not (seen.image == UNREAD).all(-1).any()  # no gaps between windows


def test_what_cannot_be_read_is_gray(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    with Slide(path) as slide:
        whole = look(slide)
    files.zero_tiles(path, [0, 45])  # of 20 x 15: (0, 0) and (5, 2), 16 pixels each as shown
    with Slide(path) as slide:
        seen = look(slide)
        assert slide_threshold(slide) is not None
    gray = (seen.image == UNREAD).all(-1)
    assert gray[:15, :15].all() and gray[33:47, 81:95].all() and gray.sum() < 1000
    assert (np.abs(seen.image.astype(int) - whole.image)[~gray].mean()) < 3
    assert 0 < whole.saturation.sum() - seen.saturation.sum() < 1000 * 4**2


def test_only_what_was_scanned_is_shown(tmp_path):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE)) as slide:
        slide.bounds = (320, 192, 640, 320)
        seen = look(slide)
    assert seen.image.shape == (160, 320, 3) and off(seen, IMAGE[192:512, 320:960]) < 4
