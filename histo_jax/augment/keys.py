"""Randomness addressed by example, so that views do not depend on devices or restarts."""

import jax


def example_keys(seed: int, step: jax.Array, index: jax.Array) -> jax.Array:
    """One key an image: `fold(fold(seed, step), position in the global batch)`.

    Args:
      seed: the run's seed.
      step: int32 scalar.
      index: int32 `[b]`, positions in the global batch.

    Returns:
      Typed keys `[b]`.
    """
    # Named, so that a user's jax_default_prng_impl does not change the views.
    at_step = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), step)
    return jax.vmap(lambda i: jax.random.fold_in(at_step, i))(index)
