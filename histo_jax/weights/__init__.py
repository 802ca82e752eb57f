"""Encoders as files: torchvision's names, safetensors and torch's formats, both ways."""

from histo_jax.weights.cards import digest
from histo_jax.weights.exporting import save
from histo_jax.weights.importing import Weights, load
from histo_jax.weights.strict import check_encoder

__all__ = ["Weights", "load", "save", "digest", "check_encoder"]
