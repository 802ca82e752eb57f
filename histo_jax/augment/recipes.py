"""The recipes of views, as a table, and the functions that make views of every image."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from histo_jax.augment import blur, colour, geometry
from histo_jax.augment.keys import example_keys
from histo_jax.errors import HistoError

# Brightness, contrast, saturation, hue (paper, section 4.1 and appendix D).
JITTERS: dict[str, tuple[float, float, float, float]] = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "light": (0.4, 0.4, 0.4, 0.2),
    "medium": (0.8, 0.8, 0.8, 0.2),
    "heavy": (0.8, 0.8, 0.8, 0.4),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What may happen to an image, in this order; probabilities are per view."""

    crop_min: float  # smallest crop, share of the image's area; the largest is all of it
    turns: bool  # a quarter turn 0 to 3 times
    hflip: float
    vflip: float
    jitter: str  # a name in JITTERS
    jitter_probability: float
    gray: float
    blur: float
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels


RECIPES = {
    # Ciga, Xu & Martel 2021, section 4.1; the probability of jitter is SimCLR's: they give none.
    "ciga2021": Recipe(0.01, True, 0.5, 0.5, "medium", 0.8, 0.0, 0.5),
    # Chen et al. 2020, appendix A, and their code.
    "simclr": Recipe(0.08, False, 0.5, 0.0, "medium", 0.8, 0.2, 0.5),
}


class View(NamedTuple):
    """Every random choice behind one view: scalars, except `order` int32 [4], `factors` f32 [4]."""

    box: geometry.Box
    side: geometry.Orientation
    jittered: jax.Array
    order: jax.Array
    factors: jax.Array
    grayed: jax.Array
    blurred: jax.Array
    sigma: jax.Array


def choose(recipe: str, crop_min: float | None = None, jitter: str | None = None) -> Recipe:
    """Looks up a recipe; a `crop_min` or `jitter` that is given replaces the recipe's own.

    Raises:
      HistoError: unknown recipe or jitter, or `crop_min` outside (0, 1].
    """
    if recipe not in RECIPES:
        raise HistoError(
            "augment.recipe", "config", f"unknown recipe {recipe!r}", f"known: {', '.join(RECIPES)}"
        )
    chosen = RECIPES[recipe]
    if jitter is not None:
        if jitter not in JITTERS:
            known = ", ".join(JITTERS)
            raise HistoError(
                "augment.jitter", "config", f"unknown jitter {jitter!r}", f"known: {known}"
            )
        chosen = dataclasses.replace(chosen, jitter=jitter)
    if crop_min is not None:
        if not 0 < crop_min <= 1:
            raise HistoError(
                "augment.crop_min", "config", f"{crop_min} is not a share of the area", "0 < v <= 1"
            )
        chosen = dataclasses.replace(chosen, crop_min=crop_min)
    return chosen


def sample_view(key: jax.Array, recipe: Recipe, height: int, width: int) -> View:
    """Draws every choice for one view of a `height` × `width` image."""
    crop, colours, rest = jax.random.split(key, 3)
    turn, hflip, vflip, jittered, grayed, blurred, sigma = jax.random.uniform(
        rest, (7,), jnp.float32
    )
    turns = (turn * (4 if recipe.turns else 1)).astype(jnp.int32)
    order, factors = colour.sample_jitter(colours, JITTERS[recipe.jitter])
    low, high = recipe.sigma
    return View(
        box=geometry.sample_box(crop, height, width, recipe.crop_min),
        side=geometry.orientation(turns, hflip < recipe.hflip, vflip < recipe.vflip),
        jittered=jittered < recipe.jitter_probability,
        order=order,
        factors=factors,
        grayed=grayed < recipe.gray,
        blurred=blurred < recipe.blur,
        sigma=low + sigma * (high - low),
    )


def apply_view(
    image: jax.Array, view: View, *, recipe: Recipe, size: int, branches: bool
) -> jax.Array:
    """Makes one view, uint8 `[h, w, 3]` to float32 `[size, size, 3]` in [-1, 1]."""
    resize = geometry.crop_resize_taps if branches else geometry.crop_resize_dense
    x = resize(image, view.box, view.side, size)
    return finish(recolour(x, view, recipe=recipe, branches=branches))


def recolour(x: jax.Array, view: View, *, recipe: Recipe, branches: bool) -> jax.Array:
    """Jitter, gray and blur of a view, on `[y, 3, x]` in [0, 1]."""
    smooth = blur.blur_shifted if branches else blur.blur_dense
    if recipe.jitter_probability > 0 and any(JITTERS[recipe.jitter]):
        x = lax.cond(view.jittered, colour.jitter, lambda a, *_: a, x, view.order, view.factors)
    if recipe.gray > 0:
        x = lax.cond(
            view.grayed, lambda a: jnp.broadcast_to(colour.gray(a), a.shape), lambda a: a, x
        )
    if recipe.blur > 0:
        taps = blur.kernel_size(x.shape[0])
        x = lax.cond(view.blurred, lambda a, s: smooth(a, s, taps), lambda a, _: a, x, view.sigma)
    return x


def finish(x: jax.Array) -> jax.Array:
    """`[y, 3, x]` in [0, 1] as networks take it, `[y, x, 3]` in [-1, 1]."""
    return jnp.transpose(jnp.clip(x, 0, 1) * 2 - 1, (0, 2, 1))


def make_views(
    *,
    seed: int,
    recipe: str,
    size: int,
    crop_min: float | None = None,
    jitter: str | None = None,
    branches: bool,
    count: int = 2,
    colours: bool = True,
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Builds the function that makes independent views of every image.

    Args:
      seed: the run's seed.
      recipe: a name in `RECIPES`.
      size: side of a view, pixels.
      crop_min: smallest crop, share of the image's area; None = the recipe's own.
      jitter: a name in `JITTERS`; None = the recipe's own.
      branches: True loops over the images and skips what was not drawn (CPU); False computes all
        and selects (GPU, TPU). The two agree to 1e-4 a pixel.
      count: views of each image.
      colours: False only crops, turns and flips: for tasks whose answer is the colours.

    Returns:
      `views(images uint8 [b, h, w, 3], step int32 scalar, index int32 [b])` to float32
      `[b, count, size, size, 3]` in [-1, 1]; pure, and a function of each image alone.

    Raises:
      HistoError: unknown recipe or jitter, `crop_min` outside (0, 1], or jitter without `colours`.
    """
    chosen = choose(recipe, crop_min, jitter)
    if not colours:
        if jitter not in (None, "none"):
            what = f"is {jitter!r}, but this task learns from the colours as they are"
            raise HistoError("config.augment.jitter", "config", what, "leave it out")
        chosen = dataclasses.replace(chosen, jitter="none", gray=0.0, blur=0.0)

    def views(images: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
        b, height, width, _ = images.shape
        keys = jax.vmap(lambda k: jax.random.split(k, count))(example_keys(seed, step, index))
        # Drawn for the whole batch at once: many small operations, slow one image at a time.
        drawn = jax.vmap(lambda k: sample_view(k, chosen, height, width))(keys.reshape(-1))

        def one(pair):
            source, view = pair
            return apply_view(images[source], view, recipe=chosen, size=size, branches=branches)

        pairs = (jnp.arange(count * b, dtype=jnp.int32) // count, drawn)
        made = lax.map(one, pairs) if branches else jax.vmap(one)(pairs)
        return made.reshape(b, count, size, size, 3)

    return views
