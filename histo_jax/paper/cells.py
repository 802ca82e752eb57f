"""What stands behind each number: which encoder, on which set, by which protocol."""

import ast
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from histo_jax import config as options
from histo_jax.paper import numbers
from histo_jax.sweeps import grid
from histo_jax.training.card import as_dict
from histo_jax.training.workdir import FREE

CONFIGS = Path(__file__).resolve().parents[2] / "configs/paper"
STARTS = ("random", "ImageNet", "self-supervised")
# Grids of trainings, `configs/paper/<name>.py`; the rows of a table are its cells in their order.
GRIDS = {
    "Table 1": "networks", "Table 2": "networks", "Table 3": "images", "Table 4": "resolution",
    "Table 5": "tissue", "Table C.6": "optimizer_temperature", "Table D.7": "networks",
    "Table D.8": "networks", "Table D.9": "resolution", "Table D.10": "images",
    "Table D.11": "crop_jitter", "Table E.12": "systems",
}  # fmt: skip
FROZEN = ("Table 2", "Table D.8")  # by a linear layer; the others are fine-tuned
# Prepared set, and the split that is the paper's. NCT's own test part replaces it.
TASKS = {
    "bach": ("bach/default", "paper"), "nct": ("nct_crc/default", "paper"),
    "breakhis": ("breakhis/default", "paper"), "lymph": ("lymph/default", "paper"),
    "gleason": ("gleason2019/default", "paper"), "bpq": ("breastpathq/default", "paper"),
    "bach_seg": ("bach_seg/default", "grouped"), "dp19": ("digestpath2019/default", "paper"),
}  # fmt: skip
# Recipe of `eval.py`, its options, and a floor that costs nothing.
PROTOCOLS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "finetune": ("configs/finetune.py", {}, "mean_rgb"),
    "linear": ("configs/probe.py", {"protocol": "('linear',)", "shift": "()"}, "mean_rgb"),
    "segment": ("configs/segment.py", {}, "constant"),
}
# Options of an evaluation that don't change a row of its report, or are told by the row.
ROWWISE = (
    "data", "dataset", "batch_size", "init", "protocol", "fractions", "repeats", "split_by",
    "shift", "sites",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Setup:
    """Where things are, and how much is run.

    Attributes:
      folder: of all runs and results.
      data_dir: prepared data.
      imagenet: folder of supervised weights, `resnet18*.pth` or `.safetensors` and so on.
      slides: folder of slides to cluster (Figs. 5 and 6); None without.
      train: fields of every training, above those of its recipe.
      score: fields of every evaluation.
      names: what a set of the paper is called here, where it isn't by its own name.
      together: most encoders scored by one command.
      seeds: trainings of each encoder.
      repeats: evaluations of each number.
      draws: of each share of labels, in Figs. 3 and 4.
      shares: of the labels there.
      clusters, elbow: how many in Fig. 5, and for which numbers the variance is told.
    """

    folder: Path
    data_dir: str | None = None
    imagenet: Path | None = None
    slides: Path | None = None
    train: Mapping[str, str] = dataclasses.field(default_factory=dict)
    score: Mapping[str, str] = dataclasses.field(default_factory=dict)
    names: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    together: int = 1
    seeds: int = 1
    repeats: int = 3
    draws: int = 5
    shares: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0)
    clusters: int = 3000
    elbow: str = "1000:10000:500"

    def dataset(self, task: str) -> str:
        """The prepared set of a column."""
        name = TASKS[task][0]
        return self.names.get(name, name)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an encoder comes from.

    Attributes:
      id: equal for equal encoders, whichever table asks for them.
      kind: trained | imagenet | random.
      config: of its training; for the others only the network counts.
      recipe, flags: of `train.py`.
    """

    id: str
    kind: str
    config: options.Config
    recipe: str = ""
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Question:
    """What one evaluation of one encoder says: a number for each share of labels and repeat."""

    source: Source
    task: str
    protocol: str
    shares: tuple[float, ...]
    repeats: int


def rows(table: str, setup: Setup) -> dict[str, list[Source]]:
    """The encoders of each row of a table, one a training seed."""
    printed = numbers.load()[table].rows
    by_label: dict[str, list[Source]] = {}
    for cell in cells(GRIDS[table], setup):
        by_label.setdefault(cell.title, []).append(trained(cell.recipe, cell.flags))
    if GRIDS[table] != "networks":
        return dict(zip(printed, by_label.values(), strict=True))
    found = {}
    for label, sources in by_label.items():
        config = sources[0].config
        untrained = [_untrained("random", config)], [_untrained("imagenet", config)]
        for start, kind in zip(STARTS, (*untrained, sources), strict=True):
            found[f"{label} / {start}"] = kind
    return {row: found[row] for row in printed}


def cells(name: str, setup: Setup) -> list[grid.Cell]:
    """The trainings of a grid, with the fields and names of `setup`."""
    sweep = grid.load(CONFIGS / f"{name}.py")
    sweep = dataclasses.replace(sweep, seeds=setup.seeds)
    where = {"data.dir": setup.data_dir} if setup.data_dir else {}
    found = grid.cells(sweep, {**setup.train, **where})
    if not setup.names:
        return found
    named = []
    for cell in found:
        sets = cell.fields.get("data.datasets", "auto")
        fields = {**cell.fields, "data.datasets": str(renamed(sets, setup.names))}
        named.append(dataclasses.replace(cell, fields=fields))
    return named


def renamed(sets: str, names: Mapping[str, Any]) -> Any:
    """`config.data.datasets` with every set as it is called here; a plain name is one set."""
    if sets == "auto" and sets not in names:
        return sets
    pairs = ast.literal_eval(sets) if sets.startswith("(") else ((sets, None),)
    called = [name for pair in pairs for name in _several(names.get(pair[0], pair[0]))]
    return tuple((name, None) for name in dict.fromkeys(called))


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def trained(recipe: str, flags: Iterable[str]) -> Source:
    """What `train.py` makes of a recipe and flags: the same encoder for the same options."""
    config = options.load(options.Config, recipe, given := tuple(flags))
    kept = {k: v for k, v in _flat(as_dict(config)).items() if not _free(k)}
    name = f"{config.objective.name}-{config.model.encoder}-{digest(kept)}"
    return Source(name, "trained", config, recipe, given)


def _untrained(kind: str, config: options.Config) -> Source:
    model = config.model
    return Source(f"{kind}:{model.encoder}:{model.width}", kind, config)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _free(field: str) -> bool:
    return field in FREE or field.split(".")[0] in FREE


def digest(facts: Any) -> str:
    """Eight hex digits of anything JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def protocol(table: str, task: str) -> str:
    """By which protocol a table scores a task."""
    if task in numbers.MEANS["seg"]:
        return "segment"
    return "linear" if table in FROZEN else "finetune"


def questions(table: str, setup: Setup) -> list[Question]:
    """All that a table needs to know, row by row."""
    return [
        Question(source, task, protocol(table, task), (1.0,), setup.repeats)
        for sources in rows(table, setup).values()
        for source in sources
        for task in numbers.load()[table].tasks
    ]


def curves(table: str, setup: Setup) -> list[Question]:
    """The same with fewer labels: Fig. 3 for Table D.7, Fig. 4 for Table D.8; no masks."""
    return [
        dataclasses.replace(question, shares=setup.shares, repeats=setup.draws)
        for question in questions(table, setup)
        if question.protocol != "segment"
    ]


def merged(asked: Iterable[Question]) -> list[Question]:
    """One question for each encoder, set and protocol, that asks for all that several do."""
    found: dict[tuple, Question] = {}
    for q in asked:
        place = q.source.id, q.task, q.protocol
        before = found.get(place, q)
        shares = tuple(sorted({*before.shares, *q.shares}))
        repeats = max(before.repeats, q.repeats)
        found[place] = dataclasses.replace(q, shares=shares, repeats=repeats)
    return list(found.values())


def score_flags(protocol: str, setup: Setup) -> tuple[str, ...]:
    """Options of `eval.py` that all evaluations by a protocol share, beside the recipe."""
    return flags(PROTOCOLS[protocol][1] | dict(setup.score))


def flags(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields as `--config.…` flags."""
    return tuple(f"--config.{name}={value}" for name, value in fields.items())


@functools.cache
def how(recipe: str, flags: tuple[str, ...]) -> str:
    """Digest of the options of an evaluation that change its rows."""
    config = as_dict(options.load(options.EvalConfig, recipe, flags))
    return digest({name: value for name, value in config.items() if name not in ROWWISE})


def reported(protocol: str, metric: str) -> str:
    """What a report calls a protocol: the layer as the paper trained it."""
    if protocol != "linear":
        return protocol
    return "regression_paper" if metric == "l1" else "linear_paper"
