"""What was run so far, and the numbers of a table made of it.

Ours lies in `trained/` and `scores/` of the folder. Cells of `python -m histo_jax.sweeps` in the
folders beside it count as well: an encoder is the same wherever the same options made it.
"""

import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.paper import cells, numbers
from histo_jax.paper.cells import Question, Setup, Source
from histo_jax.sweeps.run import CELL, FAILED, REPORT, RUN

DONE = "done.json"  # in the folder of a training that came to its end
NOT_RUN = "not run"
WORDS = {"diverged": "did not converge", "failed": "failed"}
PERCENT = {"macro_f1": 100.0, "l1": 1.0}

Key = tuple[str, str, str, str]  # encoder, prepared set, protocol, digest of the options


@dataclasses.dataclass(frozen=True)
class Found:
    """Everything that is there.

    Attributes:
      values: scores by (share of labels, seed).
      failed: evaluations that failed, with their last error.
      runs: work directories of finished trainings by encoder.
      words: what became of trainings that failed, with their last error.
    """

    values: dict[Key, dict[tuple[float, int], float]]
    failed: dict[Key, str]
    runs: dict[str, Path]
    words: dict[str, tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Result:
    """A number of ours, or what became of it.

    Attributes:
      mean: None where it isn't known.
      spread: standard deviation, None for a single value.
      n: how many values.
      word: instead of the mean.
    """

    mean: float | None = None
    spread: float | None = None
    n: int = 0
    word: str = ""

    @property
    def text(self) -> str:
        """As shown."""
        if self.mean is None:
            return self.word
        return f"{self.mean:.1f}" + ("" if self.spread is None else f" ± {self.spread:.1f}")


def look(setup: Setup) -> Found:
    """Reads what lies in the folder and in those of sweeps beside it.

    Raises:
      HistoError: a damaged file.
    """
    found = Found({}, {}, {}, {})
    for path in sorted(setup.folder.glob(f"trained/*/{CELL}")):
        name, place = files.read_json(path)["id"], path.parent
        if (place / FAILED).exists():
            said = files.read_json(place / FAILED)
            found.words[name] = said["word"], said["error"]
        elif (place / DONE).exists():
            found.runs[name] = place / RUN
    for path in sorted(setup.folder.glob(f"scores/*/{CELL}")):
        _scored(path.parent, files.read_json(path), found)
    if setup.folder.parent.is_dir():
        for path in sorted(setup.folder.parent.glob(f"*/*/{CELL}")):
            _swept(path.parent, files.read_json(path), found)
    return found


def _scored(place: Path, said: dict, found: Found) -> None:
    """A folder of `scores/`: several encoders on one set."""
    for called, name in said["names"].items():
        key = name, said["dataset"], said["protocol"], said["how"]
        if (place / FAILED).exists():
            found.failed[key] = files.read_json(place / FAILED)["error"]
        elif (place / REPORT).exists():
            _take(place / REPORT, called, key, said["split_by"], found)


def _swept(place: Path, said: dict, found: Found) -> None:
    """A cell of a sweep: one encoder on several sets."""
    reports = sorted(place.glob(f"*/{REPORT}"))
    if not {"recipe", "fields", "scores"} <= said.keys() or not reports:
        return
    recipe, protocol, split_by, fields = said["scores"]
    try:
        source = cells.trained(said["recipe"], cells.flags(said["fields"]))
        how = cells.how(recipe, cells.flags(fields))
    except HistoError:  # of a recipe that is no more, or a field
        return
    found.runs.setdefault(source.id, place / RUN)
    for path in reports:
        dataset = files.read_json(path)["data"]["name"]
        _take(path, "ssl", (source.id, dataset, protocol, how), split_by, found)


def _take(path: Path, called: str, key: Key, split_by: str, found: Found) -> None:
    values = found.values.setdefault(key, {})
    for row in files.read_json(path)["scores"]:
        metric = row["metric"]
        if row["init"] != called or metric not in PERCENT:
            continue
        if row["protocol"] != cells.reported(key[2], metric):
            continue
        if row["split_by"] in (split_by, "official"):
            values[row["fraction"], row["seed"]] = PERCENT[metric] * row["value"]


def key(question: Question, setup: Setup) -> Key:
    """Under which a question's answer is found."""
    recipe = cells.PROTOCOLS[question.protocol][0]
    how = cells.how(recipe, cells.score_flags(question.protocol, setup))
    return question.source.id, setup.dataset(question.task), question.protocol, how


def unanswered(question: Question, setup: Setup, found: Found) -> tuple[float, ...]:
    """The shares of labels of which not every repeat that is asked for is there."""
    values = found.values.get(key(question, setup), {})
    repeats = range(question.repeats)
    return tuple(s for s in question.shares if any((s, r) not in values for r in repeats))


def results(table: str, setup: Setup, found: Found) -> dict[tuple[str, str], Result]:
    """Ours of every cell, by (row, column)."""
    printed = numbers.load()[table]
    made = {}
    for row, sources in cells.rows(table, setup).items():
        tasks = {task: [] for task in printed.tasks}
        for task, lines in tasks.items():
            for source in sources:
                protocol = cells.protocol(table, task)
                asked = Question(source, task, protocol, (1.0,), setup.repeats)
                lines.append(_by_seed(asked, setup, found, 1.0))
        for column in printed.columns:
            members = numbers.MEANS.get(column, (column,))
            word = _word(table, column, sources, setup, found)
            made[row, column] = _result([tasks[m] for m in members], word)
    return made


def curve(question: Question, setup: Setup, found: Found) -> list[tuple[float, Result]]:
    """Ours of every share of labels that is there."""
    shares = {share: _by_seed(question, setup, found, share) for share in question.shares}
    return [(share, _spread(list(v.values()))) for share, v in shares.items() if v]


def _by_seed(question: Question, setup: Setup, found: Found, share: float) -> dict[int, float]:
    """Values of the repeats; none where not all that are asked for are there."""
    values = found.values.get(key(question, setup), {})
    kept = {seed: value for (part, seed), value in values.items() if part == share}
    return kept if kept.keys() >= set(range(question.repeats)) else {}


def _result(tasks: list[list[dict[int, float]]], word: str) -> Result:
    """Of the values by seed of each training on each task: their mean, tasks first."""
    means = []
    for of_tasks in zip(*tasks, strict=True):  # of one training
        seeds = set.intersection(*(set(values) for values in of_tasks))
        means.append([statistics.fmean(v[seed] for v in of_tasks) for seed in sorted(seeds)])
    if not means or not all(means):
        there = sum(all(lines) for lines in tasks)
        partly = f"{there} of {len(tasks)} run"
        return Result(word=partly if there and len(tasks) > 1 and word == NOT_RUN else word)
    return _spread(means[0] if len(means) == 1 else [statistics.fmean(m) for m in means])


def _spread(values: list[float]) -> Result:
    several = statistics.stdev(values) if len(values) > 1 else None
    return Result(statistics.fmean(values), several, len(values))


def _word(table: str, column: str, sources: list[Source], setup: Setup, found: Found) -> str:
    """What a cell without a number says."""
    for source in sources:
        if source.id in found.words:
            return WORDS[found.words[source.id][0]]
        for task in numbers.MEANS.get(column, (column,)):
            asked = Question(source, task, cells.protocol(table, task), (1.0,), 1)
            if key(asked, setup) in found.failed:
                return WORDS["failed"]
    return NOT_RUN


def trainings(asked: list[Question]) -> Iterator[Source]:
    """The encoders that must be pretrained for these questions, each once."""
    yield from {q.source.id: q.source for q in asked if q.source.kind == "trained"}.values()
