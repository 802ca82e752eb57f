"""Encoders and heads; the only room that knows flax."""

from histo_jax.models.context import Context
from histo_jax.models.heads import PROJECTORS, build_projector
from histo_jax.models.resnet import ENCODERS, LAYER_NORM, PARTS, ResNet, architecture, build_encoder
from histo_jax.models.unet import UNet, build_unet, check_side

__all__ = [
    "ENCODERS", "LAYER_NORM", "PARTS", "PROJECTORS", "Context", "ResNet", "UNet", "architecture",
    "build_encoder", "build_projector", "build_unet", "check_side",
]  # fmt: skip
