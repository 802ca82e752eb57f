"""A U-Net on the encoder, trained with masks (paper, Table 1), beside colour alone.

Paper, ResNet-18, mean macro-F1 of two sets: 74.0 from SimCLR, 73.5 from ImageNet, 59 from random.

python eval.py --config configs/segment.py --checkpoint runs/r18 \\
  --config.dataset=histo_labelled/mymasks
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("segment",)
    config.split_by = ("paper", "grouped")
    config.init = ("random", "constant", "otsu", "colour_pixels")
    config.repeats = 3
    config.supervised = ConfigDict()
    config.supervised.batch_size = 16  # the paper's 128 of 1,024 pixels fit in no memory
    return config
