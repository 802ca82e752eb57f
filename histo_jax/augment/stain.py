"""Haematoxylin, eosin and DAB: parted (Ruifrok & Johnston 2001) and shaken (Tellez 2018)."""

import jax
import jax.numpy as jnp
import numpy as np

# Optical density of each stain in R, G, B; rows of unit length.
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
STAINS = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
INVERSE = np.linalg.inv(STAINS)
WHITE = 255.0


def separate(images: jax.Array) -> jax.Array:
    """Concentrations [..., 3] of the three stains, natural log, of RGB [..., 3] in 0..255."""
    density = -jnp.log(jnp.maximum(images, 1.0) / WHITE)
    return jnp.matmul(density, jnp.asarray(INVERSE, density.dtype), precision="highest")


def combine(stains: jax.Array) -> jax.Array:
    """RGB [..., 3] in 0..255, not rounded, of concentrations [..., 3]."""
    density = jnp.matmul(stains, jnp.asarray(STAINS, stains.dtype), precision="highest")
    return jnp.clip(WHITE * jnp.exp(-density), 0, WHITE)


def shake(images: jax.Array, alpha: jax.Array, beta: jax.Array) -> jax.Array:
    """Every concentration c becomes alpha c + beta.

    Args:
      images: float [b, h, w, 3] in 0..255.
      alpha, beta: float [b, 3].

    Returns:
      As `images`.
    """
    factor, offset = alpha[:, None, None], beta[:, None, None]
    return combine(factor * separate(images) + offset)
