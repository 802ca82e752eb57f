"""What is left to do for some numbers, what of it can be done here, and how long it takes."""

import dataclasses
import functools
import shlex
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from histo_jax import config as options
from histo_jax import files
from histo_jax.data import mixture, prepared
from histo_jax.errors import HistoError
from histo_jax.paper import cells
from histo_jax.paper.cells import PROTOCOLS, TASKS, Question, Setup, Source, digest
from histo_jax.paper.found import DONE, Found, key, unanswered
from histo_jax.sweeps.run import FAILED, REPORT, ROOT, RUN
from histo_jax.training.loop import planned_steps
from histo_jax.training.metrics import TIMING

WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt")
# Multiply-adds of an image of 224 pixels, 10^9: how much slower than ResNet-18 another one trains.
COST = {"resnet18": 1.8, "resnet34": 3.7, "resnet50": 4.1, "resnet101": 7.8}


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that is run once.

    Attributes:
      place: its folder.
      facts: what decides on its numbers.
      command: of Python, its program first.
      made: the file that says it is done.
      about: in words.
    """

    place: Path
    facts: dict[str, Any]
    command: list[Any]
    made: Path
    about: str

    @property
    def word(self) -> str:
        """`waiting`, `done`, `failed` or `diverged`."""
        if (self.place / FAILED).exists():
            return files.read_json(self.place / FAILED)["word"]
        return "done" if self.made.exists() else "waiting"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Questions without an answer.

    Attributes:
      train: encoders to pretrain, their data here.
      ask: what can be asked, of encoders there or in `train`.
      missing: names of what is not here, by kind.
      blocked: for how many questions something is missing.
    """

    train: list[Source]
    ask: list[Question]
    missing: dict[str, list[str]]
    blocked: int


def plan(
    asked: list[Question],
    setup: Setup,
    found: Found,
    retry: bool = False,
    more: Sequence[Source] = (),
) -> Plan:
    """Parts what has no answer yet by whether its data are here; failures are answers.

    `more` are encoders to train without any question about them.
    """
    here = set(prepared.list_prepared(setup.data_dir))
    train: dict[str, Source] = {}
    missing: dict[str, dict[str, None]] = {}
    ask, blocked = [], 0
    for question in asked:
        source, dataset = question.source, setup.dataset(question.task)
        failed = source.id in found.words or key(question, setup) in found.failed
        shares = unanswered(question, setup, found)
        if not shares or (failed and not retry):
            continue
        lacks = [] if dataset in here else [("labelled sets", dataset)]
        if source.kind == "imagenet" and imagenet(source, setup) is None:
            lacks.append(("ImageNet's weights", source.config.model.encoder))
        new = source.kind == "trained" and source.id not in found.runs
        if new:
            lacks += [("for pretraining", what) for what in _without(source, here)]
        for kind, what in lacks:
            missing.setdefault(kind, {})[what] = None
        blocked += bool(lacks)
        if not lacks:
            ask.append(dataclasses.replace(question, shares=shares))
            if new:
                train[source.id] = source
    for source in more:
        failed = source.id in found.words and not retry
        lacks = _without(source, here)
        if source.id not in found.runs and not failed and not lacks:
            train[source.id] = source
        for what in lacks:
            missing.setdefault("for pretraining", {})[what] = None
    named = {kind: list(names) for kind, names in missing.items()}
    return Plan(list(train.values()), ask, named, blocked)


def _without(source: Source, here: set[str]) -> list[str]:
    """What data a training lacks."""
    sets = source.config.data.datasets
    names = [] if isinstance(sets, str) else [name for name, _ in sets]
    lacks = [name for name in names if not set("*?[") & set(name) and name not in here]
    if not lacks:
        try:
            _images(source.config.data, source.config.seed)
        except HistoError as error:
            return [error.what]
    return lacks


@functools.cache
def _images(data: options.Data, seed: int) -> int:
    """How many images a run reads; opening many sets takes a while."""
    return mixture.open_run(options.Config(seed=seed, data=data)).n


def imagenet(source: Source, setup: Setup) -> Path | None:
    """The user's file of supervised weights, as torchvision names it; None without one."""
    if setup.imagenet is None:
        return None
    name = source.config.model.encoder
    files = [p for p in sorted(setup.imagenet.glob(f"{name}[-_.]*")) if p.suffix in WEIGHTS]
    return files[-1] if files else None


def training(source: Source, setup: Setup) -> Job:
    """The command that pretrains an encoder."""
    place = setup.folder.absolute() / "trained" / source.id
    command = [ROOT / "train.py", "--config", source.recipe, "--workdir", place / RUN]
    command += source.flags
    facts = {"id": source.id}
    return Job(place, facts, command, place / DONE, f"train {source.id}")


def scorings(ask: list[Question], setup: Setup, found: Found) -> Iterator[Job]:
    """The commands that answer questions, up to `together` encoders each."""
    alike: dict[tuple, list[Question]] = {}
    for q in ask:
        alike.setdefault((q.protocol, q.task, q.shares, q.repeats), []).append(q)
    for questions in alike.values():
        unique = list({q.source.id: q for q in questions}.values())
        for sources in _grouped([q.source for q in unique], setup.together):
            yield _scoring(sources, unique[0], setup, found)


def _grouped(sources: list[Source], most: int) -> Iterator[list[Source]]:
    """Untrained networks go with an encoder of their architecture, else each by itself."""
    encoders = [source for source in sources if source.kind != "random"]
    untrained = {_network(s): s for s in sources if s.kind == "random"}
    for begin in range(0, len(encoders), most):
        group = encoders[begin : begin + most]
        if most > 1:
            networks = dict.fromkeys(map(_network, group))
            group += [untrained.pop(n) for n in networks if n in untrained]
        yield group
    yield from ([source] for source in untrained.values())


def _network(source: Source) -> tuple[str, int]:
    return source.config.model.encoder, source.config.model.width


def _scoring(sources: list[Source], like: Question, setup: Setup, found: Found) -> Job:
    recipe, _, floor = PROTOCOLS[like.protocol]
    dataset, split_by = setup.dataset(like.task), TASKS[like.task][1]
    names, checkpoints = {}, []
    for source in sources:
        called, text = _called(source, setup, found)
        if source.kind == "random":  # the report names the others by their architecture
            first = _network(source) == _network(sources[0])
            called = "random" if first else f"random:{source.config.model.encoder}"
        names[called] = source.id
        if text and (source.kind != "random" or len(sources) == 1):
            checkpoints += ["--checkpoint", text]
    fields = {
        "dataset": dataset, "split_by": f"('{split_by}',)", "fractions": str(like.shares),
        "repeats": str(like.repeats),
        "init": "('random',)" if sources[-1].kind == "random" else f"('{floor}',)",
    }  # fmt: skip
    if setup.data_dir:
        fields["data.dir"] = setup.data_dir
    facts = {
        "names": names, "dataset": dataset, "protocol": like.protocol, "split_by": split_by,
        "how": key(like, setup)[-1], "fractions": like.shares, "repeats": like.repeats,
    }  # fmt: skip
    name = "-".join([like.protocol, dataset.replace("/", "-"), digest(facts)])
    place = setup.folder.absolute() / "scores" / name
    command = [ROOT / "eval.py", "--config", recipe, *checkpoints, "--out", place]
    command += [*cells.score_flags(like.protocol, setup), *cells.flags(fields)]
    about = f"score {len(sources)} by {like.protocol} on {dataset}"
    return Job(place, facts, command, place / REPORT, about)


def _called(source: Source, setup: Setup, found: Found) -> tuple[str, str]:
    """An encoder's name in the report, and what follows `--checkpoint`."""
    encoder = source.config.model.encoder
    if source.kind == "random":
        return "random", f"random:{encoder}"
    if source.kind == "imagenet":
        name = f"imagenet:{encoder}"
        return name, f"{name}=imagenet:{imagenet(source, setup)}"
    run = found.runs.get(source.id) or training(source, setup).place / RUN
    return source.id, f"{source.id}={run.absolute()}"


def hours(sources: list[Source], found: Found, rate: float | None) -> float | None:
    """Of training these; None where nobody knows how fast it goes here.

    Args:
      sources: encoders to train, their data here.
      found: finished runs, whose rates count first.
      rate: images/s of ResNet-18, for networks of which no run was timed.
    """
    measured: dict[str, list[float]] = {}
    for path in found.runs.values():
        encoder = files.read_json(path / "card.json")["encoder"]
        lines = files.read_lines(path / TIMING)
        measured.setdefault(encoder, []).extend(
            line["images_per_s"] for line in lines if "images_per_s" in line
        )
    total = 0.0
    for source in sources:
        config, encoder = source.config, source.config.model.encoder
        known = measured.get(encoder)
        cost = COST.get(encoder.removesuffix("_ln"), 1) / COST["resnet18"]
        speed = statistics.median(known) if known else rate and rate / cost
        if not speed:
            return None
        steps = planned_steps(config, _images(config.data, config.seed))
        total += steps * config.data.batch_size / speed / 3600
    return total


def told(job: Job) -> str:
    """The command, to be pasted into a shell."""
    return shlex.join(["python", *(_short(word) for word in job.command)])


def _short(word: object) -> str:
    path = Path(word) if isinstance(word, Path) else None
    here = Path.cwd()
    return str(path.relative_to(here) if path and path.is_relative_to(here) else word)
