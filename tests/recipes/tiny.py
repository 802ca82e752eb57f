"""A recipe that compiles in seconds, for tests of the commands."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "data": {
                "datasets": (("histo_demo/tiny", None),),
                "image_size": 32,
                "batch_size": 16,
            },
            "augment": {"crop_min": 0.25},
            "model": {"encoder": "resnet_tiny", "width": 8},
            "optimizer": {"warmup_epochs": 0.5},
            "training": {"total_steps": 20, "save_every": 5, "log_every": 1},
        }
    )
