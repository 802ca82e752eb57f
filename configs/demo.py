"""A run small enough for two CPU cores, on drawn tissue: shows that the path works, no more.

tfds build tfds_builders/histo_demo --config default
python train.py --config configs/demo.py
python eval.py --config configs/probe.py --checkpoint runs/demo --config.dataset=histo_demo/default
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict()
    config.data.datasets = (("histo_demo/default", None),)
    config.data.image_size = 64
    config.data.batch_size = 64
    config.augment = ConfigDict()
    config.augment.crop_min = 0.25
    config.model = ConfigDict()
    config.model.width = 16
    config.objective = ConfigDict()
    config.objective.temperature = 0.2
    config.optimizer = ConfigDict()
    config.optimizer.base_lr = 4.0  # peak 1: LARS moves a kernel by .1 % of its norm times this
    config.optimizer.warmup_epochs = 1.0
    config.training = ConfigDict()
    config.training.total_steps = 200
    config.training.save_every = 50
    return config
