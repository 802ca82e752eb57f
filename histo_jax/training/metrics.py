"""The run's log, and what stops a run that has gone wrong."""

import json
import math
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from histo_jax import files
from histo_jax.config import Config
from histo_jax.errors import HistoError
from histo_jax.training import parallel

COLLAPSED_SPREAD = 1e-3  # of the l2-normalised embeddings; 1 = spread over the sphere
COLLAPSED_STEPS = 50


class Log:
    """Appends to `metrics.jsonl` (only what the step determines) and `timing.jsonl`.

    Opening it for a run resumed at `step` first cuts every line that lies beyond.
    """

    def __init__(self, workdir: Path, step: int):
        self.metrics, self.timing = workdir / "metrics.jsonl", workdir / "timing.jsonl"
        for path in (self.metrics, self.timing):
            kept = [line for line in files.read_lines(path) if line["step"] <= step]
            with files.atomic(path) as file:
                file.writelines(json.dumps(line).encode() + b"\n" for line in kept)

    def write(self, step: int, metrics: dict[str, float], timing: dict[str, float]) -> None:
        """Adds one line to each file."""
        files.append_line(self.metrics, {"step": step, **metrics})
        files.append_line(self.timing, {"step": step, **timing})


class Watch:
    """Stops a run whose numbers say that it learns nothing any more.

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
        flat = step > self.warmup_steps and metrics["spread"] < COLLAPSED_SPREAD
        self.collapsed = self.collapsed + 1 if flat else 0
        if self.collapsed >= COLLAPSED_STEPS:
            raise HistoError(
                self.workdir, "collapse",
                f"all embeddings have been one point for {COLLAPSED_STEPS} steps (step {step})",
                remedy + "lower config.optimizer.base_lr or strengthen config.augment",
            )  # fmt: skip


class Readout:
    """Reads each step's numbers one step late, so that the devices never wait to be looked at.

    Every number goes to the watch and the progress line; every `log_every`-th to the log.
    """

    def __init__(
        self, config: Config, workdir: Path, start: int, total: int, images: int, chief: bool
    ):
        self.batch_size, self.images = config.data.batch_size, images
        self.log_every, self.total = config.training.log_every, total
        self.log = Log(workdir, start) if chief else None
        warmup = round(config.optimizer.warmup_epochs * images / self.batch_size)
        self.watch = Watch(workdir, warmup)
        self.pending: tuple[int, Any] | None = None
        self.since = (time.perf_counter(), start)
        self.bar = tqdm(
            total=total * self.batch_size, initial=start * self.batch_size, unit=" images",
            unit_scale=True, dynamic_ncols=True, disable=None if chief else True,
        )  # fmt: skip
        self.plain = chief and self.bar.disable  # a log file: a line now and then
        self.told = time.perf_counter()

    def __enter__(self) -> "Readout":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def push(self, step: int, metrics: Any, last_good: int | None) -> None:
        """Takes the metrics of `step`, still on the devices, and looks at the step before."""
        self.settle(last_good)
        self.pending = (step, metrics)
        self.bar.update(self.batch_size)

    def settle(self, last_good: int | None) -> None:
        """Looks at what is pending; raises what `Watch.look` raises."""
        if self.pending is None:
            return
        (step, metrics), self.pending = self.pending, None
        seen = {name: float(x) for name, x in parallel.to_host(metrics).items()}
        self.watch.look(step, seen, last_good)
        self.bar.set_postfix(loss=f"{seen['loss']:.3f}", top1=f"{seen['top1']:.2f}", refresh=False)
        if self.log and (step % self.log_every == 0 or step == self.total):
            (then, before), self.since = self.since, (time.perf_counter(), step)
            speed = (step - before) * self.batch_size / (self.since[0] - then)
            epoch = step * self.batch_size / self.images
            self.log.write(step, {"epoch": epoch, **seen}, {"images_per_s": speed})
            if self.plain and (self.since[0] - self.told > 30 or step == self.total):
                self.told = self.since[0]
                left = duration((self.total - step) * self.batch_size / speed)
                print(
                    f"step     {step:,} of {self.total:,}  loss {seen['loss']:.3f}  "
                    f"top1 {seen['top1']:.2f}  {speed:,.0f} images/s  {left} left",
                    flush=True,
                )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
