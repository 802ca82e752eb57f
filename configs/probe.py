"""Linear head and k-NN on frozen features, beside floors (paper, section 5.2 and Table 2).

python eval.py --config configs/probe.py --checkpoint runs/r18 --config.dataset=histo_labelled/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("linear", "knn")
    config.split_by = ("paper", "grouped")
    config.repeats = 3
    config.shift = (0.2,)
    return config
