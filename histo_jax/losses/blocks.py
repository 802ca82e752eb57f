"""Rows against columns without ever holding all of their logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Logits held at once (float32: 64 MiB). More than these, and rows go through in blocks.
LOGITS_AT_ONCE = 2**24


def in_blocks(f: Callable, rows: tuple[jax.Array, ...], columns: int, most: int) -> Any:
    """`f(*rows)`, a tuple of [r] of arrays [r, …] whose rows do not depend on each other.

    Args:
      f: makes `columns` logits a row.
      rows: its arguments.
      columns: logits a row.
      most: logits to be held at once.
    """
    size, block = rows[0].shape[0], max(1, most // columns)
    if size * columns <= most:
        return f(*rows)

    def split(x: jax.Array) -> jax.Array:
        filler = [(0, -size % block)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, filler).reshape(-1, block, *x.shape[1:])

    # Each block's logits are made again in the backward pass: memory stays linear in r.
    once_more = jax.checkpoint(lambda xs: f(*xs), prevent_cse=False)
    out = jax.lax.map(once_more, tuple(split(x) for x in rows))
    return tuple(x.reshape(-1)[:size] for x in out)
