"""SimCLR on 324 real patches of 128 pixels, small enough for two CPU cores (docs/real-tissue.md).

python benchmarks/nuclei.py $HISTO_REAL_DATA runs/nuclei

`:grid` is narrower, for grids of dozens of runs.
"""

from ml_collections import ConfigDict


def get_config(size: str = "full") -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict()
    config.data.datasets = (("histo_labelled/nuclei", None),)
    config.data.image_size = 96  # of 128-pixel patches, resized
    config.data.batch_size = 64
    config.augment = ConfigDict()
    config.augment.crop_min = 0.25  # share of the image's area; a nucleus is about 20 pixels wide
    config.model = ConfigDict()
    config.model.width = 8 if size == "grid" else 16
    config.objective = ConfigDict()
    config.objective.temperature = 0.2
    config.optimizer = ConfigDict()
    config.optimizer.base_lr = 4.0  # peak 1: LARS moves a kernel by .1 % of its norm times this
    config.optimizer.warmup_epochs = 4.0
    config.training = ConfigDict()
    config.training.total_steps = 300
    config.training.save_every = 300 if size == "grid" else 100
    return config
