"""Everything once on drawn tissue, by tiny networks: the way is the real one, no number is."""

import importlib
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from histo_jax import files
from histo_jax.data import raw
from histo_jax.data.demo_set import DemoConfig, DemoPatchesConfig
from histo_jax.data.drawn.slides import draw_slides
from histo_jax.data.prepared import open_prepared
from histo_jax.evaluation.floors import shapes
from histo_jax.models import build_encoder
from histo_jax.paper.cells import Setup
from histo_jax.sweeps.run import ROOT
from histo_jax.weights.exporting import state_dict

SIZE, WIDTH, STEPS = 32, 4, 4  # pixels a side, channels of the stem, updates
NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101")
TRAIN = {
    "model.width": WIDTH, "data.image_size": SIZE, "data.batch_size": 16, "data.cache": "raw",
    "augment.placement": "device", "training.total_steps": STEPS, "optimizer.warmup_epochs": 0,
}  # fmt: skip
SCORE = {"image_size": SIZE, "supervised.epochs": 1, "supervised.batch_size": 32}
# Drawn slides, µm a pixel of their tiles: of pretraining, and with classes.
POOL = {"breast": 1.0, "lymph_nodes": 1.0, "prostate": 1.0, "10x": 1.0, "20x": 0.5, "40x": 0.25}
CLASSES = {"bach": 1.0, "nct_crc": 1.0, "breakhis": 1.0, "lymph": 1.0, "gleason2019": 1.0}
PATCHES = ("breastpathq", "bach_seg", "digestpath2019")  # with cellularity and masks
ORGANS = {
    "breast": (
        "histo_wsi/tcga_brca", "histo_wsi/tupac16", "histo_patches/tnbc_nuclei",
        "histo_patches/janowczyk_epi", "histo_patches/janowczyk_mitosis",
        "histo_patches/janowczyk_nuclei", "histo_patches/icpr2014_mitos_atypia",
        "histo_patches/icpr2012_mitos",
    ),
    "lymph_nodes": ("histo_wsi/camelyon16", "histo_wsi/camelyon17"),
    "prostate": ("histo_wsi/tcga_prad", "histo_patches/prostate_mri"),
}  # fmt: skip


def setup(out: Path) -> Setup:
    """What is asked, of what."""
    idc = "histo_patches/idcgrade_databiox"
    names: dict[str, Any] = {s: f"histo_demo/{o}" for o, sets in ORGANS.items() for s in sets}
    names["auto"] = tuple(f"histo_demo/{organ}" for organ in ORGANS)
    names |= {f"{idc}_{m}": f"histo_demo/{m}" for m in ("10x", "20x", "40x")}
    names[idc] = tuple(f"histo_demo/{m}" for m in ("10x", "20x", "40x"))
    names |= {f"{name}/default": f"histo_demo/{name}" for name in CLASSES}
    names |= {f"{name}/default": f"histo_demo_patches/{name}" for name in PATCHES}
    return Setup(
        folder=out, data_dir=str(out / "data"), imagenet=out / "imagenet", slides=out / "slides",
        train={name: str(value) for name, value in TRAIN.items()},
        score={name: str(value) for name, value in SCORE.items()},
        names=names, together=100, repeats=1, draws=2, shares=(0.25, 1.0), clusters=12,
        elbow="4:16:4",
    )  # fmt: skip


def make(out: Path) -> int:
    """Draws the data, runs everything, writes the page; returns the exit status."""
    from histo_jax.paper.__main__ import ITEMS, make, tell

    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiles sooner
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(out.absolute() / "compiled"))
    begun, asked = time.perf_counter(), setup(out)
    draw(Path(asked.data_dir))
    draw_slides(asked.slides, slides=6, tile_size=64, seed=99, palette="classic")
    supervised(asked.imagenet)
    left = make(list(ITEMS), asked)
    tell(list(ITEMS), asked, {"steps": STEPS})
    print(f"time     {time.perf_counter() - begun:,.0f} s")
    return int(left > 0)


def draw(data_dir: Path) -> None:
    """Builds the sets that are not there, and their raw caches."""
    sys.path.append(str(ROOT / "tfds_builders"))
    for builder, config in _configs():
        if not (data_dir / builder / config.name).is_dir():
            module = importlib.import_module(f"{builder}.{builder}_dataset_builder")
            module.Builder(data_dir=data_dir, config=config).download_and_prepare()
        raw.build_raw(open_prepared(data_dir, f"{builder}/{config.name}"), SIZE)


def _configs() -> Iterator[tuple[str, Any]]:
    for seed, (name, mpp) in enumerate((POOL | CLASSES).items()):
        how = {"mpp": mpp, "upsample": mpp < 0.5, "max_tiles": 8, "tile_size": 64}
        yield "histo_demo", DemoConfig(name=name, slides=12, seed=seed, **how)
    for seed, name in enumerate(PATCHES):
        config = DemoPatchesConfig(name=name, patients=3, size=SIZE, seed=seed)
        yield "histo_demo_patches", config


def supervised(folder: Path) -> None:
    """Files that stand for torchvision's: networks nobody trained."""
    for seed, name in enumerate(NETWORKS):
        path = folder / f"{name}-drawn.safetensors"
        if not path.exists():
            empty, rng = shapes(build_encoder(name, width=WIDTH)), np.random.default_rng(seed)
            trees = _weights(empty["params"], rng), _weights(empty["batch_stats"], rng)
            with files.atomic(path) as file:
                file.write(safetensors.numpy.save(state_dict(*trees, name, WIDTH)))


def _weights(empty: dict, rng: np.random.Generator) -> dict:
    """Arrays for shapes: kernels at random, scales and variances one, all else zero."""
    filled = {}
    for name, value in empty.items():
        if isinstance(value, dict):
            filled[name] = _weights(value, rng)
        elif len(value.shape) == 4:
            fan_in = math.prod(value.shape[:3])
            kernel = rng.normal(0, (2 / fan_in) ** 0.5, value.shape)
            filled[name] = kernel.astype(np.float32)
        else:
            filled[name] = np.full(value.shape, name in ("scale", "var"), np.float32)
    return filled
