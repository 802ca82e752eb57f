"""Drawn patches with all that can be said about them."""

import tensorflow_datasets as tfds

from histo_jax.data.build import one_line_errors
from histo_jax.data.demo_set import DemoPatchesBuilder, DemoPatchesConfig

one_line_errors()


class Builder(DemoPatchesBuilder):
    """`tfds build tfds_builders/histo_demo_patches --config default`"""

    VERSION = tfds.core.Version("2.0.0")  # of the drawing
    BUILDER_CONFIGS = [
        DemoPatchesConfig(name="default"),
        DemoPatchesConfig(name="tiny", patients=3, size=32),
    ]
