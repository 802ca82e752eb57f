"""Colorization (Zhang, Isola & Efros 2016), one of the paper's comparisons (appendix E)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from histo_jax.augment.lab import luma, to_lab
from histo_jax.errors import HistoError
from histo_jax.losses import BINS, bins_loss, colour_loss
from histo_jax.models import build_unet
from histo_jax.objectives import pixels

NAME = "colorization"
COLOURS = ("rgb", "bins")
STRIDE = 4  # pixels from one classified colour to the next, as in the original
KEPT = 0.99  # of the prior, from step to step


@dataclasses.dataclass(frozen=True)
class Colorization:
    """Gray image in, colours out.

    Attributes:
      encoder: see `histo_jax.models.build_encoder`.
      skips: see `Autoencoder`.
      colours: `rgb` paints the image, as the paper words it; `bins` chooses among the 261 colour
        classes of `histo_jax.losses.colour_bins`, rare ones weighed up, as the original.
    """

    encoder: Any
    skips: bool
    colours: str

    def __post_init__(self):
        if self.colours not in COLOURS:
            known = "known: " + ", ".join(COLOURS)
            raise HistoError("config.objective.colours", "config", f"is {self.colours!r}", known)

    def views(self, **how: Any) -> Callable:
        """One crop of each image, its colours as they are: [b, 1, s, s, 3]."""
        return pixels.views(**how)

    def init(self, key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
        """Fresh `(params, model_state)`, each with parts `encoder` and `colorization`.

        For `bins` the state also holds the `prior`: how often each bin was met in the training
        images so far, all alike at first.
        """
        params, state = pixels.init(self._net(), NAME, key, images)
        if self.colours == "bins":
            state[NAME] = {"prior": jnp.full(len(BINS), 1 / len(BINS), images.dtype)}
        return params, state

    def loss(
        self, params: Any, model_state: Any, views: jax.Array, key: jax.Array, axis: str | None
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The loss of the global batch and the new state; no metrics.

        Args as of `SimCLR.loss`; `views` are [n, 1, s, s, 3].
        """
        images, stats = views[:, 0], model_state["batch_stats"]
        rgb = (images + 1) / 2
        if self.colours == "rgb":
            gray = jnp.broadcast_to(2 * luma(rgb) - 1, rgb.shape)
            said, new = pixels.paint(self._net(), NAME, params, stats, gray)
            return colour_loss(said, images, axis), ({"batch_stats": new}, {})
        lab = to_lab(rgb)
        light = jnp.broadcast_to(lab[..., :1] / 50 - 1, lab.shape)
        said, new = pixels.paint(self._net(), NAME, params, stats, light)
        prior = model_state[NAME]["prior"]
        loss, met = bins_loss(said, squares(lab[..., 1:]), prior, axis)
        now = {"batch_stats": new, NAME: {"prior": KEPT * prior + (1 - KEPT) * met}}
        return loss, (jax.lax.stop_gradient(now), {})

    def _net(self) -> Any:
        if self.colours == "rgb":
            return build_unet(self.encoder, 3, self.skips)
        return build_unet(self.encoder, len(BINS), self.skips, STRIDE)


def squares(x: jax.Array) -> jax.Array:
    """Means of 4 by 4 pixels, [b, h, w, c] to [b, h / 4, w / 4, c]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // STRIDE, STRIDE, w // STRIDE, STRIDE, c)
    return jnp.mean(x, axis=(2, 4))
