"""Encoders and heads; the only room that knows flax."""

from histo_jax.models.heads import PROJECTORS, build_projector
from histo_jax.models.resnet import ENCODERS, ResNet, build_encoder

__all__ = ["ENCODERS", "PROJECTORS", "ResNet", "build_encoder", "build_projector"]
