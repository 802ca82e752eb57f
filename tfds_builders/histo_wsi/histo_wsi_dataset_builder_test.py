"""One small drawn slide, and a web page that calls itself one."""

import tensorflow_datasets as tfds

from histo_jax.data.config import SlideConfig
from histo_wsi.histo_wsi_dataset_builder import Builder


class HistoWsiTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [
        SlideConfig(name="dummy", mpp=1.0, tile_size=32, min_foreground=0.1)
    ]
    SPLITS = {"train": 4}  # of 2 x 2; broken.svs is counted and left out
