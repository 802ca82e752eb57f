"""The prescreen: tiles as if every cell were read, for fewer readings."""

import numpy as np
import pytest
import slide_files as files
from PIL import Image, ImageDraw, ImageFilter

from histo_jax.errors import HistoError
from histo_jax.slides import overview, tiles, tissue
from histo_jax.slides.source import Slide
from histo_jax.slides.tiles import TileRule, cut

SIDE, LEVEL = 1024, 8  # pixels of a drawn slide; its second level is so many times smaller
TILE = 64
PINK, FAINT, VIOLET = (222, 140, 190), (228, 205, 222), (90, 60, 140)


def _field(rng, waves):
    """Smooth noise [SIDE, SIDE]."""
    coarse = Image.fromarray(rng.standard_normal((waves, waves)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _drawing(shape):
    """What `shape(draw, rng)` draws in white on black, as bool [SIDE, SIDE]."""

    def mask(rng):
        image = Image.new("L", (SIDE, SIDE))
        shape(ImageDraw.Draw(image), rng)
        return np.asarray(image) > 0

    return mask


def _lines(draw, rng):
    for _ in range(80):
        draw.line(rng.integers(0, SIDE, 4).tolist(), fill=255, width=int(rng.integers(1, 9)))


def _discs(draw, rng):
    for _ in range(140):
        (x, y), radius = rng.integers(0, SIDE, 2), int(rng.integers(3, 40))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _speckles(size, share):
    """Squares of `size` pixels, as many as make up `share`, in about half of the slide."""

    def mask(rng):
        few = rng.random((SIDE // size + 1,) * 2) < share
        fine = few.repeat(size, 0).repeat(size, 1)[:SIDE, :SIDE]
        return fine & (_field(rng, 5) > 0)

    return mask


def _mesh(rng):
    """Fat: thin walls around holes."""
    return (np.abs(_field(rng, 60)) < 0.2) & (_field(rng, 4) > 0)


# kind: where tissue lies bool [SIDE, SIDE] of a generator, and its colours.
KINDS = {
    "blocks": (lambda rng: _field(rng, 6) > 0.2, (PINK, VIOLET, files.PURPLE)),
    "ragged": (lambda rng: _field(rng, 6) + 0.4 * _field(rng, 200) > 0.2, (PINK, VIOLET)),
    "speckles 1": (_speckles(1, 0.5), (PINK, files.PURPLE)),
    "speckles 3, dark": (_speckles(3, 0.55), (VIOLET,)),
    "speckles 9": (_speckles(9, 0.5), (files.PURPLE,)),
    "strands": (_drawing(_lines), (PINK, VIOLET)),
    "islands": (_drawing(_discs), (PINK, files.PURPLE)),
    "faint": (lambda rng: _field(rng, 6) > 0.2, (FAINT,)),
    "faint and strong": (lambda rng: _field(rng, 6) > 0, (FAINT, VIOLET)),
    "fat": (_mesh, (PINK,)),
    "nothing but tissue": (lambda rng: _field(rng, 4) > -9, (PINK, VIOLET)),
}
GLASS = {"white": (244, 244, 244, 2), "tinted": (236, 240, 224, 3), "noisy": (240, 238, 241, 9)}
INKS = ((40, 70, 180), (40, 140, 90), (30, 30, 35), (210, 20, 30))


def draw(kind, glass, seed, pen=False):
    """One slide, uint8 [SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    mask, colours = KINDS[kind]
    *bright, noise = GLASS[glass]
    image = np.empty((SIDE, SIDE, 3), np.float32)
    image[:] = bright
    where, which = mask(rng), _field(rng, 9)
    bounds = np.quantile(which, np.linspace(0, 1, len(colours) + 1))
    for colour, low, high in zip(colours, bounds, bounds[1:], strict=False):
        image[where & (which >= low) & (which <= high)] = colour
    image += noise * rng.standard_normal(image.shape, np.float32)
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    if pen:
        for ink in INKS:
            points = rng.integers(0, SIDE, 8).tolist()
            ImageDraw.Draw(picture).line(points, fill=ink, width=int(rng.integers(12, 50)))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7)))


def write(path, image):
    return files.write_slide(path, image, levels=2, step=LEVEL, mean=True, tile=256)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "blocks.svs"
    return write(path, draw("blocks", "white", 0))


def both(path, **options):
    """A cut with the prescreen and one without it."""
    rule = TileRule(**({"size": TILE, "max_tiles": 60} | options))
    return cut(path, rule), cut(path, rule, prescreen=False)


def assert_equal(path, **options):
    fast, exact = both(path, **options)
    assert fast == exact, (len(fast.tiles), len(exact.tiles), fast.counts, exact.counts)
    return fast


@pytest.fixture
def reads(monkeypatch):
    """Cells read since it was cleared."""
    cells = []
    judge = tiles._try

    def counted(slide, rule, grid, cell, *arguments):
        cells.append(cell)
        return judge(slide, rule, grid, cell, *arguments)

    monkeypatch.setattr(tiles, "_try", counted)
    return cells


@pytest.mark.parametrize("kind", ["speckles 1", "strands", "fat"])
def test_tiles_are_those_of_the_exact_scan(kind, tmp_path):
    path = write(tmp_path / "a.svs", draw(kind, "white", 1, pen=True))
    for min_foreground in (0.1, 0.5):
        assert_equal(path, min_foreground=min_foreground)


@pytest.mark.slow
@pytest.mark.parametrize("glass", sorted(GLASS))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tiles_are_those_of_the_exact_scan_everywhere(kind, glass, tmp_path):
    kept = 0
    for seed in range(2):
        path = write(tmp_path / f"{seed}.svs", draw(kind, glass, seed, pen=seed == 1))
        kept += sum(len(assert_equal(path, seed=order).tiles) for order in range(2))
        for min_foreground in (0.05, 0.25, 0.75):
            assert_equal(path, min_foreground=min_foreground)
        assert_equal(path, mpp=1.0, size=48)
    assert kept or kind == "fat"


def test_glass_is_not_read(blocks, reads):
    rule = TileRule(size=TILE, max_tiles=60)
    fast = cut(blocks, rule)
    few = len(reads)
    reads.clear()
    exact = cut(blocks, rule, prescreen=False)
    assert fast == exact and len(fast.tiles) == 60
    assert 60 <= few < 60 + 0.4 * (len(reads) - 60)  # of those that were not kept


@pytest.mark.parametrize(
    "case", ["ciga2021", "paper_literal", "none", "coarse level", "sampled level"]
)
def test_where_the_overview_says_nothing_all_are_read(case, blocks, reads, monkeypatch):
    size = 5 * LEVEL if case == "coarse level" else TILE
    if case == "sampled level":
        monkeypatch.setattr(overview, "MOST_WHOLE", 1000)
        monkeypatch.setattr(overview, "_WINDOWS", 8)
    rule = TileRule(size=size, tissue=case if case in tissue.RULES else "otsu", max_tiles=60)
    result = cut(blocks, rule)
    assert len(reads) == sum(result.counts.values()) - result.counts["not-needed"]


def test_an_overview_that_is_wrong_is_found_out(blocks, monkeypatch):
    """The coarse level upside down."""
    read = Slide.read

    def turned(self, x, y, level, size):
        rgb, alpha = read(self, x, y, level, size)
        return (rgb[::-1], alpha) if level else (rgb, alpha)

    monkeypatch.setattr(Slide, "read", turned)
    assert_equal(blocks)


def test_damaged_glass_is_no_matter_and_damaged_tissue_is(tmp_path):
    """Share of unreadable among the tiles read, not among those tried."""
    image = np.full((SIDE, SIDE, 3), files.WHITE, np.uint8)
    image[: SIDE // 4] = files.PURPLE
    cells = (SIDE // TILE) ** 2
    paths = [
        files.write_slide(tmp_path / f"{i}.svs", image, levels=2, step=LEVEL, tile=TILE)
        for i in range(2)
    ]
    rule = TileRule(size=TILE, max_tiles=1000)
    files.zero_tiles(paths[0], list(range(cells // 2, cells)))
    result = cut(paths[0], rule)
    assert len(result.tiles) == cells // 4 and result.counts["unreadable"] <= 8
    with pytest.raises(HistoError, match="cannot be read"):
        cut(paths[0], rule, prescreen=False)
    files.zero_tiles(paths[1], list(range(0, cells // 4, 8)))  # 3 % of the slide
    with pytest.raises(HistoError, match=f"8 of {cells // 4 + 8} tiles cannot be read"):
        cut(paths[1], rule)
