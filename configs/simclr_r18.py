"""SimCLR, ResNet-18: the recipe the paper selects (Ciga, Xu & Martel 2021, Table D.11).

Paper: mean macro-F1 80.5 over five classification sets, fine-tuned, from about 40,000 images
(Table D.11, 1 % crops, medium jitter); 79.1 from about 400,000 (Table 3). Not reproduced here: the
data can't be shared.
Hardware: the paper used 4 P100. On a small GPU set --config.model.dtype=bfloat16.

    python train.py --config configs/simclr_r18.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.data = ConfigDict()
    config.data.datasets = "auto"  # every prepared unlabelled set, each image once an epoch
    config.data.image_size = 224
    config.data.batch_size = 512  # source images
    config.augment = ConfigDict()
    config.augment.recipe = "ciga2021"
    config.augment.crop_min = 0.01  # share of the image's area
    config.augment.jitter = "medium"
    config.model = ConfigDict()
    config.model.encoder = "resnet18"
    config.objective = ConfigDict()
    config.objective.name = "simclr"
    config.objective.temperature = 0.1
    config.optimizer = ConfigDict()
    config.optimizer.name = "lars"  # peak .6 at 512: the paper's .3 at 256
    config.optimizer.weight_decay = 1e-6
    config.optimizer.warmup_epochs = 10.0  # not stated in the paper; SimCLR's
    config.training = ConfigDict()
    config.training.epochs = 1000
    return config
