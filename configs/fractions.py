"""Frozen features with few labels: Fig. 4 of the paper, five draws of each share.

Paper: curves only, no numbers. All draws share one split; their labels are nested.

python eval.py --config configs/fractions.py --checkpoint runs/r18 \\
  --checkpoint imagenet:resnet18.pth --config.dataset=histo_labelled/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("linear",)
    config.split_by = ("grouped", "paper")
    config.fractions = (0.05, 0.1, 0.2, 0.5, 1.0)
    config.repeats = 5
    config.one_split = True
    return config
