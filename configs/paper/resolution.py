"""At which resolution (paper, Table 4 and D.9): IDCGrade, one set at three magnifications.

Build `histo_patches` with the variants 10x, 20x, 40x of idcgrade_databiox, and the whole:
`python -m histo_jax.catalogue idcgrade_databiox` has the commands.

    python -m histo_jax.sweeps configs/paper/resolution.py --dry-run
    python -m histo_jax.paper "Table 4" "Table D.9"
"""

NAME = "histo_patches/idcgrade_databiox"


def get_sweep() -> dict:
    parts = {f"{m}x": f"{NAME}_{m}x" for m in (10, 20, 40)} | {"10x, 20x, 40x": NAME}
    return {
        "recipe": "configs/simclr_r18.py",
        "axes": {
            "magnification": {
                label: {"data.datasets": f"(('{name}', None),)", "data.batch_size": 128}
                for label, name in parts.items()
            }
        },
        "scores": "paper",
        "paper": {"10x": 61.0, "20x": 60.5, "40x": 65.4, "10x, 20x, 40x": 67.0},
    }
