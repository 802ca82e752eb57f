"""Tissue drawn on the spot."""

import tensorflow_datasets as tfds

from histo_demo.histo_demo_dataset_builder import Builder


class HistoDemoTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["tiny"]
    SPLITS = {"train": 213}  # 24 slides of at most 9 tiles
