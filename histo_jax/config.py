"""Every option of a run as frozen dataclasses; recipes and flags come in here, checked."""

import ast
import dataclasses
import difflib
import importlib.util
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_jax.errors import HistoError


@dataclasses.dataclass(frozen=True)
class Data:
    """What is read."""

    dir: str | None = None  # prepared data; None = TFDS_DATA_DIR, else TFDS's default
    datasets: str | tuple = (
        "auto"  # ((name or glob, weight or None), …); "auto" = all unlabelled sets
    )
    split: str = "train"
    image_size: int = 224  # pixels a side of the stored image as read
    batch_size: int = 512  # source images a step, over all devices and processes
    cache: str = "none"  # none = decode TFRecords | raw = memory-mapped uint8


@dataclasses.dataclass(frozen=True)
class Augment:
    """How two views are made of an image (paper, section 4.1 and appendix C)."""

    recipe: str = "ciga2021"  # ciga2021 | simclr
    crop_min: float | None = None  # smallest crop, share of the image's area; None = the recipe's
    jitter: str | None = None  # none | light | medium | heavy; None = the recipe's
    placement: str = "auto"  # host = inside tf.data | device = inside the step | auto


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    encoder: str = "resnet18"
    width: int = 64  # channels of the stem
    projector: str = "google_v1"  # google_v1 | plain
    dtype: str = "float32"  # of the computation; parameters are float32 always


@dataclasses.dataclass(frozen=True)
class Objective:
    """The pretext task."""

    name: str = "simclr"
    temperature: float = 0.1


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """LARS with linear warm-up and cosine decay."""

    name: str = "lars"
    base_lr: float = 0.3  # at 256 images a batch; the peak is base_lr * batch_size / 256
    weight_decay: float = 1e-6
    warmup_epochs: float = 10.0


@dataclasses.dataclass(frozen=True)
class Training:
    """The loop."""

    epochs: int = 1000
    total_steps: int | None = None  # instead of epochs
    save_every: int = 1000  # steps
    log_every: int = 10  # steps
    mapper: str = "pmap"  # pmap | shard_map
    on_change: str = "refuse"  # refuse | accept: a work directory made with other options or data


@dataclasses.dataclass(frozen=True)
class Config:
    """One pretraining run."""

    seed: int = 0
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()


@dataclasses.dataclass(frozen=True)
class EvalData:
    """Where the labelled set is."""

    dir: str | None = None  # prepared data; None = TFDS_DATA_DIR, else TFDS's default


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """One evaluation of a frozen encoder."""

    seed: int = 0  # of the first repeat; repeat r uses seed + r
    data: EvalData = EvalData()
    protocol: str = "linear"  # linear head (classes or target) and k-NN
    dataset: str = ""  # prepared name, "histo_labelled/mylab"
    split_by: tuple = ("paper", "grouped")
    init: tuple = (
        "random",
        "random_calibrated",
        "colour_histogram",
        "mean_rgb",
        "texture",
    )  # floors
    layer: str = "pooled"  # stem | layer1 … layer4 | pooled
    repeats: int = 3  # seeds of split and head
    image_size: int | None = None  # pixels a side; None = as pretrained
    batch_size: int = 128  # images a forward pass


def load(schema: type, recipe: str, flags: Sequence[str] = ()) -> Any:
    """Reads a recipe, applies `--config.field=value` flags, and checks every name and type.

    Args:
      schema: `Config` or `EvalConfig`.
      recipe: `file.py` or `file.py:argument`; the file defines `get_config`.
      flags: what follows on the command line, `--config.a.b=1` or `--config.a.b 1`.

    Raises:
      HistoError: an unknown field (with the nearest known one), a wrong type, no such file.
    """
    values = _recipe_values(recipe)
    for name, text in _pairs(flags):
        where = values
        *parents, last = name.split(".")
        for parent in parents:
            where = where.setdefault(parent, {})
            if not isinstance(where, dict):
                raise HistoError(f"--config.{name}", "config", f"{parent} has no fields")
        where[last] = _literal(text)
    return from_values(schema, values)


def from_values(schema: type, values: dict, prefix: str = "") -> Any:
    """Builds a frozen dataclass from nested dicts; missing fields keep their default."""
    hints = typing.get_type_hints(schema)
    checked = {}
    for name, value in values.items():
        path = f"config.{prefix}{name}"
        if name not in hints:
            raise HistoError(path, "config", "no such field", _did_you_mean(schema, prefix, name))
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise HistoError(path, "config", f"wants fields, got {value!r}")
            checked[name] = from_values(hints[name], value, f"{prefix}{name}.")
        else:
            checked[name] = _typed(path, value, hints[name])
    return schema(**checked)


def _recipe_values(recipe: str) -> dict:
    file, _, argument = recipe.partition(":")
    if not Path(file).is_file():
        raise HistoError(file, "missing", "no such recipe", "see configs/")
    spec = importlib.util.spec_from_file_location("recipe", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(argument) if argument else module.get_config()
    except Exception as error:  # a recipe is a program: whatever it raises is about that file
        what = f"the recipe failed: {type(error).__name__}: {error}"
        raise HistoError(recipe, "config", what) from error
    return config.to_dict()


def _pairs(flags: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(flags)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--config."):
            raise HistoError(flag, "config", "unknown argument", "options are --config.field=value")
        name, equals, value = flag.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                raise HistoError(flag, "config", "has no value")
            value = rest.pop(0)
        pairs.append((name, value))
    return pairs


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _typed(path: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, str) and tuple in kinds and str not in kinds:
        value = (value,)
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and float in kinds
        and int not in kinds
    ):
        value = float(value)
    if type(value) not in kinds:
        names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
        raise HistoError(path, "config", f"wants {names}, got {value!r}")
    if isinstance(value, float) and value != value:
        raise HistoError(path, "config", "is not a number")
    return value


def _did_you_mean(schema: type, prefix: str, name: str) -> str:
    root = schema if not prefix else None
    known = list(_field_paths(root)) if root else [f.name for f in dataclasses.fields(schema)]
    near = difflib.get_close_matches(name, [k.split(".")[-1] for k in known], n=1, cutoff=0.5)
    if not near:
        return "known: " + ", ".join(f.name for f in dataclasses.fields(schema))
    full = next(k for k in known if k.split(".")[-1] == near[0])
    return f"did you mean config.{prefix}{full}?"


def _field_paths(schema: type, prefix: str = "") -> typing.Iterator[str]:
    for name, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _field_paths(hint, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def check(config: Config) -> None:
    """Refuses values no run can use; names the field and the valid ones."""
    choices = {
        "data.cache": ("none", "raw"),
        "augment.placement": ("auto", "host", "device"),
        "training.mapper": ("pmap", "shard_map"),
        "training.on_change": ("refuse", "accept"),
        "model.dtype": ("float32", "bfloat16"),
    }
    positive = (
        "data.image_size",
        "data.batch_size",
        "model.width",
        "objective.temperature",
        "optimizer.base_lr",
        "training.epochs",
        "training.save_every",
        "training.log_every",
    )
    for path, known in choices.items():
        if field(config, path) not in known:
            what = f"is {field(config, path)!r}"
            raise HistoError(f"config.{path}", "config", what, "known: " + ", ".join(known))
    for path in positive:
        if field(config, path) <= 0:
            what = f"is {field(config, path)!r}"
            raise HistoError(f"config.{path}", "config", what, "must be above 0")

    least = {"optimizer.warmup_epochs": 0, "optimizer.weight_decay": 0, "training.total_steps": 1}
    for path, low in least.items():
        value = field(config, path)
        if value is not None and not low <= value < float("inf"):
            what = f"is {value!r}"
            raise HistoError(f"config.{path}", "config", what, f"must be {low} or more")
    if not 0 <= config.seed < 2**32:
        what = f"is {config.seed}"
        raise HistoError("config.seed", "config", what, "must be from 0 to 2^32 - 1")


def field(config: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def differences(new: dict, old: dict, prefix: str = "") -> list[str]:
    """Dotted names of the fields in which two configs, as nested dicts, differ."""
    changed = []
    for name in sorted({*new, *old}):
        a, b = new.get(name), old.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            changed += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            changed.append(f"{prefix}{name}")
    return changed
