"""Lymphoma subtypes: 374 images of lymph nodes, three classes."""

import dataclasses

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import LabelledConfig, how_to_get, variants
from histo_jax.data.image_set import LabelledBuilder

one_line_errors()


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(LabelledConfig):
    """Options of lymph: those of labelled images."""

    catalogue: str | None = "lymph"


class Builder(LabelledBuilder):
    """`tfds build tfds_builders/lymph --manual_dir …`"""

    BUILDER_CONFIGS = variants(Config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = how_to_get("lymph")
