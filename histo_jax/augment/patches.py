"""Overlapping patches of an image, each recoloured by itself: what CPC v2 sees."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from histo_jax.augment import geometry
from histo_jax.augment.keys import example_keys
from histo_jax.augment.recipes import choose, finish, recolour, sample_view
from histo_jax.errors import HistoError

GRID = 7  # patches along a side: a quarter of the image each, half of it shared with the next
DROP = 0.5  # how often a patch loses one or two of its colour channels


def make_patches(
    *,
    seed: int,
    recipe: str,
    size: int,
    crop_min: float | None = None,
    jitter: str | None = None,
    branches: bool,
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Builds the function that cuts every image into a grid of patches.

    The image is cropped, turned and flipped by the recipe, as a whole. Every patch is then
    jittered, made gray and blurred by choices of its own, and loses colour channels, so that its
    neighbours can't be told by their tint.

    Args as of `histo_jax.augment.recipes.make_views`; `size` is of the image that is cut.

    Returns:
      `views(images uint8 [b, h, w, 3], step int32 scalar, index int32 [b])` to float32
      `[b, 49, size / 4, size / 4, 3]` in [-1, 1], row by row; pure, of each image alone.

    Raises:
      HistoError: `size` can't be cut; see `histo_jax.augment.recipes.choose`.
    """
    chosen = choose(recipe, crop_min, jitter)
    if size % 8 or size < 8:
        what = f"is {size}, patches of a quarter every eighth need a multiple of 8"
        nearest = max(1, round(size / 8)) * 8
        raise HistoError("config.data.image_size", "config", what, f"the nearest is {nearest}")
    side, stride, count = size // 4, size // 8, GRID * GRID
    resize = geometry.crop_resize_taps if branches else geometry.crop_resize_dense

    def one_patch(drawn):
        x, view, keep = drawn
        x = recolour(x, view, recipe=chosen, branches=branches)
        return finish(jnp.where(keep[None, :, None], x, 0.5))

    def one_image(drawn):
        image, view, of_patches, keep = drawn
        x = resize(image, view.box, view.side, size)
        starts = jnp.arange(count, dtype=jnp.int32)
        cut = jax.vmap(
            lambda i: lax.dynamic_slice(
                x, (i // GRID * stride, 0, i % GRID * stride), (side, 3, side)
            )
        )(starts)
        patches = cut, of_patches, keep
        return lax.map(one_patch, patches) if branches else jax.vmap(one_patch)(patches)

    def views(images: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
        _, height, width, _ = images.shape

        def draw(key):
            whole, each, channels = jax.random.split(key, 3)
            of_patches = jax.vmap(lambda k: sample_view(k, chosen, side, side))
            keep = jax.vmap(kept_channels)(jax.random.split(channels, count))
            one = sample_view(whole, chosen, height, width)
            return one, of_patches(jax.random.split(each, count)), keep

        drawn = (images, *jax.vmap(draw)(example_keys(seed, step, index)))
        return lax.map(one_image, drawn) if branches else jax.vmap(one_image)(drawn)

    return views


def kept_channels(key: jax.Array) -> jax.Array:
    """Which of the three channels a patch keeps: all, or, as often as `DROP` says, one or two."""
    dropped, two, which = jax.random.uniform(key, (3,), jnp.float32)
    chosen = jnp.arange(3, dtype=jnp.int32) == (which * 3).astype(jnp.int32)
    return jnp.where(dropped < DROP, jnp.where(two < 0.5, chosen, ~chosen), True)
