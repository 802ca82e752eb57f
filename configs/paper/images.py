"""How many images (paper, Table 3 and D.10).

Paper: ResNet-18; its 0.01 % are ten images of each set. Its numbers of images don't follow from its
own rule (docs/training.md).

    python -m histo_jax.sweeps configs/paper/images.py --dry-run
    python -m histo_jax.sweeps configs/paper/images.py:demo      # drawn tissue, equal steps
    python -m histo_jax.paper "Table 3" "Table D.10"
"""


def get_sweep(tissue: str = "paper") -> dict:
    if tissue == "demo":
        shares = (10.0, 25.0, 50.0, 100.0)  # of 1,158 tiles
        sets = {"recipe": "configs/demo.py:grid", "scores": "demo"}
        return sets | {"axes": {"data.percent": shares}, "fields": {"optimizer.warmup_epochs": 0}}
    return {
        "recipe": "configs/simclr_r18.py",
        "axes": {"data.percent": (0.01, 0.1, 1.0, 10.0)},
        "scores": "paper",
        "paper": {"0.01": 66.5, "0.1": 73.9, "1.0": 77.0, "10.0": 79.1},
    }
