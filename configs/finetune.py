"""The whole network trained with the labels (paper, Table 1 and Fig. 3), beside one untrained.

Paper, ResNet-18, mean macro-F1 over five sets: 77.0 from SimCLR, 66.7 from ImageNet, 55.7 from
random. Rate and augmentation are not stated there; here 1e-4, turns and flips.

python eval.py --config configs/finetune.py --checkpoint runs/r18 \\
  --config.dataset=histo_labelled/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("finetune",)
    config.split_by = ("paper", "grouped")
    config.init = ("random",)
    config.repeats = 3
    return config
