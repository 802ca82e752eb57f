"""Tissue drawn on the spot."""

import tensorflow_datasets as tfds

from histo_demo_patches.histo_demo_patches_dataset_builder import Builder


class HistoDemoPatchesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["tiny"]
    SPLITS = {"train": 162}  # 3 patients, 6 classes, 9 patches
