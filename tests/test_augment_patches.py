"""Patches: where they lie, what is drawn for each, and the same on host and device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax.augment import patches, recipes

pytestmark = pytest.mark.usefixtures("quick_compile")

PLAIN = recipes.Recipe(1.0, False, 0.0, 0.0, "none", 0.0, 0.0, 0.0)
SIZE = 32


def images(n=3, side=40):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def cut(recipe, branches, step=0, index=(0, 1, 2), of=None):
    make = patches.make_patches(seed=1, recipe=recipe, size=SIZE, branches=branches)
    of = images() if of is None else of
    return np.asarray(jax.jit(make)(of, jnp.int32(step), jnp.asarray(index, jnp.int32)))


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "plain", PLAIN)
    monkeypatch.setattr(patches, "DROP", 0.0)


def test_patches_are_quarters_of_the_image_every_eighth(plain):
    of = images(side=SIZE)
    got = cut("plain", True, of=of)
    assert got.shape == (3, 49, 8, 8, 3)
    whole = of.astype(np.float32) / 127.5 - 1
    for row in range(7):
        for column in range(7):
            want = whole[:, 4 * row : 4 * row + 8, 4 * column : 4 * column + 8]
            np.testing.assert_allclose(got[:, 7 * row + column], want, atol=1e-5)


def test_host_and_device_agree_and_every_example_has_its_own():
    a, b = (cut("ciga2021", branches) for branches in (True, False))
    np.testing.assert_allclose(a, b, atol=2e-4)
    assert a.min() >= -1 and a.max() <= 1
    np.testing.assert_array_equal(cut("ciga2021", True, index=(2,), of=images()[2:])[0], a[2])
    same = images()[:1].repeat(3, axis=0)
    one, two, _ = cut("ciga2021", True, of=same)
    assert np.abs(one - two).max() > 0.1


def test_neighbours_are_coloured_apart(monkeypatch):
    """What two patches share of the image differs between them, as each is jittered by itself."""
    monkeypatch.setitem(recipes.RECIPES, "jittered", PLAIN.__class__(
        1.0, False, 0.0, 0.0, "medium", 1.0, 0.0, 0.0))  # fmt: skip
    monkeypatch.setattr(patches, "DROP", 0.0)
    got = cut("jittered", True)
    apart = np.abs(got[:, 0, :, 4:] - got[:, 1, :, :4]).mean((1, 2, 3))
    assert (apart > 0.05).all()


def test_channels_are_dropped_as_often_as_is_said():
    keys = jax.random.split(jax.random.key(0), 4000)
    kept = np.asarray(jax.jit(jax.vmap(patches.kept_channels))(keys))
    count = np.bincount(kept.sum(1), minlength=4) / len(kept)
    np.testing.assert_allclose(count, [0, 0.25, 0.25, 0.5], atol=0.03)
    np.testing.assert_allclose(kept.mean(0), 0.75, atol=0.03)


def test_views_without_colours_only_crop_turn_and_flip():
    of = np.full((2, 40, 40, 3), (200, 120, 160), np.uint8)
    views = recipes.make_views(
        seed=0, recipe="ciga2021", size=16, branches=True, count=1, colours=False
    )
    got = np.asarray(jax.jit(views)(of, jnp.int32(0), jnp.arange(2, dtype=jnp.int32)))
    assert got.shape == (2, 1, 16, 16, 3)
    colour = np.broadcast_to(np.array([200, 120, 160]) / 127.5 - 1, got.shape)
    np.testing.assert_allclose(got, colour, atol=1e-5)
