"""A grid of runs, as a file of configs/paper/ describes it, and its cells."""

import dataclasses
import difflib
import importlib.util
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histo_jax import config as options
from histo_jax.errors import HistoError

_LINEAR = {  # one head on frozen features, three floors
    "protocol": "('linear',)",
    "split_by": "('grouped',)",
    "init": "('random', 'colour_histogram', 'texture')",
    "shift": "()",
}
# Scores that a sweep file may name. `paper`: the whole network trained with labels, over the five
# sets of the paper's mean (Appendix C.1); `demo`: small enough for two CPU cores, on drawn tissue;
# `nuclei`: nuclear area on real tissue, mean absolute error in percent points.
SCORES: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "recipe": "configs/finetune.py",
        "datasets": (
            "bach/default",
            "nct_crc/default",
            "breakhis/default",
            "lymph/default",
            "gleason2019/default",
        ),
        "protocol": "finetune",
        "split_by": "paper",
    },
    "demo": {
        "recipe": "configs/probe.py",
        "datasets": ("histo_demo/default",),
        "protocol": "linear",
        "split_by": "grouped",
        "fields": _LINEAR,
    },
    "nuclei": {
        "recipe": "configs/probe.py",
        "datasets": ("histo_labelled/nuclei",),
        "protocol": "regression",  # what a report calls `linear` on targets
        "split_by": "grouped",
        "fields": _LINEAR,
    },
}
RECIPE = "recipe"  # in a cell's fields: the recipe itself, where systems are compared


@dataclasses.dataclass(frozen=True)
class Scores:
    """How cells are scored.

    Attributes:
      recipe: of `eval.py`.
      datasets: prepared sets, a column each.
      protocol, split_by: which row of each report counts.
      fields: of the evaluation, beside the recipe's: `{"repeats": 1}`.
    """

    recipe: str
    datasets: tuple[str, ...]
    protocol: str
    split_by: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What `get_sweep` of a sweep file returns, checked.

    Attributes:
      about: docstring of the file.
      recipe: of `train.py`, for cells that name none.
      axes: fields of each value by its label, by axis.
      scores: how cells are scored; in the file also a name in `SCORES`.
      fields: of every cell.
      seeds: runs of each cell.
      paper: the paper's mean in percent by the labels of a cell, " / " between them.
    """

    about: str
    recipe: str
    axes: Mapping[str, Mapping[str, Mapping[str, Any]]]
    scores: Scores
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 3
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid: a label on every axis, a seed, and the commands that make it."""

    labels: tuple[str, ...]
    seed: int
    recipe: str
    fields: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its labels."""
        return " / ".join(self.labels)

    @property
    def folder(self) -> str:
        """Where it lies below the folder of the sweep."""
        return re.sub(r"[^\w.%,=-]+", "_", ",".join([*self.labels, f"seed={self.seed}"]))

    @property
    def flags(self) -> list[str]:
        """For `train.py`, beside recipe and work directory."""
        return [f"--config.{name}={value}" for name, value in self.fields.items()]


def load(path: Path, argument: str = "") -> Sweep:
    """Reads a sweep file.

    Raises:
      HistoError: no such file, no `get_sweep`, an unknown or missing field, an empty axis.
    """
    if not path.is_file():
        raise HistoError(path, "missing", "no such sweep", "see configs/paper/")
    spec = importlib.util.spec_from_file_location("sweep", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        said = module.get_sweep(argument) if argument else module.get_sweep()
    except Exception as error:  # a sweep file is a program: whatever it raises is about that file
        what = f"the sweep failed: {type(error).__name__}: {error}"
        raise HistoError(path, "config", what) from error
    said = dict(said, about=(module.__doc__ or "").strip())
    scores = said.get("scores", {})
    said["scores"] = _made(path, Scores, SCORES.get(str(scores), scores), "scores.")
    sweep = _made(path, Sweep, said)
    return dataclasses.replace(sweep, axes=_axes(path, sweep.axes))


def with_data_dir(sweep: Sweep, data_dir: str | None) -> Sweep:
    """The same, scored on the sets of that folder."""
    if data_dir is None:
        return sweep
    fields = {**sweep.scores.fields, "data.dir": data_dir}
    return dataclasses.replace(sweep, scores=dataclasses.replace(sweep.scores, fields=fields))


def cells(sweep: Sweep, overrides: Mapping[str, Any] | None = None) -> list[Cell]:
    """Every run of a grid, seed by seed; `overrides` are fields that all of them get.

    Raises:
      HistoError: `config`: a field that no config has, or a value that no run can use.
    """
    made = []
    values = [axis.items() for axis in sweep.axes.values()]
    for seed, chosen in itertools.product(range(sweep.seeds), list(itertools.product(*values))):
        fields: dict[str, Any] = dict(sweep.fields)
        for _, given in chosen:
            fields |= given
        fields |= {"seed": seed, **(overrides or {})}
        recipe = fields.pop(RECIPE, sweep.recipe)
        cell = Cell(tuple(label for label, _ in chosen), seed, recipe, fields)
        options.load(options.Config, cell.recipe, cell.flags)
        made.append(cell)
    for dataset in sweep.scores.datasets:
        options.load(options.EvalConfig, sweep.scores.recipe, score_flags(sweep, dataset))
    return made


def given(flags: list[str]) -> dict[str, str]:
    """Fields of `--config.field=value` flags.

    Raises:
      HistoError: another flag.
    """
    pairs = [flag.removeprefix("--config.").partition("=") for flag in flags]
    for flag, (_, sign, value) in zip(flags, pairs, strict=True):
        if not flag.startswith("--config.") or not sign or not value:
            raise HistoError(flag, "config", "is no option", "e.g. --config.data.batch_size=64")
    return {name: value for name, _, value in pairs}


def score_flags(sweep: Sweep, dataset: str) -> list[str]:
    """For `eval.py`, beside recipe and checkpoint."""
    fields = {"dataset": dataset, **sweep.scores.fields}
    return [f"--config.{name}={value}" for name, value in fields.items()]


def _made(path: Path, kind: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise HistoError(path, "config", f"unknown field {prefix}{name}", remedy)
    nothing = dataclasses.MISSING
    for name, field in known.items():
        if name not in values and field.default is nothing and field.default_factory is nothing:
            raise HistoError(path, "config", f"lacks the field {prefix}{name}")
    return kind(**values)


def _axes(path: Path, axes: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Axes with fields for each label; a tuple is values of the field that names the axis."""
    full: dict[str, dict[str, dict[str, Any]]] = {}
    for name, values in axes.items():
        if not isinstance(values, Mapping):
            values = {str(value): {name: value} for value in values}
        if not values:
            raise HistoError(path, "config", f"axis {name} is empty", "give it a value")
        full[name] = {str(label): dict(fields) for label, fields in values.items()}
    if not full:
        raise HistoError(path, "config", "has no axes", "name at least one")
    for one, other in itertools.combinations(full, 2):
        both = {field for f in full[one].values() for field in f}
        both &= {field for f in full[other].values() for field in f}
        if both:
            what = f"axes {one} and {other} both set {', '.join(sorted(both))}"
            raise HistoError(path, "config", what, "let one of them do so")
    return full
