"""The blur against torchvision's vectors, and its two forms against each other."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.augment import blur

VECTORS = json.loads((Path(__file__).parent / "vectors" / "augment.json").read_text())
COLOURS = VECTORS["colour_4x4"]
FORMS = (blur.blur_shifted, blur.blur_dense)


def blurred(form, image, sigma, size):
    run = jax.jit(form, static_argnums=2)
    return np.asarray(run(jnp.asarray(image, jnp.float32), jnp.float32(sigma), size))


def random_image(side=40):
    return np.random.default_rng(5).random((side, 3, side), np.float32)


def test_kernel_is_a_tenth_of_the_side_made_odd():
    assert [blur.kernel_size(s) for s in (4, 32, 96, 224, 230)] == [1, 3, 9, 23, 23]


def test_taps():
    close = np.testing.assert_allclose
    close(blur.taps(jnp.float32(1), 3), (0.274069, 0.451863, 0.274069), atol=1e-6)
    wide = blur.taps(jnp.float32(2), 23)
    close(wide[11:13], (0.19947114146780126, 0.17603266450034827), rtol=1e-6)
    close(wide[0], 5.38488005547759e-08, rtol=1e-4)
    narrow = blur.taps(jnp.float32(0.1), 23)
    close(narrow[11:13], (1.0, 1.93e-22), rtol=3e-3)


@pytest.mark.parametrize("form", FORMS)
def test_blur_is_torchvisions(form):
    image = np.asarray(COLOURS["input"]).transpose(0, 2, 1)
    got = blurred(form, image, 1.0, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(got, COLOURS["blur_k3_s1_reflect"], atol=2e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.8, 0.84, 1.4, 1.51, 2.0])
def test_both_forms_and_numpy_agree(sigma):
    image = random_image()
    offset = np.arange(-11, 12)
    weight = np.exp(-(offset**2) / (2 * sigma**2))
    weight /= weight.sum()
    want = image.astype(np.float64)
    for axis in (0, 2):
        margins = [(0, 0)] * 3
        margins[axis] = (11, 11)
        padded = np.pad(want, margins, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 23, axis=axis)
        want = windows @ weight
    for form in FORMS:
        np.testing.assert_allclose(blurred(form, image, sigma, 23), want, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_properties(form):
    constant = np.full((40, 3, 40), 0.3, np.float32)
    np.testing.assert_allclose(blurred(form, constant, 1.7, 23), constant, atol=1e-6)
    image = random_image()
    np.testing.assert_allclose(blurred(form, image, 0.1, 23), image, atol=1e-6)
    np.testing.assert_array_equal(blurred(form, image, 2.0, 1), image)
    turned = np.rot90(image, axes=(0, 2))
    np.testing.assert_allclose(
        blurred(form, turned, 1.1, 23),
        np.rot90(blurred(form, image, 1.1, 23), axes=(0, 2)),
        atol=1e-6,
    )
    twice = blurred(form, blurred(form, image, 1.2, 23), 0.9, 23)
    once = blurred(form, image, 1.5, 23)
    np.testing.assert_allclose(twice[12:28, :, 12:28], once[12:28, :, 12:28], atol=2e-3)
