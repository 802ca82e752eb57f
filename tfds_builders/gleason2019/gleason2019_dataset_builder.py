"""Gleason 2019: 244 cores of prostate, graded by up to six experts."""

import dataclasses

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import LabelledConfig, how_to_get, variants
from histo_jax.data.image_set import LabelledBuilder

one_line_errors()


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(LabelledConfig):
    """Options of gleason2019: those of labelled images."""

    catalogue: str | None = "gleason2019"


class Builder(LabelledBuilder):
    """`tfds build tfds_builders/gleason2019 --manual_dir …`"""

    BUILDER_CONFIGS = variants(Config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = how_to_get("gleason2019")
