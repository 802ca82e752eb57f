"""Optimiser x temperature (paper, Table C.6).

Paper: ResNet-18, light jitter; the smallest crop is not stated there, other batch sizes are not
printed. LAMB's rate follows its formula, 0.005 at 512 images.

    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py --dry-run
    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py:demo      # drawn tissue
"""

OPTIMIZERS = {
    "lars": {"optimizer.name": "lars", "optimizer.base_lr": 0.3},
    "lamb": {"optimizer.name": "lamb", "optimizer.base_lr": 0.005},
}
ON_DEMO = {  # above the paper's rates: 600 steps of 64 images are few
    "lars": {"optimizer.name": "lars", "optimizer.base_lr": 2.0},
    "lamb": {"optimizer.name": "lamb", "optimizer.base_lr": 0.01},
    "adam": {"optimizer.name": "adam", "optimizer.base_lr": 0.002},
}
PAPER = {"lars": (72.2, 73.9, 70.4), "lamb": (70.8, 71.8, 70.8)}
TEMPERATURES = (0.05, 0.1, 0.5)


def get_sweep(tissue: str = "paper") -> dict:
    sweep = {
        "recipe": "configs/simclr_r18.py",
        "axes": {"optimizer": OPTIMIZERS, "objective.temperature": TEMPERATURES},
        "fields": {"data.percent": 1, "augment.jitter": "light"},
        "scores": "paper",
        "paper": {
            f"{name} / {temperature}": score
            for name, row in PAPER.items()
            for temperature, score in zip(TEMPERATURES, row, strict=True)
        },
    }
    if tissue == "demo":
        axes = {"optimizer": ON_DEMO, "objective.temperature": TEMPERATURES}
        demo = {"recipe": "configs/demo.py:grid", "scores": "demo", "fields": {}, "paper": {}}
        sweep |= demo | {"axes": axes}
    return sweep
