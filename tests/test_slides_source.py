"""What a slide says and shows, and what no file alone can bring about."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import openslide
import pytest
import slide_files as files

from histo_jax.errors import HistoError
from histo_jax.slides import source
from histo_jax.slides.identity import dicom_series
from histo_jax.slides.reasons import REASONS
from histo_jax.slides.source import Slide, check_file, slide_digest, slide_id

IMAGE = files.tissue_image(320, 256)


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def link(path, target):
    path.symlink_to(target)
    return path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    path.chmod(0)
    with pytest.raises(HistoError, match="no permission"):
        check_file(path)


def test_no_permission_as_root(tmp_path, monkeypatch):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(HistoError) as caught:
        check_file(path)
    assert caught.value.reason == "no-permission"


def test_a_failing_disk(tmp_path, monkeypatch):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source.tiff, "read_pages", broken)
    with pytest.raises(HistoError) as caught:
        Slide(path)
    assert caught.value.reason == "read-failed"


def test_every_cut_is_noticed(tmp_path):
    """A file cut between two pages opens with fewer levels unless its directories are walked."""
    whole = files.write_slide(tmp_path / "whole.svs", IMAGE, levels=3).read_bytes()
    path = tmp_path / "cut.svs"
    for length in np.linspace(1, len(whole) - 1, 120).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(HistoError) as caught:
            Slide(path)
        assert caught.value.reason in ("truncated", "not-a-slide"), length


def test_copies_and_links_have_one_id(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    copy = shutil.copy(path, tmp_path / "b.svs")
    alias = link(tmp_path / "c.svs", path)
    other = files.write_slide(tmp_path / "d.svs", IMAGE[::-1])
    assert slide_id(path) == slide_id(copy) == slide_id(alias) != slide_id(other)
    assert re.fullmatch("[0-9a-f]{16}", slide_id(path))
    assert slide_digest(path)[1] == path.stat().st_size


def test_id_sees_both_ends_of_a_large_file(tmp_path):
    content = bytearray(3 * 2**20)
    ids = set()
    for place in (None, 0, 2**20 - 1, 2 * 2**20, 3 * 2**20 - 1):
        changed = bytearray(content)
        if place is not None:
            changed[place] = 1
        ids.add(slide_id(write_bytes(tmp_path / "a", bytes(changed))))
    assert len(ids) == 5
    content[2**20] = 1  # the middle does not count
    assert slide_id(write_bytes(tmp_path / "a", bytes(content))) in ids


def test_levels_and_pixels(tmp_path):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE, levels=3)) as slide:
        assert slide.level_dimensions == ((320, 256), (160, 128), (80, 64))
        assert slide.downsamples == (1.0, 2.0, 4.0)
        rgb, alpha = slide.read(64, 32, 0, (100, 50))
        np.testing.assert_array_equal(rgb, IMAGE[32:82, 64:164])
        assert alpha == 1.0 and rgb.dtype == np.uint8
        rgb, _ = slide.read(64, 32, 1, (100, 50))
        np.testing.assert_array_equal(rgb, IMAGE[::2, ::2][16:66, 32:132])


def test_bigtiff(tmp_path):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE, bigtiff=True)) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, (320, 256))[0], IMAGE)


def test_beyond_the_edge_is_white(tmp_path):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE)) as slide:
        rgb, alpha = slide.read(300, 236, 0, (40, 40))
    assert alpha == pytest.approx(0.25)
    np.testing.assert_array_equal(rgb[:20, :20], IMAGE[236:, 300:])
    assert (rgb[20:] == 255).all() and (rgb[:, 20:] == 255).all()


@pytest.mark.parametrize(
    "x, y, level, size",
    [
        (0, 0, 1, (8, 8)),
        (0, 0, -1, (8, 8)),
        (-1, 0, 0, (8, 8)),
        (0, -1, 0, (8, 8)),
        (320, 0, 0, (8, 8)),
        (2**40, 0, 0, (8, 8)),
        (0, 256, 0, (8, 8)),
        (0, 0, 0, (0, 8)),
        (0, 0, 0, (8, -1)),
    ],
)
def test_reads_outside_are_refused(x, y, level, size, tmp_path):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE)) as slide:
        with pytest.raises(ValueError):
            slide.read(x, y, level, size)


def test_one_bad_tile_costs_one_tile(tmp_path):
    """OpenSlide's error stays on the handle: without opening anew, 83 of the 96 would be lost."""
    image = files.tissue_image(64 * 12, 64 * 8)
    path = files.zero_tiles(files.write_slide(tmp_path / "a.svs", image), [13])
    good = 0
    with Slide(path) as slide:
        for i in range(96):
            x, y = i % 12 * 64, i // 12 * 64
            try:
                rgb, _ = slide.read(x, y, 0, (64, 64))
            except HistoError as error:
                assert (i, error.reason) == (13, "unreadable-tile")
                continue
            good += 1
            np.testing.assert_array_equal(rgb, image[y : y + 64, x : x + 64])
    assert good == 95


def test_openslide_still_latches(tmp_path):
    """Why `read` opens anew; when this fails, it need not any more."""
    path = files.zero_tiles(files.write_slide(tmp_path / "a.svs", IMAGE), [0])
    with openslide.OpenSlide(path) as slide:
        with pytest.raises(openslide.OpenSlideError):
            slide.read_region((0, 0), 0, (64, 64))
        with pytest.raises(openslide.OpenSlideError):
            slide.read_region((128, 128), 0, (64, 64))


def test_a_handle_is_not_used_in_another_process(tmp_path, monkeypatch):
    with Slide(files.write_slide(tmp_path / "a.svs", IMAGE)) as slide:
        mine = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: mine + 1)
        with pytest.raises(HistoError) as caught:
            slide.read(0, 0, 0, (8, 8))
        assert caught.value.reason == "wrong-process"


class FakeHandle:
    """What OpenSlide might answer."""

    level_dimensions = ((1000, 800), (500, 400))
    level_downsamples = (1.0, 2.0)
    properties: dict = {}  # noqa: RUF012 - each test gives its own

    def __init__(self, path):
        self.reads = []

    def set_cache(self, cache):
        pass

    def close(self):
        pass

    def read_region(self, place, level, size):
        self.reads.append(place)
        region = np.zeros((size[1], size[0], 4), np.uint8)
        region[: size[1] // 2] = (*files.PURPLE, 255)
        return source.Image.fromarray(region, "RGBA")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Opens a made-up slide."""

    def opened(**changes):
        handle = type("Handle", (FakeHandle,), changes)
        monkeypatch.setattr(source.openslide, "OpenSlide", handle)
        return Slide(files.write_slide(tmp_path / "a.svs", IMAGE))

    return opened


@pytest.mark.parametrize(
    "reason, changes",
    [
        ("implausible-dimensions", {"level_dimensions": ((0, 800),)}),
        ("implausible-dimensions", {"level_dimensions": ((2**31 + 1, 800),)}),
        ("implausible-levels", {"level_downsamples": (1.0, 0.5)}),
        ("implausible-levels", {"level_downsamples": (0.5, 2.0)}),
        ("implausible-tile", {"properties": {"openslide.level[1].tile-height": "9000"}}),
        ("implausible-tile", {"properties": {"openslide.level[0].tile-width": "8"}}),
    ],
)
def test_implausible_answers(reason, changes, fake):
    with pytest.raises(HistoError) as caught:
        fake(**changes)
    assert caught.value.reason == reason


def test_bounds_and_background(fake):
    bounds = {"x": "100", "y": "50", "width": "600", "height": "500"}
    properties = {f"openslide.bounds-{k}": v for k, v in bounds.items()}
    slide = fake(properties=properties | {"openslide.background-color": "102030"})
    assert slide.bounds == (100, 50, 600, 500)
    rgb, alpha = slide.read(0, 0, 0, (10, 10))
    assert alpha == 0.5
    assert (rgb[:5] == files.PURPLE).all() and (rgb[5:] == (16, 32, 48)).all()


@pytest.mark.parametrize("bad", ["-1", "900", "nan", "x", ""])
def test_bounds_that_are_not_inside_do_not_count(bad, fake):
    bounds = {"x": bad, "y": "50", "width": "600", "height": "500"}
    slide = fake(properties={f"openslide.bounds-{k}": v for k, v in bounds.items()})
    assert slide.bounds == (0, 0, 1000, 800)


def test_one_unreadable_property_costs_itself(fake):
    class Properties(dict):
        def get(self, key, default=None):
            if key == "openslide.vendor":
                raise KeyError
            return super().get(key, default)

    slide = fake(properties=Properties({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}))
    assert (slide.vendor, slide.mpp) == ("", 0.5)


def test_strips_of_ndpi_are_no_damage(fake):
    tiny = {"openslide.vendor": "hamamatsu", "openslide.level[0].tile-height": "8"}
    assert fake(properties=tiny).vendor == "hamamatsu"


def test_every_reason_is_used():
    room = Path(source.__file__).parent
    code = "".join(p.read_text() for p in room.glob("*.py") if p.name != "reasons.py")
    for reason in REASONS:
        assert f'"{reason}"' in code, f"{reason} is never raised"


def test_real_slides(real_data):
    with Slide(real_data / "wsi" / "cmu-1-small-region.svs") as slide:
        assert (slide.vendor, slide.dimensions, slide.mpp) == ("aperio", (2220, 2967), 0.499)
    with Slide(real_data / "wsi" / "test3-DAPI-2-(387).ndpi") as slide:
        assert (slide.vendor, len(slide.level_dimensions)) == ("hamamatsu", 7)
        assert slide.mpp == pytest.approx(0.2281750559)
        assert slide.read(1000, 1000, 3, (64, 64))[0].shape == (64, 64, 3)


def test_real_ndpi_cut_short(real_data, tmp_path):
    whole = (real_data / "wsi" / "test3-DAPI-2-(387).ndpi").read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path = write_bytes(tmp_path / "a.ndpi", whole[: int(share * len(whole))])
        with pytest.raises(HistoError) as caught:
            Slide(path)
        assert caught.value.reason == "truncated"


def test_a_dicom_slide_is_its_series(real_data, tmp_path):
    synthetic = real_data / "wsi_synthetic"
    one, two = synthetic / "boxes_0.dcm", synthetic / "boxes_1.dcm"
    assert slide_id(one) == slide_id(two)
    assert dicom_series(two) == [one, two] and dicom_series(synthetic / "small.svs") == []
    alone = shutil.copy(one, tmp_path / "boxes_0.dcm")
    assert slide_id(alone) != slide_id(one)  # a missing instance is another slide
