"""The run's log, and what stops a run that has gone wrong."""

import json
import math
from pathlib import Path

from histo_jax import files
from histo_jax.errors import HistoError

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
