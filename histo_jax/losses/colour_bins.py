"""Colours as classes (Zhang, Isola & Efros 2016, sections 2.1 and 2.2), rare ones weighed up.

Their list of 313 classes is a file nobody can derive; these are the 261 squares of 10 by 10 of
the ab plane of Lab that hold an 8-bit sRGB colour.
"""

import jax
import jax.numpy as jnp

# a: least and largest b; all tens between are there.
ROWS = {
    -90: (80, 80), -80: (40, 80), -70: (20, 90), -60: (0, 90), -50: (-20, 90), -40: (-30, 90),
    -30: (-40, 90), -20: (-40, 90), -10: (-50, 90), 0: (-60, 90), 10: (-70, 80), 20: (-70, 80),
    30: (-80, 80), 40: (-90, 80), 50: (-90, 70), 60: (-100, 70), 70: (-110, 70), 80: (-110, 70),
    90: (-90, 0), 100: (-70, -50),
}  # fmt: skip
BINS = tuple((a, b) for a, (low, high) in ROWS.items() for b in range(low, high + 1, 10))
NEAREST, SIGMA, UNIFORM = 5, 5.0, 0.5  # bins a colour is shared by; in Lab units; λ


def bins_loss(
    logits: jax.Array, ab: jax.Array, prior: jax.Array, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy with shared classes, each pixel weighed by how rare its colour is.

    Args:
      logits: [..., Q], computed in at least float32.
      ab: colours [..., 2].
      prior: [Q], how often each bin was met so far; see `rarity`.
      axis: name of the device axis, or None; see `histo_jax.losses.pixels.pixel_loss`.

    Returns:
      The mean over all pixels of all devices, and how often each bin was met there, [Q].
    """
    logits = logits.astype(jnp.float32) if jnp.finfo(logits.dtype).bits < 32 else logits
    truth, nearest = share(ab)
    each = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(truth * logits, axis=-1)
    loss = jnp.mean(rarity(prior)[nearest] * each)
    met = jnp.mean(truth, axis=tuple(range(truth.ndim - 1)))
    return (loss, met) if axis is None else jax.lax.pmean((loss, met), axis)


def share(ab: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shares [..., Q] of the five nearest bins in colours [..., 2], and the nearest, int32 [...].

    The shares fall off as a Gaussian; where others are as near as the fifth, they share too.
    """
    bins = jnp.asarray(BINS, ab.dtype)
    squared = jnp.square(ab[..., :1] - bins[:, 0].reshape((1,) * (ab.ndim - 1) + (-1,)))
    squared += jnp.square(ab[..., 1:] - bins[:, 1].reshape((1,) * (ab.ndim - 1) + (-1,)))
    fifth = -jax.lax.top_k(-squared, NEAREST)[0][..., -1:]
    shares = jnp.where(squared <= fifth, jnp.exp(-squared / (2 * SIGMA**2)), 0)
    total = jnp.sum(shares, axis=-1, keepdims=True)
    return shares / total, jnp.argmin(squared, axis=-1).astype(jnp.int32)


def rarity(prior: jax.Array) -> jax.Array:
    """Weights [Q] of the bins, 1 on average over the prior [Q], which is smoothed before."""
    bins = jnp.asarray(BINS, prior.dtype)
    squared = jnp.sum(jnp.square(bins[:, None] - bins[None]), axis=-1)
    near = jnp.exp(-squared / (2 * SIGMA**2))
    smooth = jnp.matmul(near / jnp.sum(near, axis=0, keepdims=True), prior, precision="highest")
    return balance(smooth)


def balance(prior: jax.Array) -> jax.Array:
    """((1 - λ) p + λ / Q)⁻¹ of a prior [Q], scaled to 1 on average over it."""
    weights = 1 / ((1 - UNIFORM) * prior + UNIFORM / prior.shape[0])
    return weights / jnp.sum(prior * weights)
