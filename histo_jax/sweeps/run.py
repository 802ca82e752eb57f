"""Trains and scores the cells of a grid by the real commands, one after another.

Several processes or hosts that share the folder share the work: a cell is held by a lock that lives
as long as a process works at it. What is done is not done again.
"""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from histo_jax import errors, files
from histo_jax.errors import HistoError
from histo_jax.sweeps.grid import Cell, Sweep, score_flags

ROOT = Path(__file__).resolve().parents[2]
CELL, FAILED, RUN, REPORT = "cell.json", "failed.json", "run", "report.json"


@dataclasses.dataclass(frozen=True)
class State:
    """How far a cell is: `waiting`, `busy`, `done`, `diverged` or `failed`, and its last error."""

    cell: Cell
    word: str
    error: str = ""


def run(sweep: Sweep, cells: list[Cell], folder: Path, retry: bool = False) -> Iterator[State]:
    """Does every cell that is neither done nor failed; yields each as it is left.

    Args:
      folder: of the sweep, one folder a cell below it.
      retry: failed cells, too.

    Raises:
      HistoError: `sweep-changed`: a cell there was made by other options.
      Resume: a command was stopped and has saved.
      KeyboardInterrupt: Ctrl-C.
    """
    check(sweep, cells, folder)
    for cell in cells:
        place = folder.absolute() / cell.folder
        busy = once(
            place,
            facts(sweep, cell),
            word=lambda cell=cell: state(sweep, cell, folder).word,
            do=lambda held, cell=cell, place=place: _do(sweep, cell, place, held),
            retry=retry,
        )
        yield State(cell, "busy", busy) if busy else state(sweep, cell, folder)


def once(
    place: Path, facts: dict, *, word: Callable[[], str], do: Callable[[Any], None], retry: bool
) -> str | None:
    """Does what belongs into a folder unless it is done or failed, or another process is at it.

    Args:
      place: the folder.
      facts: kept there as `cell.json`.
      word: how far it is, asked under the lock: another process may have done it meanwhile.
      do: the work; given the lock, for the commands to hold as well.
      retry: also what has failed.

    Returns:
      Who is at it, if it is another process; else None.
    """
    try:
        with files.lock(place / ".lock") as held:
            now = word()
            if now == "waiting" or (retry and now in ("failed", "diverged")):
                (place / FAILED).unlink(missing_ok=True)
                files.write_json(place / CELL, facts)
                do(held)
    except HistoError as error:
        if error.reason != "locked":
            raise
        return str(error)
    return None


def check(sweep: Sweep, cells: list[Cell], folder: Path) -> None:
    """Refuses a folder in which a cell of the same name is of other options."""
    for cell in cells:
        path = folder / cell.folder / CELL
        if path.exists() and files.read_json(path) != facts(sweep, cell):
            what = "was made by other options than the sweep has now"
            raise HistoError(path, "sweep-changed", what, "name another folder, or remove it")


def state(sweep: Sweep, cell: Cell, folder: Path) -> State:
    """What lies in a cell's folder."""
    place = folder / cell.folder
    if (place / FAILED).exists():
        failed = files.read_json(place / FAILED)
        return State(cell, failed["word"], failed["error"])
    reports = [place / own(dataset) / REPORT for dataset in sweep.scores.datasets]
    return State(cell, "done" if all(path.exists() for path in reports) else "waiting")


def facts(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """What decides on the numbers of a cell; where the data lie doesn't, nor which are scored."""

    def kept(fields: Mapping[str, Any]) -> dict[str, str]:
        return {name: str(value) for name, value in fields.items() if name != "data.dir"}

    scores = sweep.scores
    return {
        "recipe": cell.recipe,
        "fields": kept(cell.fields),
        "scores": [scores.recipe, scores.protocol, scores.split_by, kept(scores.fields)],
    }


def own(dataset: str) -> str:
    """The folder of a dataset's report in a cell."""
    return dataset.replace("/", "-")


def _do(sweep: Sweep, cell: Cell, place: Path, held: Any) -> None:
    train = [ROOT / "train.py", "--config", cell.recipe, "--workdir", place / RUN, *cell.flags]
    commands = [train]
    for dataset in sweep.scores.datasets:
        out = place / own(dataset)
        if not (out / REPORT).exists():
            score = [ROOT / "eval.py", "--config", sweep.scores.recipe, "--checkpoint", place / RUN]
            # Floors are the same for every seed: the first has them, the others the cheapest.
            floors = [] if cell.seed == 0 else ["--config.init=('mean_rgb',)"]
            commands.append([*score, "--out", out, *score_flags(sweep, dataset), *floors])
    perform(place, commands, held)


def perform(place: Path, commands: list[list[Any]], held: Any) -> bool:
    """Runs Python programs in turn up to one that fails, which `failed.json` then tells.

    Raises:
      Resume: one was stopped and has saved.
      KeyboardInterrupt: Ctrl-C.
    """
    for command in commands:
        failed = _command(command, held)
        if failed:
            files.write_json(place / FAILED, failed)
            return False
    return True


def _command(command: list[Any], held: Any) -> dict[str, str] | None:
    """Runs one command; None where it went well.

    The command holds the lock as well: a killed sweep's training keeps its cell until it ends.
    """
    words = [sys.executable, *map(str, command)]
    print("$", " ".join(words[1:]), flush=True)
    how = {"stderr": subprocess.PIPE, "text": True, "pass_fds": (held.fileno(),)}
    last, stopped = "", False
    with subprocess.Popen(words, **how) as process:  # leaving the block waits for its end

        def hand_on(number: int, _: Any) -> None:
            nonlocal stopped
            stopped = True
            process.send_signal(number)

        before = signal.signal(signal.SIGTERM, hand_on)
        try:
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                last = line.strip() or last
        finally:
            signal.signal(signal.SIGTERM, before)
    status = process.returncode
    if status == os.EX_TEMPFAIL or (stopped and status):  # stopped before it could save
        raise errors.Resume("the sweep stopped: run the same command again")
    if status in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if status == 0:
        return None
    return {"word": "diverged" if status == errors.DIVERGED else "failed", "error": last}
