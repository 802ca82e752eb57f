"""Runs the builders of tfds_builders/ in this process, and draws what they read."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from histo_jax.data.drawn import slides, stain
from histo_jax.data.folders import Item
from histo_jax.data.log import Log
from histo_jax.data.prepared import Prepared, open_prepared

BUILDERS = Path(__file__).resolve().parents[1] / "tfds_builders"


def builder(
    name: str, data_dir: Path, /, config: str | None = None, **options: Any
) -> tfds.core.DatasetBuilder:
    """By a config's name, or by options."""
    if str(BUILDERS) not in sys.path:
        sys.path.append(str(BUILDERS))
    module = importlib.import_module(f"{name}.{name}_dataset_builder")
    kind = type(module.Builder.BUILDER_CONFIGS[0])
    return module.Builder(data_dir=data_dir, config=config or kind(**options))


def build(
    name: str, folder: Path | None, data_dir: Path, how: dict | None = None, /, **options: Any
) -> Prepared:
    """What `tfds build` does; `how` goes to `DownloadConfig`."""
    made = builder(name, data_dir, **options)
    made.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder, **(how or {}))
    )
    return open_prepared(data_dir, made.title)


def read(
    name: str, folder: Path, data_dir: Path, /, config: str | None = None, **options: Any
) -> tuple[list[Item], list[dict], dict]:
    """What a build finds and the records it makes, without writing them: items, records, summary."""
    made = builder(name, data_dir, config, **options)
    made._plan = plan = made._survey(folder)
    made.log = Log(made.work, made.UNIT, len(plan.items), made.names)
    made.prepare(plan)
    records = list(made.examples(plan.items))
    return plan.items, records, made.log.summary()


def overwrite() -> dict:
    """`how` of `--overwrite`."""
    return {"download_mode": tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS}


def tissue(number: int, side: int) -> np.ndarray:
    """Stroma from edge to edge, another patient's for every number: uint8 [side, side, 3]."""
    patient, rng = stain.draw_patient(0, number), np.random.default_rng(number)
    canvas = slides.canvas_of("stroma", side, patient, rng)
    return stain.develop(canvas.haematoxylin, canvas.eosin, patient, rng)


def picture(number: int, side: int = 48) -> Image.Image:
    """Drawn tissue, another one for every number."""
    return Image.fromarray(tissue(number, side))


def slide(path: Path, number: int, side: int = 256) -> None:
    """A drawn slide: 0.5 µm per pixel, so 2 x 2 tiles of 64 at 1 µm."""
    slides.write_slide(path, tissue(number, side))


def decoded(prepared: Prepared) -> dict[str, dict]:
    """Every record by key, read by TFDS alone."""
    read_only = tfds.builder_from_directory(prepared.path)
    examples = {}
    for split in read_only.info.splits:
        for example in tfds.as_numpy(read_only.as_dataset(split=split)):
            assert isinstance(example["image"], np.ndarray)
            examples[example["key"].decode()] = example
    return examples
