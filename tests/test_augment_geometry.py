"""Crop, resize, turns and flips against torchvision's vectors and law."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.augment import geometry
from histo_jax.augment.geometry import Box

VECTORS = json.loads((Path(__file__).parent / "vectors" / "augment.json").read_text())["rrc_8x8"]
FORMS = (geometry.crop_resize_taps, geometry.crop_resize_dense)
N = 20_000


def picture(height, width):
    y, x, c = np.ogrid[:height, :width, :3]
    return ((37 * y + 61 * x + 97 * c + 11) % 256).astype(np.uint8)


def side(turns=0, hflip=False, vflip=False):
    return geometry.orientation(jnp.int32(turns), jnp.bool_(hflip), jnp.bool_(vflip))


def resized(form, image, box, size, *symmetry):
    box = Box(*(jnp.int32(v) for v in box))
    out = jax.jit(form, static_argnums=3)(jnp.asarray(image), box, side(*symmetry), size)
    assert out.shape == (size, 3, size) and out.dtype == jnp.float32
    return np.asarray(out).transpose(0, 2, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["top_left_h_w_out"]))
def test_resize_is_torchvisions(form, vector):
    *box, size = vector["top_left_h_w_out"]
    got = resized(form, picture(8, 8), box, size)
    np.testing.assert_allclose(got, vector["out"], atol=5e-7)


@pytest.mark.parametrize("form", FORMS)
def test_resize_sees_nothing_outside_the_crop(form):
    inside = picture(40, 30)
    outside = 255 - inside
    outside[7:25, 4:27] = inside[7:25, 4:27]
    box = (7, 4, 18, 23)
    np.testing.assert_array_equal(resized(form, inside, box, 16), resized(form, outside, box, 16))


@pytest.mark.parametrize(("source", "size"), [(50, 50), (100, 31), (30, 31), (9, 1)])
def test_taps_are_the_matrix_for_every_length(source, size):
    def both(length, reverse):
        axis = ((source - length) // 2, length, reverse, source, size)
        return *geometry.resize_taps(*axis), geometry.resize_matrix(*axis)

    lengths = np.repeat(np.arange(1, source + 1, dtype=np.int32), 2)
    reverse = np.arange(2 * source) % 2 == 1
    index, weight, matrix = (np.asarray(v) for v in jax.jit(jax.vmap(both))(lengths, reverse))
    scattered = np.zeros_like(matrix)
    n, o = np.ogrid[: 2 * source, :size]
    np.add.at(scattered, (n[..., None], o[..., None], index), weight)
    np.testing.assert_allclose(scattered, matrix, atol=2e-7)


@pytest.mark.parametrize(("shape", "size"), [((100, 60), 24), ((30, 90), 31)])
def test_both_forms_agree_for_any_source(shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    keys = jax.random.split(jax.random.key(3), 8)
    boxes = jax.jit(jax.vmap(lambda k: geometry.sample_box(k, *shape, 0.01)))(keys)
    for box in zip(*boxes, strict=True):
        taps, dense = (resized(form, image, box, size, 1, True) for form in FORMS)
        np.testing.assert_allclose(taps, dense, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_symmetries_are_numpys(form):
    image, box = picture(24, 24), (2, 5, 17, 13)
    plain = resized(form, image, box, 12)
    for turns in range(4):
        for hflip in (False, True):
            for vflip in (False, True):
                want = np.rot90(plain, turns)
                want = want[:, ::-1] if hflip else want
                want = want[::-1] if vflip else want
                got = resized(form, image, box, 12, turns, hflip, vflip)
                np.testing.assert_allclose(got, want, atol=1e-6)


def boxes_of(crop_min, height=224, width=224, n=N):
    draw = jax.jit(jax.vmap(lambda k: geometry.sample_box(k, height, width, crop_min)))
    boxes = draw(jax.random.split(jax.random.key(11), n))
    assert all(v.dtype == jnp.int32 for v in boxes)
    return Box(*(np.asarray(v) for v in boxes))


@pytest.mark.parametrize(
    ("crop_min", "mean", "quantiles"),
    [
        (0.01, 0.44450, (0.0534, 0.2258, 0.4417, 0.6577, 0.8498)),
        (0.05, 0.46469, (0.0914, 0.2559, 0.4614, 0.6674, 0.8539)),
        (0.08, 0.47988, (0.1197, 0.2784, 0.4765, 0.6748, 0.8573)),
        (0.25, 0.56574, (0.2815, 0.4056, 0.5617, 0.7174, 0.8736)),
    ],
)
def test_crops_follow_torchvisions_law(crop_min, mean, quantiles):
    box = boxes_of(crop_min)
    assert (box.top >= 0).all() and (box.left >= 0).all()
    assert (box.height > 0).all() and (box.top + box.height <= 224).all()
    assert (box.width > 0).all() and (box.left + box.width <= 224).all()
    area, aspect = box.height * box.width / 224**2, np.log(box.width / box.height)
    assert abs(area.mean() - mean) < 0.006
    got = np.quantile(area, (0.05, 0.25, 0.5, 0.75, 0.95))
    np.testing.assert_allclose(got, quantiles, atol=0.012)
    assert abs(aspect.mean()) < 0.004
    assert abs(aspect.std() - 0.1595) < 0.004


def distance_to_uniform(values, low, high):
    """Kolmogorov-Smirnov distance, times sqrt(n): above 1.95 once in a thousand."""
    u = np.sort((values - low) / (high - low))
    steps = np.arange(len(u) + 1) / len(u)
    return max((u - steps[:-1]).max(), (steps[1:] - u).max()) * np.sqrt(len(u))


def test_area_is_uniform_below_the_rejections():
    box = boxes_of(0.08)
    area = box.height * box.width / 224**2
    area = area[(area > 0.1) & (area < 0.7)]
    assert distance_to_uniform(area, 0.1, 0.7) < 1.95


@pytest.mark.parametrize("axis", ["top", "left"])
def test_offsets_are_uniform_and_reach_both_ends(axis):
    box = boxes_of(0.25, 12, 12)
    offset = getattr(box, axis)
    length = box.height if axis == "top" else box.width
    for span in (8, 9):
        counts = np.bincount(offset[length == span], minlength=12 - span + 1)
        assert len(counts) == 12 - span + 1
        expected = counts.sum() / len(counts)
        assert ((counts - expected) ** 2 / expected).sum() < 18.5  # df <= 4 at 1e-3


def test_impossible_crops_fall_back_to_the_centre():
    assert geometry.fallback_box(224, 224) == (0, 0, 224, 224)
    assert geometry.fallback_box(100, 300) == (0, 83, 100, 133)
    assert geometry.fallback_box(300, 100) == (83, 0, 133, 100)
    box = boxes_of(1.0, 100, 300, n=64)
    assert {tuple(int(v) for v in b) for b in zip(*box, strict=True)} == {(0, 83, 100, 133)}
