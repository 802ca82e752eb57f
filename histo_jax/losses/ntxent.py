"""NT-Xent, the contrastive loss of SimCLR, over the embeddings of all devices.

Each device takes its own rows against the columns of all devices, ordered [all view 1 | all view
2]. The gradient flows through the gathered columns; stopping it there would keep the loss and
spoil the gradient.
"""

import jax
import jax.numpy as jnp

from histo_jax.errors import HistoError
from histo_jax.losses.blocks import LOGITS_AT_ONCE, in_blocks


def ntxent(
    z1: jax.Array, z2: jax.Array, temperature: float, axis: str | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over the 2N views of -log softmax of the positive among the other 2N-1 (paper, eq. 1).

    Inside a mapped function give `axis`: loss and metrics then are those of the global batch, the
    same on every device. Average the gradients over `axis` as well; with both means they are exact
    under `pmap` and under `shard_map` with and without its vma check.

    Args:
      z1, z2: embeddings [n, d] of the two views of this device's n images, any scale and float
        type; computed in at least float32.
      temperature: divides the cosines; the paper's best is 0.1.
      axis: name of the device axis, or None for one device.

    Returns:
      The loss, and metrics without gradient: `top1`, the share of views whose positive is nearer
      than all negatives (a tie is a miss); `alignment`, mean |u-u⁺|²; `uniformity`, log mean
      exp(-2|u-u'|²) over different views (Wang & Isola 2020); `spread`, the mean over dimensions
      of the standard deviation of u, times √d: 1 on the whole sphere, 0 when collapsed.

    Raises:
      HistoError: the temperature is below 1e-8.
    """
    if temperature < 1e-8:
        path, what = "config.objective.temperature", f"is {temperature}"
        raise HistoError(path, "config", what, "at least 1e-8; the paper's best is 0.1")
    u1, u2 = normalise(z1), normalise(z2)
    n, all1, all2 = u1.shape[0], u1, u2
    first = jnp.zeros((), jnp.int32)
    if axis is not None:
        all1, all2 = (jax.lax.all_gather(u, axis, tiled=True) for u in (u1, u2))
        first = jax.lax.axis_index(axis) * n
    rows, columns = jnp.concatenate([u1, u2]), jnp.concatenate([all1, all2])
    in_view1 = first + jnp.arange(n, dtype=jnp.int32)
    in_view2 = all1.shape[0] + in_view1
    own = jnp.concatenate([in_view1, in_view2])
    partner = jnp.concatenate([in_view2, in_view1])

    total, hardest, kernel = _candidates(rows, columns, own, partner, temperature)
    positive = jnp.sum(u1 * u2, axis=1)
    positive = jnp.concatenate([positive, positive])
    loss = jnp.mean(total - positive / temperature)

    u1, u2, positive = jax.lax.stop_gradient((u1, u2, positive))
    metrics = {
        # The lead must be more than rounding, else a collapsed batch would score at random.
        "top1": jnp.mean(positive > hardest + 1e-6, dtype=loss.dtype),
        "alignment": jnp.mean(jnp.sum((u1 - u2) ** 2, axis=1)),
        "uniformity": jnp.mean(kernel) / (columns.shape[0] - 1),
        "spread": jnp.mean(jnp.std(jax.lax.stop_gradient(columns), axis=0)) * u1.shape[1] ** 0.5,
    }
    if axis is not None:
        loss, metrics = jax.lax.pmean((loss, metrics), axis)
    return loss, metrics | {"uniformity": jnp.log(metrics["uniformity"])}


def normalise(z: jax.Array) -> jax.Array:
    """Rows of length 1, in at least float32; a zero row stays zero, its gradient finite."""
    z = z.astype(jnp.float32) if jnp.finfo(z.dtype).bits < 32 else z
    return z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=1, keepdims=True), 1e-12))


def _candidates(
    rows: jax.Array, columns: jax.Array, own: jax.Array, partner: jax.Array, temperature: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What each row [r, d] sees among the columns [c, d], itself (index `own`) left out.

    Returns [r] each: log-sum-exp of cosine / temperature; the largest cosine to a negative; the
    sum of exp(-2|u-u'|²). The last two carry no gradient.
    """

    def dense(
        rows: jax.Array, own: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        # HIGHEST: TF32 or bfloat16 errors would be multiplied by 1 / temperature.
        cosine = jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
        index = jnp.arange(columns.shape[0], dtype=jnp.int32)[None, :]
        itself, pair = index == own[:, None], index == partner[:, None]
        total = jax.nn.logsumexp(jnp.where(itself, -jnp.inf, cosine / temperature), axis=1)
        cosine = jax.lax.stop_gradient(cosine)
        hardest = jnp.max(jnp.where(itself | pair, -jnp.inf, cosine), axis=1)
        kernel = jnp.sum(jnp.where(itself, 0.0, jnp.exp(4 * cosine - 4)), axis=1)
        return total, hardest, kernel

    return in_blocks(dense, (rows, own, partner), columns.shape[0], LOGITS_AT_ONCE)
