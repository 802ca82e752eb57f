"""Many slides at once: worker processes that a slide may kill, and their supervisor."""

import collections
import contextlib
import dataclasses
import json
import math
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from histo_jax.errors import HistoError
from histo_jax.files import hold
from histo_jax.slides.reasons import refusal
from histo_jax.slides.rule import TileRule

COMMAND = (sys.executable, "-P", "-m", "histo_jax.slides.worker")
START_S = 120.0  # a worker that says nothing for so long is not coming
ATTEMPTS = 2  # a slide whose worker died gets one more


@dataclasses.dataclass(frozen=True)
class Job:
    """A slide to cut, its µm per level-0 pixel where the user gave one, and the file of regions
    drawn on it where only those are cut."""

    path: str
    mpp: float | None = None
    regions: str | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job: a finished part or the error that refused the slide.

    Equal parts of two paths mean that they are copies of one slide.
    """

    path: str
    part: Path | None
    error: HistoError | None
    seconds: float


def cut_slides(
    jobs: Iterable[Job],
    rule: TileRule,
    parts_dir: str | os.PathLike,
    workers: int,
    timeout_s: float = 600.0,
    memory_bytes: int = 4 * 2**30,
) -> Iterator[Outcome]:
    """Cuts slides into part files and yields each outcome as it comes, in no certain order.

    A finished part of the same slide and options is taken without reading the slide. A worker
    that dies is replaced and its slide tried once more; one that exceeds `timeout_s` is killed.
    All workers are gone when the iterator is closed or this process ends, however it ends.

    Args:
      jobs: the slides.
      rule: how to cut them.
      parts_dir: where the parts go; one build at a time.
      workers: processes.
      timeout_s: most seconds for one slide.
      memory_bytes: most address space of one worker.

    Raises:
      HistoError: `locked`, `worker-start`, or `write-failed` (the disk, not a slide, is at fault).
    """
    parts_dir = Path(parts_dir)
    with hold(parts_dir):
        supervisor = Supervisor(jobs, rule, parts_dir, timeout_s, memory_bytes)
        with contextlib.closing(supervisor):
            yield from supervisor.outcomes(max(1, workers))


@dataclasses.dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    noise: BinaryIO  # its stderr
    deadline: float  # of its start, later of its job
    ready: bool = False
    job: Job | None = None
    attempt: int = 0
    began: float = 0.0
    rest: bytes = b""  # of a line that has not come whole


class Supervisor:
    """Starts, feeds, watches and ends workers; one thread, no locks."""

    def __init__(
        self,
        jobs: Iterable[Job],
        rule: TileRule,
        parts_dir: Path,
        timeout_s: float,
        memory_bytes: int,
    ):
        self.waiting = collections.deque((job, 1) for job in jobs)  # (job, attempt)
        self.order = {"rule": dataclasses.asdict(rule), "parts_dir": str(parts_dir)}
        self.timeout_s, self.memory_bytes = timeout_s, memory_bytes
        self.workers: list[_Worker] = []
        self.selector = selectors.DefaultSelector()

    def close(self) -> None:
        for worker in list(self.workers):
            self.end(worker)
        self.selector.close()

    def cut(self, job: Job) -> Outcome:
        """Does one job, by a worker that stays for the next."""
        self.waiting.append((job, 1))
        [outcome] = self.outcomes(1)
        return outcome

    @property
    def busy(self) -> int:
        """Workers at a slide."""
        return sum(worker.job is not None for worker in self.workers)

    def outcomes(self, most: int) -> Iterator[Outcome]:
        """Does all jobs by at most so many workers."""
        while self.waiting or self.busy:
            yield from self.step(most, 60.0)

    def step(self, most: int, longest_s: float) -> list[Outcome]:
        """Sees to the workers once, waiting for at most `longest_s` until one of them says
        something; what came of it, which may be nothing."""
        self.deal()
        free = len(self.workers) - self.busy  # ready in a moment
        for _ in range(min(most - len(self.workers), len(self.waiting) - free)):
            self.start()
        if not self.workers:
            return []
        pause = min(worker.deadline for worker in self.workers) - time.monotonic()
        heard = self.selector.select(min(max(pause, 0.0), longest_s))
        found = [outcome for key, _ in heard for outcome in self.hear(key.data)]
        now = time.monotonic()
        found += [self.late(worker) for worker in list(self.workers) if worker.deadline < now]
        self.deal()  # before the consumer takes its time
        return found

    def deal(self) -> None:
        """Gives who is free what waits."""
        for worker in self.workers:
            if worker.ready and worker.job is None and self.waiting:
                self.assign(worker)

    def start(self) -> None:
        package = str(Path(__file__).resolve().parents[2])
        search = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        noise = tempfile.TemporaryFile(buffering=0)
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the supervisor to handle
        )
        worker = _Worker(process, noise, time.monotonic() + START_S)
        self.workers.append(worker)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        self.send(worker, {"memory_bytes": self.memory_bytes})

    def send(self, worker: _Worker, message: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: `hear` finds out
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()

    def assign(self, worker: _Worker) -> None:
        worker.job, worker.attempt = self.waiting.popleft()
        worker.noise.seek(0)  # for the worker too: it would go on where it was, behind zeros
        worker.noise.truncate()
        worker.began = time.monotonic()
        worker.deadline = worker.began + self.timeout_s
        self.send(worker, dataclasses.asdict(worker.job) | self.order)

    def hear(self, worker: _Worker) -> list[Outcome]:
        """Takes what a worker says, which may be its death."""
        chunk = os.read(worker.process.stdout.fileno(), 65536)
        if not chunk:
            return self.died(worker)
        *lines, worker.rest = (worker.rest + chunk).split(b"\n")
        outcomes = []
        for line in lines:
            reply, job = json.loads(line), worker.job
            worker.ready, worker.job, worker.deadline = True, None, math.inf
            if job is not None:
                outcomes.append(_outcome(job, reply))
        return outcomes

    def died(self, worker: _Worker) -> list[Outcome]:
        worker.process.wait()
        code = worker.process.returncode
        how = f"worker killed by signal {-code}" if code < 0 else f"worker ended with status {code}"
        worker.noise.seek(0)
        noise = worker.noise.read()[-2000:].decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(noise) if line.strip()), "")
        what = f"{how}: {last[:200]}" if last else how
        self.end(worker)
        if not worker.ready:
            raise refusal(COMMAND[-1], "worker-start", what)
        if worker.job is None:  # idle: nothing is lost
            return []
        if worker.attempt < ATTEMPTS:
            self.waiting.append((worker.job, worker.attempt + 1))
            return []
        return [_refused(worker, "worker-died", what)]

    def late(self, worker: _Worker) -> Outcome:
        self.end(worker)
        if worker.job is None:
            raise refusal(COMMAND[-1], "worker-start", f"says nothing for {START_S:g} s")
        return _refused(worker, "timeout", f"not done after {self.timeout_s:g} s")

    def end(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        self.selector.unregister(worker.process.stdout)
        worker.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a dead network mount
            worker.process.wait(5)
        worker.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()
        worker.noise.close()


def _outcome(job: Job, reply: dict) -> Outcome:
    if "part" in reply:
        return Outcome(job.path, Path(reply["part"]), None, reply["seconds"])
    error = HistoError(*reply["error"])
    if error.reason == "write-failed":
        raise error  # the disk is at fault, not the slide
    return Outcome(job.path, None, error, reply["seconds"])


def _refused(worker: _Worker, reason: str, what: str) -> Outcome:
    error = refusal(worker.job.path, reason, what)
    return Outcome(worker.job.path, None, error, time.monotonic() - worker.began)
