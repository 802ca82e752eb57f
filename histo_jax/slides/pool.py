"""Many slides at once: worker processes that a slide may kill, and their supervisor."""

import collections
import contextlib
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import histo_jax
from histo_jax.errors import HistoError
from histo_jax.files import lock
from histo_jax.slides.reasons import refusal
from histo_jax.slides.rule import TileRule

COMMAND = (sys.executable, "-P", "-m", "histo_jax.slides.worker")
START_S = 120.0  # a worker that says nothing for so long is not coming
ATTEMPTS = 2  # a slide whose worker died gets one more


@dataclasses.dataclass(frozen=True)
class Job:
    """A slide to cut, and its µm per level-0 pixel where the user gave one."""

    path: str
    mpp: float | None = None


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
    with lock(parts_dir / ".lock"):
        for leftover in parts_dir.glob(".*.zip.tmp.*"):  # of a build that was killed
            leftover.unlink(missing_ok=True)
        with contextlib.closing(_Supervisor(jobs, rule, parts_dir, timeout_s, memory_bytes)) as all:
            yield from all.outcomes(max(1, workers))


@dataclasses.dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    noise: object  # its stderr, a temporary file
    deadline: float
    job: Job | None = None
    began: float = 0.0
    rest: bytes = b""


class _Supervisor:
    def __init__(self, jobs, rule, parts_dir, timeout_s, memory_bytes):
        self.waiting = collections.deque((job, 1) for job in jobs)
        self.attempts: dict[int, int] = {}
        self.rule = dataclasses.asdict(rule)
        self.parts_dir, self.timeout_s, self.memory_bytes = parts_dir, timeout_s, memory_bytes
        self.selector = selectors.DefaultSelector()

    def close(self) -> None:
        for worker in self.workers():
            self.end(worker)
        self.selector.close()

    def workers(self) -> list[_Worker]:
        return [key.data for key in self.selector.get_map().values()]

    def outcomes(self, most: int) -> Iterator[Outcome]:
        while self.waiting or any(worker.job for worker in self.workers()):
            alive = self.workers()
            idle = sum(worker.job is None for worker in alive)
            for _ in range(min(most - len(alive), len(self.waiting) - idle)):
                self.start()
            pause = min(worker.deadline for worker in self.workers()) - time.monotonic()
            for key, _ in self.selector.select(max(0.0, pause)):
                yield from self.hear(key.data)
            for worker in self.workers():
                if time.monotonic() > worker.deadline:
                    yield self.late(worker)

    def start(self) -> None:
        package = str(Path(histo_jax.__file__).resolve().parents[1])
        search = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        noise = tempfile.TemporaryFile("a+b")
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        worker = _Worker(process, noise, time.monotonic() + START_S)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        self.send(worker, {"memory_bytes": self.memory_bytes})

    def send(self, worker: _Worker, message: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: `hear` will find out
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()

    def hear(self, worker: _Worker) -> Iterator[Outcome]:
        chunk = os.read(worker.process.stdout.fileno(), 65536)
        if not chunk:
            yield from self.died(worker)
            return
        *lines, worker.rest = (worker.rest + chunk).split(b"\n")
        for line in lines:
            reply = json.loads(line)
            if worker.job is not None:
                yield self.outcome(worker.job, reply)
            self.assign(worker)

    def assign(self, worker: _Worker) -> None:
        """Hands out the next slide; a worker without one waits for slides that come back."""
        worker.job, worker.deadline = None, float("inf")
        if not self.waiting:
            return
        worker.job, worker.attempt = self.waiting.popleft()
        worker.noise.truncate(0)
        worker.began = time.monotonic()
        worker.deadline = worker.began + self.timeout_s
        job = {**dataclasses.asdict(worker.job), "rule": self.rule}
        self.send(worker, job | {"parts_dir": str(self.parts_dir)})

    def outcome(self, job: Job, reply: dict) -> Outcome:
        if "part" in reply:
            return Outcome(job.path, Path(reply["part"]), None, reply["seconds"])
        error = HistoError(*reply["error"])
        if error.reason == "write-failed":
            raise error
        return Outcome(job.path, None, error, reply["seconds"])
