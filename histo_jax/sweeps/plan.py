"""What a grid will take, before it is run."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from histo_jax import config as options
from histo_jax import files
from histo_jax.data import mixture
from histo_jax.errors import HistoError
from histo_jax.sweeps.grid import Cell, Sweep
from histo_jax.sweeps.run import RUN, state
from histo_jax.training.loop import planned_steps
from histo_jax.training.metrics import TIMING


def told(sweep: Sweep, cells: list[Cell], folder: Path, rate: float | None) -> Iterator[str]:
    """A line a cell: images, steps, hours at `rate` or at that of the cells that were timed."""
    rate = rate or measured(cells, folder)
    hours, missing, images_of = 0.0, 0, {}
    for cell in cells:
        config = options.load(options.Config, cell.recipe, cell.flags)
        where = f"{cell.title}, seed {cell.seed}: "
        word = state(sweep, cell, folder).word
        try:
            if config.data not in images_of:  # its number doesn't depend on the seed
                images_of[config.data] = mixture.open_run(config).n
            images = images_of[config.data]
        except HistoError as error:
            missing += 1
            yield f"{where}{word}; data missing: {error}"
            continue
        steps = planned_steps(config, images)
        line = f"{where}{word}; {images:,} images, {steps:,} steps"
        if rate:
            takes = steps * config.data.batch_size / rate / 3600
            hours += takes if word == "waiting" else 0
            line += f", {takes:,.2f} hours"
        yield line
    yield f"{len(cells)} cells, {missing} without data here"
    if rate:
        yield f"about {hours:,.1f} hours of training to go at {rate:,.0f} images/s, beside scoring"
    else:
        yield "no cell was timed yet: give --rate images/s for the hours"


def measured(cells: list[Cell], folder: Path) -> float | None:
    """Median images/s of the runs that are there; None without any."""
    found = [
        line["images_per_s"]
        for cell in cells
        for line in files.read_lines(folder / cell.folder / RUN / TIMING)
        if "images_per_s" in line
    ]
    return statistics.median(found) if found else None
