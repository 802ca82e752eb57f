"""Losses as plain functions of arrays."""

from histo_jax.losses.ntxent import ntxent
from histo_jax.losses.pixels import pixel_loss

__all__ = ["ntxent", "pixel_loss"]
