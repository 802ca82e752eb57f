"""Colour jitter against torchvision's vectors, its properties and its law."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.augment import colour

VECTORS = json.loads((Path(__file__).parent / "vectors" / "augment.json").read_text())
COLOURS = VECTORS["colour_4x4"]
OPERATIONS = {
    name: getattr(colour, name) for name in ("brightness", "contrast", "saturation", "hue")
}
INPUT = np.asarray(COLOURS["input"], np.float32)
N = 20_000


def on(operation, image, *arguments):
    """Runs an operation of the room's `[y, 3, x]` on `[y, x, 3]`."""
    planes = jnp.asarray(np.asarray(image, np.float32).transpose(0, 2, 1))
    return np.asarray(operation(planes, *arguments)).transpose(0, 2, 1)


def random_image(side=16):
    return np.random.default_rng(5).random((side, side, 3), np.float32)


@pytest.mark.parametrize("name", [k for k in COLOURS if k.split("_")[0] in OPERATIONS])
def test_operations_are_torchvisions(name):
    operation, factor = name.split("_")[:2]
    got = on(OPERATIONS[operation], INPUT, jnp.float32(factor))
    np.testing.assert_allclose(got, COLOURS[name], atol=2e-6)


def test_gray_is_torchvisions():
    got = np.repeat(on(colour.gray, INPUT), 3, axis=2)
    np.testing.assert_allclose(got, COLOURS["gray3"], atol=2e-7)


@pytest.mark.parametrize("name", list(VECTORS["jitter_orders_b1.4_c1.8_s0.2_h0.1"]))
def test_every_order_is_torchvisions(name):
    order = jnp.asarray(["bcsh".index(letter) for letter in name], jnp.int32)
    factors = jnp.asarray((1.4, 1.8, 0.2, 0.1), jnp.float32)
    got = on(jax.jit(colour.jitter), INPUT, order, factors)
    want = VECTORS["jitter_orders_b1.4_c1.8_s0.2_h0.1"][name]
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_neutral_factors_change_nothing():
    image = random_image()
    for name, operation in OPERATIONS.items():
        neutral = 0.0 if name == "hue" else 1.0
        np.testing.assert_allclose(on(operation, image, jnp.float32(neutral)), image, atol=1e-6)


def test_extreme_factors():
    image = random_image()
    zero = jnp.float32(0)
    gray = on(colour.gray, image)
    assert not on(colour.brightness, image, zero).any()
    np.testing.assert_allclose(
        on(colour.saturation, image, zero), np.repeat(gray, 3, axis=2), atol=1e-6
    )
    np.testing.assert_allclose(
        on(colour.contrast, image, zero), np.full_like(image, gray.mean()), atol=1e-6
    )
    half = on(colour.hue, image, jnp.float32(0.5)), on(colour.hue, image, jnp.float32(-0.5))
    np.testing.assert_allclose(*half, atol=2e-6)


def test_gray_images_have_no_hue_or_saturation():
    image = np.repeat(random_image()[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(on(colour.hue, image, jnp.float32(0.3)), image)
    np.testing.assert_allclose(on(colour.saturation, image, jnp.float32(0.2)), image, atol=1.1e-4)


def test_operations_stay_in_range_and_commute_with_turns():
    image = random_image()
    for name, operation in OPERATIONS.items():
        factor = jnp.float32(-0.4 if name == "hue" else 1.8)
        got = on(operation, image, factor)
        assert got.min() >= 0 and got.max() <= 1
        turned = on(operation, np.rot90(image), factor)
        np.testing.assert_allclose(turned, np.rot90(got), atol=1e-6)


def test_orders_and_factors_are_uniform_and_independent():
    draw = jax.jit(jax.vmap(lambda k: colour.sample_jitter(k, (0.8, 0.8, 0.8, 0.2))))
    order, factors = (np.asarray(v) for v in draw(jax.random.split(jax.random.key(2), N)))
    assert order.dtype == np.int32 and factors.dtype == np.float32
    assert colour.ORDERS == tuple(itertools.permutations(range(4)))
    counts = np.asarray([(order == o).all(axis=1).sum() for o in colour.ORDERS])
    assert counts.sum() == N
    assert ((counts - N / 24) ** 2 / (N / 24)).sum() < 49.7  # df 23 at 1e-3
    low, high = np.asarray((0.2, 0.2, 0.2, -0.2)), np.asarray((1.8, 1.8, 1.8, 0.2))
    u = np.sort((factors - low) / (high - low), axis=0)
    steps = (np.arange(N) + 0.5)[:, None] / N
    assert (np.abs(u - steps).max(axis=0) * np.sqrt(N) < 1.95).all()  # KS at 1e-3
    np.testing.assert_allclose(factors.std(axis=0), (0.4619, 0.4619, 0.4619, 0.11547), rtol=0.02)
    together = np.corrcoef(np.concatenate([factors, order[:, :1]], axis=1).T)
    assert np.abs(together - np.eye(5)).max() < 0.03


def test_factors_are_never_negative():
    draw = jax.vmap(lambda k: colour.sample_jitter(k, (1.5, 0.0, 0.4, 0.5)))
    _, factors = draw(jax.random.split(jax.random.key(2), 1000))
    assert 0 <= factors[:, 0].min() < 0.1 and factors[:, 0].max() > 2.4
    assert (factors[:, 1] == 1).all()
