"""Random resized crop, quarter turns and flips, as torchvision does them on float images.

The crop is never cut out: box and size go into resampling weights, so shapes stay static while
boxes are traced. Turns and flips cost nothing: they reorder the weights.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

PROPOSALS = 10  # torchvision's number of tries
ASPECT = (3 / 4, 4 / 3)  # width over height, log-uniform
PRECISION = lax.Precision.HIGHEST  # a GPU's default, TF32, keeps 10 bits


class Box(NamedTuple):
    """A crop in source pixels: int32 scalars."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array


class Orientation(NamedTuple):
    """One of the eight symmetries of the square, as the resize applies it: bool scalars."""

    turned: jax.Array  # x and y change places
    reverse_y: jax.Array  # before changing places
    reverse_x: jax.Array


def sample_box(key: jax.Array, height: int, width: int, crop_min: float) -> Box:
    """Draws a crop by the law of torchvision's `RandomResizedCrop.get_params`.

    Area is uniform in `[crop_min, 1]` of the image and aspect log-uniform in [3/4, 4/3] before
    rejection; the first of ten proposals that fits is taken, all ten drawn at once.
    """
    uniform = jax.random.uniform(key, (2 * PROPOSALS + 2,), jnp.float32)
    low, high = (math.log(value) for value in ASPECT)
    area = height * width * (crop_min + (1 - crop_min) * uniform[:PROPOSALS])
    aspect = jnp.exp(low + (high - low) * uniform[PROPOSALS:-2])
    widths = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits)  # 0 if none fits
    h, w = heights[first], widths[first]
    drawn = Box(_offset(uniform[-2], height - h), _offset(uniform[-1], width - w), h, w)
    fallback = Box(*(jnp.int32(value) for value in fallback_box(height, width)))
    return jax.tree.map(lambda a, b: jnp.where(fits[first], a, b), drawn, fallback)


def _offset(uniform: jax.Array, most: jax.Array) -> jax.Array:
    """An integer in 0..most, both included, of a uniform in [0, 1)."""
    return jnp.minimum((uniform * (most + 1).astype(jnp.float32)).astype(jnp.int32), most)


def fallback_box(height: int, width: int) -> tuple[int, int, int, int]:
    """The central crop (top, left, height, width) torchvision takes when no proposal fits."""
    h, w = height, width
    if width / height < ASPECT[0]:
        h = round(width / ASPECT[0])
    elif width / height > ASPECT[1]:
        w = round(height * ASPECT[1])
    return (height - h) // 2, (width - w) // 2, h, w


def orientation(turns: jax.Array, hflip: jax.Array, vflip: jax.Array) -> Orientation:
    """What `turns` counter-clockwise quarter turns, then the two flips, do to the resize.

    Args:
      turns: int32 scalar in 0..3, as in `numpy.rot90`.
      hflip: bool scalar, left becomes right.
      vflip: bool scalar, top becomes bottom.
    """
    turned = turns % 2 == 1
    rows = ((turns == 1) | (turns == 2)) ^ vflip
    columns = ((turns == 2) | (turns == 3)) ^ hflip
    return Orientation(turned, jnp.where(turned, columns, rows), jnp.where(turned, rows, columns))


def _triangle(pixel: jax.Array, length: jax.Array, size: int, reverse: jax.Array) -> jax.Array:
    """Antialiased bilinear weights of crop pixels `[n, size]` or `[n, 1]`; columns sum to 1.

    The filter of torch's `interpolate(antialias=True)`: a triangle as wide as the larger of the
    two pixels, which sees nothing outside the crop. Distances are whole numbers: floats that XLA
    computes twice may differ, and tear the weights from the positions of `resize_taps`.
    """
    centre = _outputs(size, reverse) * length  # this and `distance` in units of 1 / (2 size) pixel
    distance = jnp.abs((2 * pixel + 1) * size - centre[None, :])
    reach = 2 * jnp.maximum(length, size)
    weight = 1.0 - distance.astype(jnp.float32) / reach.astype(jnp.float32)
    weight = jnp.where((pixel >= 0) & (pixel < length), jnp.maximum(0.0, weight), 0.0)
    return weight / jnp.sum(weight, axis=0, keepdims=True)


def _outputs(size: int, reverse: jax.Array) -> jax.Array:
    """Centres of the output pixels, doubled: 1, 3, 5, … or the other way, int32 `[size]`."""
    output = jnp.arange(size, dtype=jnp.int32)
    return 2 * jnp.where(reverse, size - 1 - output, output) + 1


def resize_matrix(
    start: jax.Array, length: jax.Array, reverse: jax.Array, source: int, size: int
) -> jax.Array:
    """The whole resampling of one axis as a matrix, float32 `[size, source]`."""
    pixel = jnp.arange(source, dtype=jnp.int32)[:, None] - start
    return _triangle(pixel, length, size, reverse).T


def resize_taps(
    start: jax.Array, length: jax.Array, reverse: jax.Array, source: int, size: int
) -> tuple[jax.Array, jax.Array]:
    """The same as the few pixels each output pixel needs: 2 of them unless the source is larger.

    Returns:
      Source positions int32 `[size, k]` and weights float32 `[size, k]`, which sum to 1.
    """
    k = math.ceil(2 * max(source / size, 1.0))
    left = _outputs(size, reverse) * length - 2 * jnp.maximum(length, size)  # centre - reach
    first = (left - size) // (2 * size) + 1  # the first pixel whose own centre is right of it
    pixel = first[None, :] + jnp.arange(k, dtype=jnp.int32)[:, None]
    weight = _triangle(pixel, length, size, reverse)
    return jnp.clip(pixel + start, 0, source - 1).T, weight.T


def crop_resize_dense(image: jax.Array, box: Box, side: Orientation, size: int) -> jax.Array:
    """Crops, resizes, turns and flips by two dense matrix products: the form for GPU and TPU.

    Args:
      image: uint8 `[h, w, 3]`.
      box: the crop, traced.
      side: the symmetry.
      size: side of the result.

    Returns:
      float32 `[size, 3, size]` as `[y, 3, x]` in [0, 1].
    """
    height, width, _ = image.shape
    rows = resize_matrix(box.top, box.height, side.reverse_y, height, size)
    columns = resize_matrix(box.left, box.width, side.reverse_x, width, size)
    pixels = image.astype(jnp.float32) * (1 / 255)
    narrow = jnp.einsum("px,yxc->ycp", columns, pixels, precision=PRECISION)
    resized = jnp.einsum("qy,ycp->qcp", rows, narrow, precision=PRECISION)
    return jnp.where(side.turned, jnp.swapaxes(resized, 0, 2), resized)


def crop_resize_taps(image: jax.Array, box: Box, side: Orientation, size: int) -> jax.Array:
    """Does the same by gathering whole rows, twice: the form for CPU; see `crop_resize_dense`."""
    height, width, _ = image.shape
    rows = resize_taps(box.top, box.height, side.reverse_y, height, size)
    columns = resize_taps(box.left, box.width, side.reverse_x, width, size)

    def upright():
        narrow = _weighted_rows(jnp.transpose(image, (1, 2, 0)), *columns)
        return _weighted_rows(jnp.transpose(narrow, (2, 1, 0)), *rows)

    def turned():
        low = _weighted_rows(jnp.transpose(image, (0, 2, 1)), *rows)
        return _weighted_rows(jnp.transpose(low, (2, 1, 0)), *columns)

    return lax.cond(side.turned, turned, upright) * (1 / 255)


def _weighted_rows(lines: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
    """Sums `k` rows of `[n, 3, m]` for each output, to float32 `[size, 3, m]`."""

    def one(tap):
        i, w = tap
        rows = (lines.at[i[j]].get(mode="promise_in_bounds") for j in range(index.shape[1]))
        return sum(row.astype(jnp.float32) * w[j] for j, row in enumerate(rows))

    # A loop of two halves: without it XLA fuses both gathers and the transpose between them into
    # one, and computes every pixel several times (5x slower).
    return lax.map(one, (index, weight), batch_size=max(1, index.shape[0] // 2))
