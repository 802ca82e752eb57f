"""Colorization, one of the paper's comparisons (Ciga, Xu & Martel 2021, appendix E, Table E.12).

Paper: mean macro-F1 66.5 over five classification sets, fine-tuned, ResNet-50, 1 % of its data
(SimCLR 76.9). It paints RGB from gray; `configs/colorization.py:bins` chooses among 261 colours, as
Zhang, Isola & Efros (2016), whom it cites.

    python train.py --config configs/colorization.py
"""

from ml_collections import ConfigDict


def get_config(colours: str = "rgb") -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict()
    config.data.percent = 1.0  # of each set, as in the paper's table
    config.data.batch_size = 128  # not stated, as the rate
    config.augment = ConfigDict()
    config.augment.crop_min = 0.25  # share of the image's area; colours stay as they are
    config.model = ConfigDict()
    config.model.encoder = "resnet50"
    config.objective = ConfigDict()
    config.objective.name = "colorization"
    config.objective.colours = colours
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.training = ConfigDict()
    config.training.epochs = 1000
    return config
