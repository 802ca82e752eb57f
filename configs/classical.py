"""Classical learners on frozen features: the uses the paper names in section 5.3.

python eval.py --config configs/classical.py --checkpoint runs/r18 \\
  --config.dataset=histo_labelled/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("logistic", "svm", "forest", "tree", "selected")
    config.split_by = ("paper", "grouped")
    config.repeats = 3
    return config
