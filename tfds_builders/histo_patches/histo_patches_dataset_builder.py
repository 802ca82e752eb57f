"""A folder of images without labels."""

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import ImageConfig, catalogued
from histo_jax.data.image_set import ImageBuilder

one_line_errors()


class Builder(ImageBuilder):
    """`tfds build tfds_builders/histo_patches --config '{"name": "mylab"}' --manual_dir images/`"""

    BUILDER_CONFIGS = [ImageConfig(name="default"), *catalogued(ImageConfig)]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "a folder of PNG, JPEG or TIFF images"
