"""How far a run is: a live line in a terminal, a line now and then in a log file."""

import os
import sys
import time

from tqdm import tqdm

EVERY = 30.0  # seconds between lines of a log file
FORMAT = "{desc} |{bar:16}| {percentage:3.0f}%  {remaining} left{postfix}"


class Progress:
    """Shows each step's numbers; says nothing where `chief` is false."""

    def __init__(self, start: int, total: int, batch_size: int, chief: bool):
        self.start, self.total, self.batch_size = start, total, batch_size
        self.begun = self.told = time.perf_counter()
        self.last: dict[str, float] = {}
        self.bar = tqdm(
            total=total, initial=start, desc=self._step(start), bar_format=FORMAT,
            dynamic_ncols=True, mininterval=0.5, disable=not (chief and live()),
        )  # fmt: skip
        self.plain = chief and not live()

    def show(self, step: int, numbers: dict[str, float]) -> None:
        """Shows `step`; a number not given again stays as it was."""
        self.last |= numbers
        now = time.perf_counter()
        speed = (step - self.start) * self.batch_size / (now - self.begun)
        said = [f"{name} {value:.3f}" for name, value in self.last.items()]
        said.append(f"{speed:,.0f} images/s")
        self.bar.set_description_str(self._step(step), refresh=False)
        self.bar.set_postfix_str(", ".join(said), refresh=False)
        self.bar.update(step - self.bar.n)
        if self.plain and (now - self.told > EVERY or step == self.total):
            self.told = now
            left = (self.total - step) * self.batch_size / speed
            ending = [f"{duration(left)} left"] if step < self.total else []
            print("  ".join([self._step(step), *said, *ending]), flush=True)

    def close(self) -> None:
        """Leaves the line as it is."""
        self.bar.close()

    def _step(self, step: int) -> str:
        return f"step     {step:>{len(f'{self.total:,}')},} of {self.total:,}"


def live() -> bool:
    """Whether someone looks at a terminal that has a size."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):  # no terminal, or no file at all
        return False
    return size.columns > 0 and size.lines > 1


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
