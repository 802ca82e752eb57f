"""BACH, part A: 400 breast images of 2048x1536 pixels, four classes."""

import dataclasses

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import LabelledConfig, how_to_get, variants
from histo_jax.data.image_set import LabelledBuilder

one_line_errors()


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(LabelledConfig):
    """Options of bach: those of labelled images."""

    catalogue: str | None = "bach"


class Builder(LabelledBuilder):
    """`tfds build tfds_builders/bach --manual_dir …`"""

    BUILDER_CONFIGS = variants(Config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = how_to_get("bach")
