"""Runs the builders of tfds_builders/ in this process, and draws what they read."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from histo_jax.data import config, drawn
from histo_jax.data.prepared import Prepared, open_prepared

BUILDERS = Path(__file__).resolve().parents[1] / "tfds_builders"
CONFIGS = {
    "histo_wsi": config.SlideConfig,
    "histo_patches": config.ImageConfig,
    "histo_labelled": config.LabelledConfig,
    "histo_demo": config.DemoConfig,
}


def builder(name: str, data_dir: Path, /, **options: Any) -> tfds.core.DatasetBuilder:
    if str(BUILDERS) not in sys.path:
        sys.path.append(str(BUILDERS))
    module = importlib.import_module(f"{name}.{name}_dataset_builder")
    return module.Builder(data_dir=data_dir, config=CONFIGS[name](**options))


def build(
    name: str, folder: Path | None, data_dir: Path, how: dict | None = None, /, **options: Any
) -> Prepared:
    """What `tfds build` does; `how` goes to `DownloadConfig`."""
    made = builder(name, data_dir, **options)
    made.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder, **(how or {}))
    )
    return open_prepared(data_dir, f"{name}/{options['name']}")


def overwrite() -> dict:
    """`how` of `--overwrite`."""
    return {"download_mode": tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS}


def picture(number: int, side: int = 48) -> Image.Image:
    """Drawn tissue, another one for every number."""
    patient = drawn.draw_patient(0, number)
    return Image.fromarray(drawn.draw("stroma", side, patient, (number,)))


def slide(path: Path, number: int, side: int = 256) -> None:
    """A drawn slide: 0.5 µm per pixel, so 2 x 2 tiles of 64 at 1 µm."""
    patient = drawn.draw_patient(0, number)
    drawn.write_slide(path, drawn.draw("stroma", side, patient, (number,)))


def decoded(prepared: Prepared) -> dict[str, dict]:
    """Every record by key, read by TFDS alone."""
    read_only = tfds.builder_from_directory(prepared.path)
    examples = {}
    for split in read_only.info.splits:
        for example in tfds.as_numpy(read_only.as_dataset(split=split)):
            assert isinstance(example["image"], np.ndarray)
            examples[example["key"].decode()] = example
    return examples
