"""Systems on one network (paper, Table E.12).

Paper: ResNet-50, 1 % of its data. Its row of CPC v2 repeats another table's (ImageNet, ResNet-34),
so that number is not trusted here. The network of CPC has layer norm, the others batch norm.

python -m histo_jax.sweeps configs/paper/systems.py --dry-run
python -m histo_jax.sweeps configs/paper/systems.py:demo      # ResNet-18 on drawn tissue
python -m histo_jax.sweeps configs/paper/systems.py:nuclei    # benchmarks/nuclei.py has the patches
python -m histo_jax.paper "Table E.12"
"""

SYSTEMS = {
    "SimCLR": {
        "recipe": "configs/simclr_r18.py",
        "model.encoder": "resnet50",
        "data.percent": 1,
    },
    "CPC v2": {"recipe": "configs/cpc.py"},
    "colorization": {"recipe": "configs/colorization.py"},
    "autoencoder": {"recipe": "configs/autoencoder.py"},
}
SMALL = {
    "SimCLR": {},
    "CPC v2": {"objective.name": "cpc", "model.encoder": "resnet18_ln"},
    "colorization": {"objective.name": "colorization"},
    "colorization, classes": {"objective.name": "colorization", "objective.colours": "bins"},
    "autoencoder": {"objective.name": "autoencoder"},
    "autoencoder, narrow": {"objective.name": "autoencoder", "objective.skips": False},
}
OPTIMIZERS = {  # the rates of demo.py, chosen there for SimCLR
    "Adam": {"optimizer.name": "adam", "optimizer.base_lr": 2e-3},
    "LARS": {"optimizer.name": "lars", "optimizer.base_lr": 4.0},
}


def get_sweep(tissue: str = "paper") -> dict:
    if tissue == "demo":
        return {
            "recipe": "configs/demo.py:grid",
            "axes": {"system": SMALL, "optimizer": OPTIMIZERS},
            "fields": {"data.image_size": 64},  # U-Nets halve it five times
            "scores": "demo",
        }
    if tissue == "nuclei":
        return {
            "recipe": "configs/nuclei.py:grid",
            "axes": {"system": SMALL},
            "fields": OPTIMIZERS["Adam"],
            "scores": "nuclei",
        }
    return {
        "recipe": "configs/simclr_r18.py",
        "axes": {"system": SYSTEMS},
        "scores": "paper",
        "paper": {"SimCLR": 76.9, "colorization": 66.5, "autoencoder": 30.2},
    }
