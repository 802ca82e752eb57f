"""Optimiser x temperature x batch (paper, Appendix C and Table C.6).

Paper: ResNet-18, light jitter; the smallest crop is not stated there. Table C.6 prints two
optimisers at three temperatures, `:all` is what the text says was compared. Rates are the paper's.

    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py --dry-run
    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py:all --dry-run
    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py:demo      # drawn tissue
    python -m histo_jax.sweeps configs/paper/optimizer_temperature.py:nuclei    # real ones
    python -m histo_jax.paper "Table C.6"
"""

TEMPERATURES = (0.05, 0.1, 0.5)
PAPER = {"lars": (72.2, 73.9, 70.4), "lamb": (70.8, 71.8, 70.8)}
ALL = {
    "optimizer.name": ("adam", "lars", "lamb"),
    "objective.temperature": (0.05, 0.1, 0.5, 1.0, 2.0, 10.0),
    "data.batch_size": (128, 256, 512),
}
SMALL = {  # 300 steps of 64 are few: rates chosen on the demo's validation, docs/findings.md
    "lars": {"optimizer.name": "lars", "optimizer.base_lr": 4.0},
    "lamb": {"optimizer.name": "lamb", "optimizer.base_lr": 0.03},
    "adam": {"optimizer.name": "adam", "optimizer.base_lr": 0.002},
}


def get_sweep(which: str = "printed") -> dict:
    if which in ("demo", "nuclei"):
        axes = {"optimizer": SMALL, "objective.temperature": TEMPERATURES}
        return {"recipe": f"configs/{which}.py:grid", "axes": axes, "scores": which}
    printed = {"optimizer.name": tuple(PAPER), "objective.temperature": TEMPERATURES}
    sweep = {
        "recipe": "configs/simclr_r18.py",
        "axes": ALL if which == "all" else printed,
        "fields": {"data.percent": 1, "augment.jitter": "light"},
        "scores": "paper",
    }
    if which == "printed":
        sweep["paper"] = {
            f"{name} / {temperature}": score
            for name, row in PAPER.items()
            for temperature, score in zip(TEMPERATURES, row, strict=True)
        }
    return sweep
