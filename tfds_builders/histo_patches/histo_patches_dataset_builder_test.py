"""Two images, and one that does not decode."""

import tensorflow_datasets as tfds

from histo_patches.histo_patches_dataset_builder import Builder


class HistoPatchesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["default"]
    SPLITS = {"train": 2}  # broken.png is counted and left out
