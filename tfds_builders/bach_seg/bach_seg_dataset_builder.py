"""BACH, part B: 10 breast slides with outlined regions, as squares of 1024 pixels with masks."""

import dataclasses

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import how_to_get, variants
from histo_jax.data.outlined_set import OutlinedBuilder, OutlinedConfig

one_line_errors()


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(OutlinedConfig):
    """Options of bach_seg: those of slides."""

    catalogue: str | None = "bach_seg"


class Builder(OutlinedBuilder):
    """`tfds build tfds_builders/bach_seg --manual_dir …`"""

    BUILDER_CONFIGS = variants(Config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = how_to_get("bach_seg")
