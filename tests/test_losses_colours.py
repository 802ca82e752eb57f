"""Lab and colour classes against Zhang et al.'s laws, and the L1 of colours."""

import jax
import jax.numpy as jnp
import numpy as np
from skimage.color import rgb2lab

from histo_jax.augment.lab import to_lab
from histo_jax.losses import BINS, colour_bins
from histo_jax.losses import bins_loss as plain_bins_loss
from histo_jax.losses import colour_loss as plain_colour_loss

bins_loss, colour_loss = jax.jit(plain_bins_loss), jax.jit(plain_colour_loss)
share, rarity = jax.jit(colour_bins.share), jax.jit(colour_bins.rarity)


def test_lab_is_that_of_scikit_image():
    rgb = np.random.default_rng(0).uniform(size=(50, 3))
    rgb[:3] = [[0, 0, 0], [1, 1, 1], [0.02, 0.01, 0.03]]
    with jax.enable_x64(True):
        np.testing.assert_allclose(to_lab(jnp.asarray(rgb)), rgb2lab(rgb), atol=1e-9)
    np.testing.assert_allclose(to_lab(rgb.astype(np.float32)), rgb2lab(rgb), atol=1e-3)


def test_the_bins_are_those_that_8_bit_colours_fall_into():
    """Looked for on the six faces of the cube: along L, every colour has one there beside it."""
    occupied, line = set(), np.arange(256) / 255
    for axis in range(3):
        for end in (0.0, 1.0):
            channels = [*np.meshgrid(line, line)]
            channels.insert(axis, np.full((256, 256), end))
            at = np.round(rgb2lab(np.stack(channels, axis=-1))[..., 1:] / 10).astype(int) * 10
            occupied |= set(map(tuple, np.unique(at.reshape(-1, 2), axis=0).tolist()))
    assert len(BINS) == len(set(BINS)) == 261
    assert occupied == set(BINS)


def test_shares_of_the_five_nearest():
    shares, nearest = share(jnp.array([12.0, -7.0]))
    said = {bin: float(s) for bin, s in zip(BINS, shares, strict=True) if s > 0}
    want = {(10, -10): 0.51369814, (10, 0): 0.23081945, (20, -10): 0.15472291,
            (20, 0): 0.06952148, (0, -10): 0.03123802}  # fmt: skip
    assert said.keys() == want.keys() and BINS[int(nearest)] == (10, -10)
    for bin, value in want.items():
        np.testing.assert_allclose(said[bin], value, rtol=1e-5)


def test_rare_colours_weigh_more_and_one_on_average():
    weights = colour_bins.balance(jnp.array([0.7, 0.2, 0.1]))
    np.testing.assert_allclose(weights, [0.75416969, 1.46120377, 1.79840464], rtol=1e-6)
    prior = jnp.zeros(len(BINS)).at[BINS.index((0, 0))].set(1.0)
    weights = dict(zip(BINS, np.asarray(rarity(prior)).tolist(), strict=True))
    assert weights[0, 0] < weights[10, 0] < weights[40, 0]  # smoothing reaches the neighbours
    np.testing.assert_allclose(rarity(jnp.full(261, 1 / 261)), 1, rtol=0.2)


def test_the_loss_of_guessing_and_of_knowing():
    ab = jnp.asarray(np.random.default_rng(1).uniform(-40, 40, (2, 3, 3, 2)), jnp.float32)
    even = jnp.full(261, 1 / 261)
    truth, nearest = map(np.asarray, share(ab))
    weight = np.asarray(rarity(even))[nearest]
    loss, met = bins_loss(jnp.zeros((2, 3, 3, 261)), ab, even)
    np.testing.assert_allclose(loss, weight.mean() * np.log(261), rtol=1e-5)
    np.testing.assert_allclose(met, truth.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(met.sum(), 1, rtol=1e-5)
    known, _ = bins_loss(np.log(truth + 1e-12), ab, even)
    entropy = -(truth * np.log(truth + 1e-12)).sum(-1)
    np.testing.assert_allclose(known, (weight * entropy).mean(), rtol=1e-5)
    assert known < loss / 3


def test_colour_loss():
    truth = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (2, 4, 4, 3)), jnp.float32)
    assert colour_loss(truth, truth) == 0
    np.testing.assert_allclose(colour_loss(truth + 0.1, truth), 0.1, rtol=1e-5)
    np.testing.assert_allclose(colour_loss(truth.at[0, 0, 0, 0].add(9.6), truth), 0.1, rtol=1e-5)
    assert colour_loss(truth.astype(jnp.bfloat16), truth).dtype == jnp.float32


def test_the_devices_share_one_loss():
    random = np.random.default_rng(3)
    said = random.normal(size=(8, 2, 2, 261)).astype(np.float32)
    ab = random.uniform(-60, 60, (8, 2, 2, 2)).astype(np.float32)
    prior = jnp.asarray(random.dirichlet(np.ones(261)), jnp.float32)
    want = bins_loss(said, ab, prior), colour_loss(said[..., :2], ab)

    def both(said, ab):
        return (
            plain_bins_loss(said, ab, prior, "batch"),
            plain_colour_loss(said[..., :2], ab, "batch"),
        )

    split = [x.reshape(8, -1, *x.shape[1:]) for x in (said, ab)]
    got = jax.pmap(both, "batch")(*split)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=2e-5, atol=1e-7)
