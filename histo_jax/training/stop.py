"""Asks a run to stop: the first signal ends it at the next step, the second at once."""

import os
import signal
from types import FrameType

import jax
import numpy as np

from histo_jax.errors import Resume

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stop:
    """Remembers the first SIGTERM, SIGUSR1 or SIGINT while the run is inside the `with` block."""

    def __enter__(self) -> "Stop":
        self.received: int | None = None
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number

    def agreed(self, ask: bool) -> bool:
        """Whether to stop now. Several processes decide together, and only where `ask` is true."""
        if jax.process_count() == 1:
            return self.received is not None
        if not ask:
            return False
        from jax.experimental import multihost_utils

        mine = np.int32(self.received or 0)
        first = int(np.max(multihost_utils.process_allgather(mine)))
        self.received = first or None
        return bool(first)

    def leave(self, workdir: object, step: int, saved: int | None) -> None:
        """Raises what ends the process with the right status; `saved` is the newest checkpoint."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        kept = {step: "saved", None: "no checkpoint yet"}.get(saved, f"last checkpoint: {saved}")
        raise Resume(f"{workdir}: stopped at step {step}, {kept}; run the same command to go on")
