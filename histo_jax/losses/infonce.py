"""InfoNCE, the contrastive loss of CPC, over the targets of all devices."""

import jax
import jax.numpy as jnp

from histo_jax.losses.blocks import LOGITS_AT_ONCE, in_blocks


def infonce(
    predictions: jax.Array, targets: jax.Array, own: jax.Array, axis: str | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over predictions of -log softmax of the right target among those of all devices.

    Logits are plain products, of at least float32. With `axis` loss and metrics are those of the
    global batch, the same on every device; average the gradients over `axis`, as for `ntxent`.

    Args:
      predictions: [m, d] of this device.
      targets: [n, d] of this device; the gradient also flows through those of the others.
      own: int32 [m], which of this device's targets each prediction is about.
      axis: name of the device axis, or None for one device.

    Returns:
      The loss, and without gradient `top1`, the share of predictions nearer to their target than
      to any other (a tie is a miss), and `spread`, the mean over dimensions of the standard
      deviation of the targets scaled to length 1, times √d: 0 when all are one point.
    """
    said, known = (
        x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x for x in (predictions, targets)
    )
    everyone, first = known, jnp.zeros((), jnp.int32)
    if axis is not None:
        everyone = jax.lax.all_gather(known, axis, tiled=True)
        first = jax.lax.axis_index(axis) * known.shape[0]

    def against_all(rows: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
        # HIGHEST: embeddings have no fixed length, TF32 errors would grow with them.
        logits = jnp.matmul(rows, everyone.T, precision=jax.lax.Precision.HIGHEST)
        mine = jnp.arange(everyone.shape[0], dtype=jnp.int32)[None, :] == at[:, None]
        hardest = jnp.max(jnp.where(mine, -jnp.inf, jax.lax.stop_gradient(logits)), axis=1)
        return jax.nn.logsumexp(logits, axis=1), hardest

    rows = said, own.astype(jnp.int32) + first
    total, hardest = in_blocks(against_all, rows, everyone.shape[0], LOGITS_AT_ONCE)
    positive = jnp.sum(said * known[own], axis=1)
    loss = jnp.mean(total - positive)

    positive, everyone = jax.lax.stop_gradient((positive, everyone))
    length = jnp.sqrt(jnp.maximum(jnp.sum(everyone**2, axis=1, keepdims=True), 1e-12))
    metrics = {
        # The lead must be more than rounding, else equal logits would score at random.
        "top1": jnp.mean(positive > hardest + 1e-6, dtype=loss.dtype),
        "spread": jnp.mean(jnp.std(everyone / length, axis=0)) * everyone.shape[1] ** 0.5,
    }
    return (loss, metrics) if axis is None else jax.lax.pmean((loss, metrics), axis)
