"""A trace of some steps, by JAX's profiler."""

from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"  # in a work directory
WARM_UP = 3  # steps of this start that are not traced


class Profile:
    """Traces so many steps of a run that starts at `start`, or what there is of a shorter one.

    Used around the loop; does nothing where `steps` is 0.
    """

    def __init__(self, directory: Path, steps: int, start: int, total: int):
        self.folder = directory / FOLDER
        self.start, self.last = start, min(start + WARM_UP + steps, total)
        self.first = min(start + WARM_UP, total - 1) if steps > 0 else None
        self.running = False

    def __enter__(self) -> "Profile":
        self.after(self.start, None)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def after(self, step: int, metrics: Any) -> None:
        """Begins or ends the trace once `step` is done; `metrics` are its, on the devices."""
        if step == self.first:
            jax.block_until_ready(metrics)
            jax.profiler.start_trace(str(self.folder))
            self.running = True
        elif step == self.last and self.running:
            jax.block_until_ready(metrics)
            self._end()

    def _end(self) -> None:
        if self.running:
            self.running = False
            jax.profiler.stop_trace()
            opened = "open its .trace.json.gz at ui.perfetto.dev, or `xprof --logdir` it"
            print(f"profile  {self.folder}: {opened}", flush=True)
