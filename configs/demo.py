"""A run small enough for two CPU cores, on drawn tissue (docs/demo.md has its scores).

tfds build tfds_builders/histo_demo --config default
python train.py --config configs/demo.py
python eval.py --config configs/probe.py --checkpoint runs/demo --config.dataset=histo_demo/default

`--config configs/demo.py:long` trains longer: under an hour on two cores. `:grid` is the smallest,
for grids of dozens of runs.
"""

from ml_collections import ConfigDict

STEPS = {"short": 600, "long": 4000, "grid": 300}


def get_config(length: str = "short") -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict()
    config.data.datasets = (("histo_demo/default", None),)
    config.data.image_size = 72  # 2 x 2 positions are left of 64 in layer4: slow on a CPU
    config.data.batch_size = 64
    config.augment = ConfigDict()
    config.augment.crop_min = 0.5  # tiles are 72 µm wide: less loses the gland
    config.model = ConfigDict()
    config.model.width = 8 if length == "grid" else 16
    config.objective = ConfigDict()
    config.objective.temperature = 0.5
    config.optimizer = ConfigDict()
    config.optimizer.name = "lars" if length == "grid" else "adam"
    config.optimizer.base_lr = 4.0 if length == "grid" else 2e-3  # chosen on validation
    config.optimizer.warmup_epochs = 2.0
    config.training = ConfigDict()
    config.training.total_steps = STEPS[length]
    config.training.save_every = STEPS[length] // 4
    if length != "grid":
        config.probe = ConfigDict()
        config.probe.dataset = "histo_demo/default"
        config.probe.every = STEPS[length] // 6
    return config
