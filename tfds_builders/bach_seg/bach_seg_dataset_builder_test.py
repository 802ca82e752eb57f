"""One small drawn slide with outlines."""

import tensorflow_datasets as tfds

from bach_seg.bach_seg_dataset_builder import Builder, Config


class BachSegTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [Config(name="dummy", tile_size=32)]
    SPLITS = {"train": 16}
