"""Drawn tissue, cut like slides."""

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import DemoConfig
from histo_jax.data.slide_set import DemoBuilder

one_line_errors()


class Builder(DemoBuilder):
    """`tfds build tfds_builders/histo_demo --config default`"""

    BUILDER_CONFIGS = [
        DemoConfig(name="default"),
        DemoConfig(name="tiny", slides=24, tile_size=32, max_tiles=9),
    ]

    def _generate_examples(self, split):
        return self.records(split)
