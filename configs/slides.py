"""Slides, not tiles: logistic regression on the mean of each slide's features, beside floors.

python eval.py --config configs/slides.py --checkpoint runs/r18 --config.dataset=histo_wsi/mylab
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.protocol = ("slide_mean",)
    config.split_by = ("grouped",)
    config.repeats = 5
    return config
