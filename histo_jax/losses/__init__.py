"""Losses as plain functions of arrays."""

from histo_jax.losses.ntxent import ntxent

__all__ = ["ntxent"]
