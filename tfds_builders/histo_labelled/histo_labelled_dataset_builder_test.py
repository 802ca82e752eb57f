"""Two classes of two images."""

import tensorflow_datasets as tfds

from histo_labelled.histo_labelled_dataset_builder import Builder


class HistoLabelledTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["default"]
    SPLITS = {"train": 4}
