"""Pairs of views, made again the way the network was shown them."""

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.augment.recipes import make_views
from histo_jax.data.images import read_images
from histo_jax.data.prepared import Prepared
from histo_jax.evaluation.pretraining import split_rows

SHOWN = 6


def pairs(
    card: dict, sets: dict[str, Prepared | None], prepared: Prepared, rows: np.ndarray
) -> dict | None:
    """Some images, drawn by the run's seed, each beside two views by the run's own recipe.

    Args:
      card: of the encoder; without its config there are no pairs.
      sets: the pretraining sets; the images are of the first that is here.
      prepared, rows: the labelled set, used where none is.

    Returns:
      `name` of the set, `pretraining` whether it is one of those, `images` uint8 [b, 3, S, S, 3]:
      the image and its two views.
    """
    config = card.get("config")
    if config is None:
        return None
    here = next((opened for opened in sets.values() if opened is not None), None)
    known = split_rows(card, here) if here else rows
    seed, size, augment = config["seed"], card["image_size"], config["augment"]
    drawn = np.random.default_rng(seed).permutation(known)[:SHOWN]
    images = np.concatenate(list(read_images(here or prepared, drawn, size, SHOWN)))
    views = make_views(
        seed=seed,
        recipe=augment["recipe"],
        size=size,
        crop_min=augment["crop_min"],
        jitter=augment["jitter"],
        branches=jax.default_backend() == "cpu",
    )
    made = jax.jit(views)(images, jnp.int32(0), jnp.arange(len(images), dtype=jnp.int32))
    made = np.round((np.asarray(made) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return {
        "name": (here or prepared).name,
        "pretraining": here is not None,
        "images": np.concatenate([images[:, None], made], axis=1),
    }
