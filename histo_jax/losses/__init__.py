"""Losses as plain functions of arrays."""

from histo_jax.losses.colour_bins import BINS, bins_loss
from histo_jax.losses.infonce import infonce
from histo_jax.losses.ntxent import ntxent
from histo_jax.losses.pixels import colour_loss, pixel_loss

__all__ = ["BINS", "bins_loss", "colour_loss", "infonce", "ntxent", "pixel_loss"]
