"""Drawn tissue, cut like slides."""

import tensorflow_datasets as tfds

from histo_jax.data.build import one_line_errors
from histo_jax.data.demo_set import DemoBuilder, DemoConfig

one_line_errors()


class Builder(DemoBuilder):
    """`tfds build tfds_builders/histo_demo --config default`"""

    VERSION = tfds.core.Version("2.0.0")  # of the drawing
    BUILDER_CONFIGS = [
        DemoConfig(name="default"),
        DemoConfig(name="tiny", slides=24, tile_size=32, max_tiles=9, min_foreground=0.5),
    ]
