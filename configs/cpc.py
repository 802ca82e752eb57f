"""CPC v2, one of the paper's comparisons (Ciga, Xu & Martel 2021, appendix E, Table E.12).

Paper: mean macro-F1 68.2 over five classification sets, fine-tuned, ResNet-50, 1 % of its data
(SimCLR 76.9); that row repeats another of its tables. Patches of 56 pixels every 28 of an image of
224. The encoder has layer norm, so batch-norm weights don't fit it.

    python train.py --config configs/cpc.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict()
    config.data.percent = 1.0  # of each set, as in the paper's table
    config.data.batch_size = 128  # source images, 49 patches each; not stated, as the rate
    config.augment = ConfigDict()
    config.augment.crop_min = 0.5  # share of the image's area, before it is cut
    config.model = ConfigDict()
    config.model.encoder = "resnet50_ln"
    config.objective = ConfigDict()
    config.objective.name = "cpc"
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.training = ConfigDict()
    config.training.epochs = 1000
    return config
