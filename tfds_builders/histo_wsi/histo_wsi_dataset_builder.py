"""Tissue tiles of a folder of whole slides."""

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import SlideConfig, catalogued
from histo_jax.data.slide_set import SlideBuilder

one_line_errors()


class Builder(SlideBuilder):
    """`tfds build tfds_builders/histo_wsi --config '{"name": "x", "mpp": 0.5}' --manual_dir …`"""

    BUILDER_CONFIGS = [SlideConfig(name="default", mpp=0.5), *catalogued(SlideConfig)]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "a folder of slides, and if you like slides.csv"
