"""From which organ (paper, Table 5): about 4,000 images each.

python -m histo_jax.sweeps configs/paper/tissue.py --dry-run
python -m histo_jax.paper "Table 5"
"""

SETS = {
    "breast": (
        "histo_wsi/tcga_brca", "histo_wsi/tupac16", "histo_patches/tnbc_nuclei",
        "histo_patches/janowczyk_epi", "histo_patches/janowczyk_mitosis",
        "histo_patches/janowczyk_nuclei", "histo_patches/icpr2014_mitos_atypia",
        "histo_patches/icpr2012_mitos",
    ),
    "lymph": ("histo_wsi/camelyon16", "histo_wsi/camelyon17"),
    "prostate": ("histo_wsi/tcga_prad", "histo_patches/prostate_mri"),
}  # fmt: skip


def get_sweep() -> dict:
    organs = {
        organ: {"data.datasets": str(tuple((name, None) for name in names))}
        for organ, names in SETS.items()
    }
    return {
        "recipe": "configs/simclr_r18.py",
        "axes": {"organ": organs},
        "fields": {"data.percent": 100},  # at most 2,000 images a set
        "scores": "paper",
        "paper": {"breast": 72.2, "lymph": 70.6, "prostate": 71.0},
    }
