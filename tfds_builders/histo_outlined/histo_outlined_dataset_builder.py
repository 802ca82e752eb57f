"""Tiles of slides with the masks of regions outlined on them."""

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import catalogued
from histo_jax.data.outlined_set import OutlinedBuilder, OutlinedConfig

one_line_errors()


class Builder(OutlinedBuilder):
    """`tfds build tfds_builders/histo_outlined --config bach_seg --manual_dir …`"""

    BUILDER_CONFIGS = catalogued(OutlinedConfig)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "slides with outlines in XML: python -m histo_jax.catalogue"

    def _generate_examples(self, split):
        return self.records(split)
