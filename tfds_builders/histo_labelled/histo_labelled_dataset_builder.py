"""A folder of images with classes, targets or masks."""

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import LabelledConfig
from histo_jax.data.image_set import LabelledBuilder

one_line_errors()


class Builder(LabelledBuilder):
    """`tfds build tfds_builders/histo_labelled --config '{"name": "mylab"}' --manual_dir …`"""

    BUILDER_CONFIGS = [LabelledConfig(name="default")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "images in class folders, or with labels.csv, or with masks/"
