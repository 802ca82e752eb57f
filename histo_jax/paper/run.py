"""Runs what is missing, by the real commands, one after another.

Several processes that share the folder share the work, as those of a sweep do.
"""

from collections.abc import Iterator, Sequence

from histo_jax import files
from histo_jax.paper.cells import Question, Setup, Source
from histo_jax.paper.found import DONE, look
from histo_jax.paper.plan import Job, plan, scorings, training
from histo_jax.sweeps import run as sweeps


def commands(
    asked: list[Question], setup: Setup, retry: bool = False, more: Sequence[Source] = ()
) -> Iterator[Job]:
    """What would be run, trainings first; `more` are encoders to have without any question."""
    found = look(setup)
    todo = plan(asked, setup, found, retry, more)
    yield from (training(source, setup) for source in todo.train)
    yield from scorings(todo.ask, setup, found)


def run(
    asked: list[Question], setup: Setup, retry: bool = False, more: Sequence[Source] = ()
) -> int:
    """Trains and scores what can be; returns how many commands failed or are another process's.

    Raises:
      Resume: a command was stopped and has saved.
      KeyboardInterrupt: Ctrl-C.
    """
    left = 0
    for source in plan(asked, setup, look(setup), retry, more).train:
        left += do(training(source, setup), retry)
    found = look(setup)
    there = [q for q in asked if q.source.kind != "trained" or q.source.id in found.runs]
    for job in scorings(plan(there, setup, found, retry).ask, setup, found):
        left += do(job, retry)
    return left


def do(job: Job, retry: bool = False) -> bool:
    """Runs one command; whether it is left undone."""

    def work(held: object) -> None:
        ended = sweeps.perform(job.place, [job.command], held)
        if ended and job.made.name == DONE:  # a training leaves no file that says so
            files.write_json(job.made, {})

    print(f"{job.about}", flush=True)
    busy = sweeps.once(job.place, job.facts, word=lambda: job.word, do=work, retry=retry)
    print(f"         {'busy: ' + busy if busy else job.word}", flush=True)
    return bool(busy) or job.word == "failed"
