"""NCT-CRC-HE-100K and CRC-VAL-HE-7K: 107,180 colorectal tiles of 224 pixels, nine classes."""

import dataclasses

from histo_jax.data.build import one_line_errors
from histo_jax.data.config import LabelledConfig, how_to_get, variants
from histo_jax.data.image_set import LabelledBuilder

one_line_errors()


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(LabelledConfig):
    """Options of nct_crc: those of labelled images."""

    catalogue: str | None = "nct_crc"


class Builder(LabelledBuilder):
    """`tfds build tfds_builders/nct_crc --manual_dir …`"""

    BUILDER_CONFIGS = variants(Config)
    MANUAL_DOWNLOAD_INSTRUCTIONS = how_to_get("nct_crc")
