"""Several encoders by every protocol on frozen features, in one table and picture.

python eval.py --config configs/compare.py --checkpoint ours=runs/r18 \\
  --checkpoint imagenet:resnet50.pth --checkpoint theirs=features.h5 --out compared \\
  --config.dataset=histo_labelled/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("linear", "knn", "logistic", "svm", "forest")
    config.split_by = ("paper", "grouped")
    config.repeats = 5  # the fewest for a test seed by seed
    config.shift = (0.2,)
    return config
