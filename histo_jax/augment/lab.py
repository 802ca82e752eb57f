"""CIE Lab of sRGB: lightness apart from colour (D65, 2 degrees, as scikit-image has it)."""

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.augment.colour import LUMA

XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def to_lab(rgb: jax.Array) -> jax.Array:
    """Lab [..., 3], L in 0..100, of RGB [..., 3] in 0..1."""
    light = jnp.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = jnp.asarray(XYZ.T / WHITE, rgb.dtype)
    xyz = jnp.matmul(light, matrix, precision="highest")
    f = jnp.where(xyz > 0.008856, jnp.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def luma(rgb: jax.Array) -> jax.Array:
    """Gray of RGB [..., 3] in 0..1: [..., 1] in 0..1, by the weights of the views."""
    return sum(weight * rgb[..., i : i + 1] for i, weight in enumerate(LUMA))
