"""Examples by number, in batches, turned at random: what supervised training reads."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Batch = dict[str, Any]  # `image` uint8 [b, s, s, 3], and `truth` [b] or `mask` uint8 [b, s, s]
TURNED = ("image", "mask")


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Examples by number.

    Attributes:
      n: how many there are.
      read: `read(at, epoch)` gives those of `at` in that order, in batches of any size.
    """

    n: int
    read: Callable[[np.ndarray, int], Iterable[Batch]]


def rebatch(chunks: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Batches of exactly `size` of batches of any size; the last holds what is left."""
    held: list[Batch] = []
    for chunk in chunks:
        held.append(chunk)
        while sum(len(c["image"]) for c in held) >= size:
            whole = _join(held)
            yield {name: array[:size] for name, array in whole.items()}
            rest = {name: array[size:] for name, array in whole.items()}
            held = [rest] if len(rest["image"]) else []
    if held:
        yield _join(held)


def turn(keys: jax.Array, arrays: Batch) -> Batch:
    """One of the eight symmetries of the square an example, the same for its image and its mask.

    Args:
      keys: [b].
      arrays: [b, s, s, ...] each.
    """
    drawn = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (3,)))(keys)

    def one(drawn: jax.Array, x: jax.Array) -> jax.Array:
        x = jnp.where(drawn[0], jnp.swapaxes(x, 0, 1), x)
        x = jnp.where(drawn[1], x[::-1], x)
        return jnp.where(drawn[2], x[:, ::-1], x)

    return {name: jax.vmap(one)(drawn, array) for name, array in arrays.items()}


def _join(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
