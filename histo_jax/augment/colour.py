"""Colour jitter by the laws of torchvision's float images, on `[y, 3, x]` in [0, 1].

Not those of TensorFlow, whose brightness is additive, whose contrast takes a mean per channel and
whose saturation scales in HSV.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

ORDERS = tuple(itertools.permutations(range(4)))  # of (brightness, contrast, saturation, hue)
LUMA = (0.2989, 0.587, 0.114)


def _luma() -> jax.Array:
    return jnp.asarray(LUMA, jnp.float32)[None, :, None]


def _blend(image: jax.Array, other: jax.Array | float, factor: jax.Array) -> jax.Array:
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def gray(image: jax.Array) -> jax.Array:
    """Luma of every pixel, `[y, 1, x]`; the weights sum to .9999, as torchvision's do."""
    return jnp.sum(image * _luma(), axis=1, keepdims=True)


def brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with black: factor 0 is black, 2 is twice as bright."""
    return _blend(image, 0.0, factor)


def contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean luma of this image."""
    columns = jnp.sum(image, axis=0, keepdims=True) * _luma()  # along y first: it vectorises
    return _blend(image, jnp.sum(columns) / (image.shape[0] * image.shape[2]), factor)


def saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the luma of each pixel: factor 0 is gray."""
    return _blend(image, gray(image), factor)


def hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue of HSV by `shift` of the full circle, -.5 to .5; no blend."""
    red, green, blue = image[:, 0:1], image[:, 1:2], image[:, 2:3]
    high = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = high - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1 / jnp.where(chroma > 0, chroma, 1.0)
    sixth = jnp.where(  # hue in sixths of the circle, [-1, 5]
        high == red,
        (green - blue) * scale,
        jnp.where(high == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    # Back without HSV's six cases: a channel lies this far below the highest one.
    start = jnp.asarray((5, 3, 1), jnp.float32)[None, :, None]
    position = (start + sixth) * (1 / 6) + shift
    position = 6 * (position - jnp.floor(position))
    return high - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1)


def jitter(image: jax.Array, order: jax.Array, factors: jax.Array) -> jax.Array:
    """Applies the four operations in any order.

    Args:
      image: float32 `[y, 3, x]` in [0, 1].
      order: int32 `[4]`, a permutation of 0..3 = brightness, contrast, saturation, hue.
      factors: float32 `[4]`, in that fixed order: three factors and the hue shift.
    """
    operations = (brightness, contrast, saturation, hue)
    for place in range(4):
        which = order[place]
        image = lax.switch(which, operations, image, factors[which])
    return image


def sample_jitter(
    key: jax.Array, strength: tuple[float, float, float, float]
) -> tuple[jax.Array, jax.Array]:
    """Draws one of the 24 orders, equally likely, and the four factors; see `jitter`.

    Args:
      key: a key.
      strength: widths of brightness, contrast, saturation (factor in [max(0, 1-v), 1+v]) and hue.
    """
    uniform = jax.random.uniform(key, (5,), jnp.float32)
    order = jnp.asarray(ORDERS, jnp.int32)[(uniform[4] * len(ORDERS)).astype(jnp.int32)]
    low = jnp.asarray([*(max(0.0, 1 - v) for v in strength[:3]), -strength[3]], jnp.float32)
    high = jnp.asarray([*(1 + v for v in strength[:3]), strength[3]], jnp.float32)
    return order, low + uniform[:4] * (high - low)
