"""Views, made again the way the network was shown them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.augment.lab import luma
from histo_jax.augment.patches import GRID, make_patches
from histo_jax.augment.recipes import make_views
from histo_jax.data.images import read_images
from histo_jax.data.prepared import Prepared
from histo_jax.evaluation.pretraining import split_rows

SHOWN = 6
CROPS = functools.partial(make_views, count=1, colours=False)
MAKERS = {
    "simclr": make_views, "autoencoder": CROPS, "colorization": CROPS, "cpc": make_patches
}  # fmt: skip


def pairs(
    card: dict, sets: dict[str, Prepared | None], prepared: Prepared, rows: np.ndarray
) -> dict | None:
    """Some images, drawn by the run's seed, each beside what the run's own recipe makes of it.

    Args:
      card: of the encoder; without its config there are no pairs.
      sets: the pretraining sets; the images are of the first that is here.
      prepared, rows: the labelled set, used where none is.

    Returns:
      `name` of the set, `pretraining` whether it is one of those, `images`: lists of uint8
      [S, S, 3], an image and what is shown beside it.
    """
    config = card.get("config")
    if config is None:
        return None
    here = next((opened for opened in sets.values() if opened is not None), None)
    known = split_rows(card, here) if here else rows
    seed, size, augment = config["seed"], card["image_size"], config["augment"]
    drawn = np.random.default_rng(seed).permutation(known)[:SHOWN]
    images = np.concatenate(list(read_images(here or prepared, drawn, size, SHOWN)))
    task = config["objective"]["name"]
    views = MAKERS[task](
        seed=seed,
        recipe=augment["recipe"],
        size=size,
        crop_min=augment["crop_min"],
        jitter=augment["jitter"],
        branches=jax.default_backend() == "cpu",
    )
    made = jax.jit(views)(images, jnp.int32(0), jnp.arange(len(images), dtype=jnp.int32))
    made = np.round((np.asarray(laid_out(task, made)) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return {
        "name": (here or prepared).name,
        "pretraining": here is not None,
        "images": [[image, *beside] for image, beside in zip(images, made, strict=True)],
    }


def laid_out(task: str, made: jax.Array) -> jax.Array:
    """Pictures [b, k, S, S, 3] of the views [b, v, s, s, 3] of a task, in [-1, 1]."""
    if task == "cpc":
        b, _, side, _, c = made.shape
        grid = made.reshape(b, GRID, GRID, side, side, c).swapaxes(2, 3)
        return grid.reshape(b, 1, GRID * side, GRID * side, c)
    if task == "colorization":
        gray = 2 * luma((made + 1) / 2) - 1
        return jnp.concatenate([jnp.broadcast_to(gray, made.shape), made], axis=1)
    return made
