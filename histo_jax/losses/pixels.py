"""Losses over the pixels of all devices: of labels (cross-entropy, soft Dice) and of colours."""

import jax
import jax.numpy as jnp
import optax

IGNORE = 255  # label of pixels that count for nothing


def pixel_loss(
    logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None = None,
    dice: bool = False,
    axis: str | None = None,
) -> jax.Array:
    """Mean cross-entropy of the pixels, with `dice` plus one minus the mean soft Dice.

    The mean is weighed as torch weighs it, by the sum of the weights of the pixels that count.
    Inside a mapped function give `axis`: sums then run over all devices, the loss is the same on
    each, and the gradients are to be averaged over `axis` once more, as for `ntxent`.

    Args:
      logits: float [b, h, w, k], computed in at least float32.
      labels: integer [b, h, w] in 0..k-1; pixels of `IGNORE` are left out.
      weights: float [k] of the classes; None weighs them alike.
      dice: whether soft Dice of the classes that are there joins the loss.
      axis: name of the device axis, or None for one device.
    """
    logits = logits.astype(jnp.float32) if jnp.finfo(logits.dtype).bits < 32 else logits
    valid = labels != IGNORE
    known = jnp.where(valid, labels, 0).astype(jnp.int32)
    weight = valid.astype(logits.dtype)
    if weights is not None:
        weight = weight * weights.astype(logits.dtype)[known]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, known)
    loss = _mean(jnp.sum(each * weight), jnp.sum(weight), axis)
    return loss + _dice(logits, known, valid, axis) if dice else loss


def colour_loss(said: jax.Array, truth: jax.Array, axis: str | None = None) -> jax.Array:
    """Mean absolute difference of float [b, h, w, c] over pixels and channels, of all devices.

    Computed in at least float32; `axis` as for `pixel_loss`.
    """
    said = said.astype(jnp.float32) if jnp.finfo(said.dtype).bits < 32 else said
    loss = jnp.mean(jnp.abs(said - truth))
    return loss if axis is None else jax.lax.pmean(loss, axis)


def _mean(total: jax.Array, count: jax.Array, axis: str | None) -> jax.Array:
    total, count = _all(total, axis), _all(count, axis)
    return total / jnp.where(count > 0, count, 1)


def _dice(logits: jax.Array, labels: jax.Array, valid: jax.Array, axis: str | None) -> jax.Array:
    """One minus the mean over classes of 2 Σpy / (Σp + Σy), sums over the global batch.

    A class without a pixel is left out, as in segmentation_models_pytorch.
    """
    mask = valid[..., None].astype(logits.dtype)
    share = jax.nn.softmax(logits, axis=-1) * mask
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * mask
    space = tuple(range(labels.ndim))
    both, there = jnp.sum(share * truth, space), jnp.sum(truth, space)
    both, there, said = _all((both, there, jnp.sum(share, space)), axis)
    counts = there > 0
    dice = jnp.where(counts, 2 * both / jnp.where(counts, there + said, 1), 0)
    return 1 - jnp.sum(dice) / jnp.maximum(jnp.sum(counts, dtype=dice.dtype), 1)


def _all(x: jax.Array, axis: str | None) -> jax.Array:
    return x if axis is None else jax.lax.psum(x, axis)
