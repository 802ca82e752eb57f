"""Smallest crop x strength of colour jitter (paper, Table D.11 and Fig. C.7).

Paper: ResNet-18, about 40,000 images (1 % of the pool), LARS, batch 512, temperature 0.1; 80.5 from
1 % crops with medium jitter. Its cells 25 % light and 25 % medium are copies of Table C.6's.
Hardware: four P100 there.

    python -m histo_jax.sweeps configs/paper/crop_jitter.py --dry-run
    python -m histo_jax.sweeps configs/paper/crop_jitter.py:demo      # drawn tissue
    python -m histo_jax.sweeps configs/paper/crop_jitter.py:nuclei    # real patches
    python -m histo_jax.paper "Table D.11" "Fig. C.7"
"""

JITTER = ("none", "light", "medium", "heavy")
PAPER = {
    "0.01": (76.8, 79.7, 80.5, 77.0),
    "0.05": (77.5, 79.9, 79.6, 76.8),
    "0.25": (68.6, None, None, 75.2),
}


def get_sweep(tissue: str = "paper") -> dict:
    sweep = {
        "recipe": "configs/simclr_r18.py",
        "axes": {"augment.crop_min": tuple(map(float, PAPER)), "augment.jitter": JITTER},
        "fields": {"data.percent": 1},
        "scores": "paper",
        "paper": {
            f"{crop} / {jitter}": score
            for crop, row in PAPER.items()
            for jitter, score in zip(JITTER, row, strict=True)
            if score is not None
        },
    }
    if tissue in ("demo", "nuclei"):
        small = {"recipe": f"configs/{tissue}.py:grid", "scores": tissue, "fields": {}, "paper": {}}
        sweep |= small
    return sweep
