"""Encoders and heads; the only room that knows flax."""

from histo_jax.models.heads import PROJECTORS, build_projector
from histo_jax.models.resnet import ENCODERS, PARTS, ResNet, build_encoder
from histo_jax.models.unet import UNet, build_unet

__all__ = [
    "ENCODERS", "PARTS", "PROJECTORS", "ResNet", "UNet", "build_encoder", "build_projector",
    "build_unet",
]  # fmt: skip
