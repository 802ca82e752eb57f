"""The cut: which tiles, in which order, at which scale, and what is counted."""

import io

import numpy as np
import pytest
import slide_files as files
from PIL import Image

from histo_jax.errors import HistoError
from histo_jax.slides import tissue
from histo_jax.slides.grid import grid_of, order_of
from histo_jax.slides.source import Slide
from histo_jax.slides.tiles import FIRST, TileRule, cut, options_digest, slide_threshold

IMAGE = files.tissue_image(640, 512)
RULE = TileRule(size=64, max_tiles=1000)


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory):
    return files.write_slide(tmp_path_factory.mktemp("slides") / "a.svs", IMAGE, levels=3)


def decoded(tile):
    return np.asarray(Image.open(io.BytesIO(tile.jpeg)))


@pytest.mark.parametrize("name", sorted(tissue.RULES))
@pytest.mark.parametrize("seed", [0, 1])
def test_is_the_first_of_the_permutation(name, seed, slide_path):
    """Equal to judging every cell and then taking the first ones."""
    most = 12
    result = cut(slide_path, TileRule(size=64, tissue=name, max_tiles=most, seed=seed))
    with Slide(slide_path) as slide:
        threshold = slide_threshold(slide)
    passing = []
    for cell in order_of(80, seed, result.id):
        x, y = cell % 10 * 64, cell // 10 * 64
        if tissue.RULES[name](IMAGE[y : y + 64, x : x + 64], threshold).mean() >= 0.5:
            passing.append((x, y))
    assert len(passing) > most  # otherwise the test says nothing about the choice
    assert [(tile.x, tile.y) for tile in result.tiles] == passing[:most]
    assert result.grid == (10, 8) and sum(result.counts.values()) == 80
    assert result.counts["kept"] == most and result.counts["not-needed"] > 0


def test_tiles_are_what_the_slide_shows(slide_path):
    result = cut(slide_path, RULE)
    assert result.mpp == 0.5 and result.vendor == "aperio" and result.name == "a.svs"
    assert result.counts["kept"] + result.counts["background"] == 80
    for tile in result.tiles:
        wanted = IMAGE[tile.y : tile.y + 64, tile.x : tile.x + 64]
        difference = decoded(tile).astype(int) - wanted
        assert np.abs(difference).mean() < 3  # noise through JPEG
        assert tile.key == f"{result.id}-0-{tile.x}-{tile.y}"
        assert tile.foreground >= 0.5 and tile.alpha == 1.0 and tile.mpp == 0.5


def test_jpeg_keeps_all_chroma(slide_path):
    image = Image.open(io.BytesIO(cut(slide_path, RULE).tiles[0].jpeg))
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    reference = io.BytesIO()
    Image.new("RGB", (8, 8)).save(reference, "JPEG", quality=95)
    assert image.quantization == Image.open(io.BytesIO(reference.getvalue())).quantization


def test_same_slide_same_tiles_whatever_its_name(slide_path, tmp_path):
    copy = tmp_path / "b.tiff"
    copy.write_bytes(slide_path.read_bytes())
    assert cut(copy, RULE).tiles == cut(slide_path, RULE).tiles


def test_order_does_not_depend_on_numpy():
    """Frozen: a change would silently change every prepared set."""
    assert order_of(8, 0, "0123456789abcdef").tolist() == [3, 2, 5, 6, 1, 0, 4, 7]
    assert sorted(order_of(1000, 7, "ff" * 8)) == list(range(1000))
    assert order_of(0, 0, "00" * 8).tolist() == []


def test_half_covered_is_kept_and_less_is_not(tmp_path):
    """Purple over exactly half of a tile; one row less; blue pen; white."""
    image = np.full((64, 256, 3), files.WHITE, np.uint8)
    image[:32, :64] = files.PURPLE
    image[:31, 64:128] = files.PURPLE
    image[:, 128:192] = (40, 70, 180)
    path = files.write_slide(tmp_path / "a.svs", image)
    for name in ("paper_literal", "otsu"):
        result = cut(path, TileRule(size=64, tissue=name))
        assert [(tile.x, tile.foreground) for tile in result.tiles] == [(0, 0.5)], name
        assert result.counts["background"] == 3


def test_smaller_than_a_tile(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", files.tissue_image(100, 100))
    result = cut(path, TileRule(size=224))
    assert result.grid == (0, 0) and result.tiles == () and sum(result.counts.values()) == 0


@pytest.mark.parametrize(
    # levels have mpp .5, 1, 2: wanted -> level, pixels read, mpp of the tile, columns, rows
    "wanted, level, side, mpp, columns, rows",
    [
        (None, 0, 64, 0.5, 10, 8),
        (0.5, 0, 64, 0.5, 10, 8),
        (0.48, 0, 64, 0.5, 10, 8),  # within 5 %: as it is
        (0.52, 0, 64, 0.5, 10, 8),
        (0.6, 0, 77, 77 / 128, 8, 6),
        (0.94, 0, 120, 0.9375, 5, 4),
        (1.0, 1, 64, 1.0, 5, 4),
        (1.5, 1, 96, 1.5, 3, 2),
        (2.0, 2, 64, 2.0, 2, 2),
        (4.0, 2, 128, 4.0, 1, 1),
    ],
)
def test_scale(wanted, level, side, mpp, columns, rows, slide_path):
    with Slide(slide_path) as slide:
        grid = grid_of(slide, TileRule(size=64, mpp=wanted))
    assert (grid.level, grid.side, grid.columns, grid.rows) == (level, side, columns, rows)
    assert grid.mpp == pytest.approx(mpp)


def test_resized_tiles_show_the_same_place(tmp_path):
    ramp = np.zeros((256, 256, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(256), np.arange(256)[:, None]
    path = files.write_slide(tmp_path / "a.svs", ramp, mpp=0.5)
    result = cut(path, TileRule(size=64, mpp=1.0, tissue="none"))
    assert len(result.tiles) == 4
    for tile in result.tiles:
        pixels = decoded(tile)
        assert pixels.shape == (64, 64, 3) and (tile.level, tile.mpp) == (0, 1.0)
        wanted = tile.x + 2 * np.arange(64) + 0.5
        assert np.abs(pixels[32, 2:-2, 0] - wanted[2:-2]).max() < 4


def test_antialiased(tmp_path):
    """Single-pixel stripes become gray, not stripes of a false width."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    path = files.write_slide(tmp_path / "a.svs", stripes)
    result = cut(path, TileRule(size=64, mpp=2.0, tissue="none"))
    assert np.abs(decoded(result.tiles[0])[:, 4:-4].astype(int) - 127).max() < 12


def reason(path, rule, mpp=None):
    with pytest.raises(HistoError) as caught:
        cut(path, rule, mpp)
    return caught.value.reason


def test_never_upsampled_unless_asked(slide_path):
    result = cut(slide_path, TileRule(size=64, mpp=0.25, upsample=True, tissue="none"))
    assert result.grid == (20, 16) and result.tiles[0].mpp == 0.25
    assert decoded(result.tiles[0]).shape == (64, 64, 3)


def test_mpp_of_a_slide_that_does_not_say(tmp_path):
    unknown = files.write_slide(tmp_path / "a.svs", IMAGE, mpp=None)
    assert cut(unknown, RULE).tiles[0].mpp is None
    assert cut(unknown, TileRule(size=64, mpp=0.5), 0.5).tiles[0].mpp == 0.5
    assert cut(unknown, TileRule(size=64, mpp=0.5, default_mpp=0.25)).tiles[0].mpp == 0.5


def test_unreadable_tiles_are_counted_until_they_are_too_many(tmp_path):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    whole = cut(path, TileRule(size=64, tissue="none"))
    files.zero_tiles(path, [3, 17])
    result = cut(path, TileRule(size=64, tissue="none", max_tiles=1000))
    assert result.counts["unreadable"] == 2 and result.counts["kept"] == 78
    lost = {(192, 0), (448, 64)}
    places = {(tile.x, tile.y) for tile in result.tiles}
    assert places == {(tile.x, tile.y) for tile in whole.tiles} - lost
    files.zero_tiles(path, list(range(0, 80, 3)))
    assert reason(path, RULE) == "too-many-unreadable"
    assert cut(path, TileRule(size=64, tissue="none", max_bad=0.5)).counts["unreadable"] == 28


class Windowed(Slide):
    """A slide of which only the middle was scanned; the rest is transparent."""

    def __init__(self, path, mpp=None, default_mpp=None):
        super().__init__(path, mpp, default_mpp)
        self.bounds = (30, 20, 200, 150)

    def read(self, x, y, level, size):
        rgb, _ = super().read(x, y, level, size)
        return rgb, 0.4 if x >= 94 else 0.6


def test_bounds_and_transparency(slide_path, monkeypatch):
    monkeypatch.setattr("histo_jax.slides.tiles.Slide", Windowed)
    result = cut(slide_path, TileRule(size=64, tissue="none"))
    assert result.grid == (3, 2)
    assert {(tile.x, tile.y) for tile in result.tiles} == {(30, 20), (30, 84)}
    assert result.counts["transparent"] == 4 and {tile.alpha for tile in result.tiles} == {0.6}


def test_changed_while_it_was_read(tmp_path, monkeypatch):
    path = files.write_slide(tmp_path / "a.svs", IMAGE)

    class Changing(Slide):
        def close(self):
            super().close()
            with open(path, "ab") as file:
                file.write(b"more")

    monkeypatch.setattr("histo_jax.slides.tiles.Slide", Changing)
    assert reason(path, RULE) == "changed"


def test_threshold_of_a_large_level_is_sampled(slide_path, monkeypatch):
    with Slide(slide_path) as slide:
        whole = slide_threshold(slide)
        monkeypatch.setattr("histo_jax.slides.overview.MOST_WHOLE", 1000)
        sampled = slide_threshold(slide)
    noise, purple = tissue.saturation(np.array([[files.WHITE, files.PURPLE]], np.uint8))[0]
    assert noise < whole < purple and noise < sampled < purple


def test_threshold_survives_damage(tmp_path):
    """One bad tile must not make the block around it, and so the slide, look empty."""
    path = files.write_slide(tmp_path / "a.svs", IMAGE)
    with Slide(path) as slide:
        whole = slide_threshold(slide)
    files.zero_tiles(path, [13])
    with Slide(path) as slide:
        assert abs(slide_threshold(slide) - whole) <= 2
    files.zero_tiles(path, list(range(80)))
    assert reason(path, RULE) == "too-many-unreadable"


def test_all_tiles_of_the_tissue(slide_path):
    """The same ones, whatever the order, one by one or at once."""
    every = cut(slide_path, TileRule(size=16, max_tiles=None))
    many = cut(slide_path, TileRule(size=16, max_tiles=10**6))
    assert every.counts == many.counts and every.counts["kept"] > FIRST
    assert {tile.key: tile.jpeg for tile in every.tiles} == {t.key: t.jpeg for t in many.tiles}
    keys = [tile.key for tile in every.tiles]
    assert keys != [tile.key for tile in many.tiles]
    taken = []
    alone = cut(slide_path, TileRule(size=16, max_tiles=None), take=taken.append)
    assert tuple(taken) == every.tiles and [tile.key for tile in alone.tiles] == keys
    assert {tile.jpeg for tile in alone.tiles} == {b""}


def test_digest_sees_every_option():
    other = {"size": 8, "mpp": 1.0, "tissue": "none", "min_foreground": 0.1, "max_tiles": 1}
    other |= {"seed": 1, "max_bad": 0.2, "default_mpp": 1.0, "upsample": True, "quality": 90}
    other |= {"thumbnail": 640}
    assert set(other) == set(TileRule.__dataclass_fields__)
    digests = {options_digest(TileRule(**{name: value})) for name, value in other.items()}
    digests |= {options_digest(TileRule()), options_digest(TileRule(), 0.5)}
    assert len(digests) == len(other) + 2


def test_cmu_1(real_data):
    slide = real_data / "wsi" / "cmu-1-small-region.svs"
    for name, kept in {"paper_literal": 6, "ciga2021": 47, "otsu": 41, "none": 100}.items():
        result = cut(slide, TileRule(tissue=name))
        assert (result.grid, len(result.tiles)) == ((9, 13), kept), name
