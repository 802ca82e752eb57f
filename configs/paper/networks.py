"""Four networks (paper, Tables 1, 2, D.7 and D.8, Figs. 3 and 4).

Paper: ResNet-18, -34, -50 and -101 after SimCLR; of how much data it doesn't say, its other tables
tell that it is 1 % of the pool. Beside them it has the same networks untrained and from ImageNet,
which only the second command adds. Hardware: four P100 there.

    python -m histo_jax.sweeps configs/paper/networks.py --dry-run
    python -m histo_jax.paper "Table 1" "Fig. 3" --imagenet weights/
"""

PAPER = {18: 77.0, 34: 77.9, 50: 76.9, 101: 76.2}


def get_sweep() -> dict:
    return {
        "recipe": "configs/simclr_r18.py",
        "axes": {
            "network": {f"ResNet-{depth}": {"model.encoder": f"resnet{depth}"} for depth in PAPER}
        },
        "fields": {"data.percent": 1.0},
        "scores": "paper",
        "paper": {f"ResNet-{depth}": score for depth, score in PAPER.items()},
    }
