"""Normalisation over the global batch or in one image, in float32 whatever the net computes in."""

from typing import Any

import flax.linen as nn
import jax


def batch_norm(
    x: jax.Array,
    train: bool,
    *,
    name: str,
    param_dtype: Any,
    axis: str | None,
    use_bias: bool = True,
) -> jax.Array:
    """Normalises the last axis of `x`; to be called inside a compact module.

    In training the statistics are those of the whole batch, over all devices on `axis` where it
    is given: per-device statistics would tell positive pairs apart (SimCLR, section 2.1). The
    running variance is the biased one; torch stores the unbiased, a factor n/(n-1).

    Computed and returned in `param_dtype`, at least float32; the caller narrows it.
    """
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,  # torch calls this 0.1
        epsilon=1e-5,
        dtype=param_dtype,
        param_dtype=param_dtype,
        use_bias=use_bias,
        axis_name=axis,
        use_fast_variance=False,  # E[x²]-E[x]² cancels where means are large
        force_float32_reductions=False,  # `param_dtype` is at least float32 and, in tests, float64
        name=name,
    )
    return norm(x.astype(param_dtype))


def layer_norm(x: jax.Array, *, name: str, param_dtype: Any) -> jax.Array:
    """Normalises each image [h, w, c] by itself, as torch's `GroupNorm(1, c)`.

    Nothing passes from one image of a batch to another, and there are no running statistics.
    Computed and returned in `param_dtype`, as `batch_norm`.
    """
    norm = nn.GroupNorm(
        num_groups=1,
        epsilon=1e-5,
        dtype=param_dtype,
        param_dtype=param_dtype,
        use_fast_variance=False,
        force_float32_reductions=False,
        name=name,
    )
    return norm(x.astype(param_dtype))
