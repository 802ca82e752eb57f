"""Gaussian blur as torchvision's: sampled taps, reflected borders, a traced sigma in pixels."""

import jax
import jax.numpy as jnp
from jax import lax

PRECISION = lax.Precision.HIGHEST


def kernel_size(side: int) -> int:
    """A tenth of the image's side, made odd (SimCLR, section 2): 224 gives 23."""
    size = side // 10
    return size + 1 - size % 2


def taps(sigma: jax.Array, size: int) -> jax.Array:
    """The kernel, float32 `[size]`: exp(-x²/2σ²), normalised."""
    offset = jnp.arange(size, dtype=jnp.float32) - size // 2
    weight = jnp.exp(-0.5 * (offset / sigma) ** 2)
    return weight / jnp.sum(weight)


def _pass(image: jax.Array, weight: jax.Array, axis: int) -> jax.Array:
    """Weighted sum of shifted copies along one axis."""
    radius, side = weight.shape[0] // 2, image.shape[axis]
    margins = [(0, 0)] * 3
    margins[axis] = (radius, radius)
    padded = jnp.pad(image, margins, mode="reflect")
    return sum(
        weight[t] * lax.slice_in_dim(padded, t, t + side, axis=axis) for t in range(2 * radius + 1)
    )


def blur_shifted(image: jax.Array, sigma: jax.Array, size: int) -> jax.Array:
    """Blurs by shifted sums, with no more taps than float32 can tell apart: the form for CPU.

    Args:
      image: float32 `[y, 3, x]`, both sides longer than `size // 2`.
      sigma: float32 scalar, pixels, > 0.
      size: odd number of taps.
    """
    radius = size // 2
    radii = sorted({radius // 3, 2 * radius // 3, radius})

    def with_radius(r):
        weight = taps(sigma, 2 * r + 1)
        return lambda x: _pass(_pass(x, weight, 0), weight, 2)

    # exp(-6²/2) = 1.5e-8: the first tap left out is below float32's resolution.
    needed = sum((sigma > (r + 1) / 6).astype(jnp.int32) for r in radii[:-1])
    return lax.switch(jnp.int32(needed), [with_radius(r) for r in radii], image)


def blur_dense(image: jax.Array, sigma: jax.Array, size: int) -> jax.Array:
    """Blurs by two matrix products: the form for GPU and TPU; see `blur_shifted`."""
    down = blur_matrix(sigma, image.shape[0], size)
    along = blur_matrix(sigma, image.shape[2], size)
    half = jnp.einsum("qy,ycx->qcx", down, image, precision=PRECISION)
    return jnp.einsum("px,qcx->qcp", along, half, precision=PRECISION)


def blur_matrix(sigma: jax.Array, side: int, size: int) -> jax.Array:
    """One pass of the blur, borders reflected into it, float32 `[side, side]`."""
    radius = size // 2
    weight = taps(sigma, size)
    output = jnp.arange(side, dtype=jnp.int32)[:, None]
    source = jnp.arange(side, dtype=jnp.int32)[None, :]

    def at(distance):
        inside = jnp.abs(distance) <= radius
        return jnp.where(inside, weight[jnp.clip(distance + radius, 0, size - 1)], 0.0)

    # The first and the last pixel are the mirrors: they have no image of their own.
    before = jnp.where(source > 0, at(-source - output), 0.0)
    after = jnp.where(source < side - 1, at(2 * (side - 1) - source - output), 0.0)
    return at(source - output) + before + after
