"""The run's log, and what stops a run that has gone wrong."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from histo_jax import files
from histo_jax.config import Config
from histo_jax.errors import HistoError
from histo_jax.training import optimizer, parallel
from histo_jax.training.board import Board
from histo_jax.training.progress import Progress

METRICS, TIMING, BOARD = "metrics.jsonl", "timing.jsonl", "tensorboard"  # in a work directory
COLLAPSED_SPREAD = 1e-3  # of the l2-normalised embeddings; 1 = spread over the sphere
COLLAPSED_STEPS = 50


class Log:
    """Appends to `metrics.jsonl` (only what the step determines), `timing.jsonl`, TensorBoard.

    Opening it for a run resumed at `step` first cuts every line that lies beyond.
    """

    def __init__(self, workdir: Path, step: int):
        self.metrics, self.timing = workdir / METRICS, workdir / TIMING
        merged: dict[int, dict] = {}
        for path in (self.timing, self.metrics):
            kept = [line for line in files.read_lines(path) if line["step"] <= step]
            with files.atomic(path) as file:
                file.writelines(json.dumps(line).encode() + b"\n" for line in kept)
            for line in kept:
                merged.setdefault(line["step"], {}).update(line)
        with _writes(workdir / BOARD):
            self.board = Board(workdir / BOARD, [merged[n] for n in sorted(merged)])

    def write(self, step: int, metrics: dict[str, float], timing: dict[str, float]) -> None:
        """Adds one line to each file.

        Raises:
          HistoError: the disk does not take it.
        """
        timing = {**timing, "time": round(time.time(), 3)}
        with _writes(self.metrics):
            files.append_line(self.timing, {"step": step, **timing})
            files.append_line(self.metrics, {"step": step, **metrics})
            self.board.add({"step": step, **metrics, **timing})

    def close(self) -> None:
        """Closes what is open."""
        with _writes(self.metrics):
            self.board.close()


@contextlib.contextmanager
def _writes(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot write: {error.strerror}"
        raise HistoError(path, "write-failed", what, "make room and run it again") from error


class Watch:
    """Stops a run whose numbers say that it learns nothing any more.

    Attributes:
      collapsed: for how many steps up to now the embeddings have been one point. While they are,
        nothing should be saved: the checkpoints kept are to be from before.

    Raises:
      HistoError: `nan` at the first loss or gradient that is not finite; `collapse` when the
        embeddings have been one point for `COLLAPSED_STEPS` steps after warm-up.
    """

    def __init__(self, workdir: Path, warmup_steps: int):
        self.workdir, self.warmup_steps, self.collapsed = workdir, warmup_steps, 0

    def look(self, step: int, metrics: dict[str, float], last_good: int | None) -> None:
        """Looks at one step's metrics; `last_good` is the newest checkpoint, named in the error."""
        remedy = f"last good checkpoint: {last_good if last_good is not None else 'none'}; "
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(metrics[name]):
                raise HistoError(
                    self.workdir, "nan", f"{name} is {metrics[name]} at step {step}",
                    remedy + "lower config.optimizer.base_lr and train into a new work directory",
                )  # fmt: skip
        self.collapsed = self.collapsed + 1 if metrics.get("spread", 1.0) < COLLAPSED_SPREAD else 0
        if min(self.collapsed, step - self.warmup_steps) >= COLLAPSED_STEPS:
            raise HistoError(
                self.workdir, "collapse",
                f"all embeddings have been one point for {COLLAPSED_STEPS} steps (step {step})",
                remedy + "lower config.optimizer.base_lr or strengthen config.augment",
            )  # fmt: skip


class Readout:
    """Reads each step's numbers one step late, so that the devices never wait to be looked at.

    Every number goes to the watch and the progress line; every `log_every`-th to the log, and those
    of steps that were probed.
    """

    def __init__(
        self, config: Config, workdir: Path, start: int, total: int, images: int, chief: bool
    ):
        self.batch_size, self.images = config.data.batch_size, images
        self.log_every, self.total = config.training.log_every, total
        self.log = Log(workdir, start) if chief else None
        warmup = optimizer.warmup_steps(config.optimizer, self.batch_size, images)
        self.watch = Watch(workdir, warmup)
        self.progress = Progress(start, total, self.batch_size, chief)
        self.pending: tuple[int, Any] | None = None
        self.since = (time.perf_counter(), start)

    def __enter__(self) -> "Readout":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.progress.close()
        if kind is None and self.watch.collapsed:
            what = f"all embeddings were one point for the last {self.watch.collapsed} steps"
            print(f"warning: {what}", file=sys.stderr)
        if self.log:
            self.log.close()

    def push(self, step: int, metrics: Any, last_good: int | None) -> None:
        """Takes the metrics of `step`, still on the devices, and looks at the step before."""
        self.settle(last_good)
        self.pending = (step, metrics)

    def settle(self, last_good: int | None, probe: Callable[[], dict] | None = None) -> None:
        """Looks at what is pending, and probes if it is sound; raises what `Watch.look` raises."""
        if self.pending is None:
            return
        (step, metrics), self.pending = self.pending, None
        seen = {name: float(x) for name, x in parallel.to_host(metrics).items()}
        self.watch.look(step, seen, last_good)
        started = time.perf_counter()
        probed = probe() if probe else {}
        now = time.perf_counter()
        self.since = (self.since[0] + now - started, self.since[1])  # probing is not training
        shown = {name: seen[name] for name in ("loss", "top1") if name in seen}
        self.progress.show(step, shown | probed)
        if self.log and (probed or step % self.log_every == 0 or step == self.total):
            (then, before), self.since = self.since, (now, step)
            speed = (step - before) * self.batch_size / (now - then)
            epoch = step * self.batch_size / self.images
            self.log.write(step, {"epoch": epoch, **seen, **probed}, {"images_per_s": speed})
