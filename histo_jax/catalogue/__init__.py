"""The datasets of the paper: what they are, how to get them, what lies where in their folders."""

from histo_jax.catalogue.entries import Entry
from histo_jax.catalogue.reading import find, load

__all__ = ["Entry", "find", "load"]
