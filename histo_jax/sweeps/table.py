"""A grid's scores: a table in Markdown, and a heat map where it has two axes."""

import dataclasses
import statistics
from pathlib import Path

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.sweeps.grid import Cell, Sweep
from histo_jax.sweeps.run import REPORT, own, state

NOT_RUN = "not run"
ENCODER = "ssl"  # a checkpoint's name in reports


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of one cell, over seeds.

    Attributes:
      values: by dataset the score of each seed that has one, its report's mean over repeats.
      words: what became of the seeds that have none.
    """

    labels: tuple[str, ...]
    values: dict[str, list[float]]
    words: list[str]

    @property
    def means(self) -> list[float]:
        """The mean over datasets of each seed."""
        return [statistics.fmean(seed) for seed in zip(*self.values.values(), strict=True)]


def rows(sweep: Sweep, cells: list[Cell], folder: Path) -> list[Row]:
    """What is there of each cell, in the order of the grid.

    Raises:
      HistoError: a damaged report, or one without the row that is asked for.
    """
    made: dict[tuple[str, ...], Row] = {}
    for cell in cells:
        empty = Row(cell.labels, {name: [] for name in sweep.scores.datasets}, [])
        row = made.setdefault(cell.labels, empty)
        found = state(sweep, cell, folder)
        if found.word == "done":
            for name, values in row.values.items():
                values.append(_score(sweep, folder / cell.folder / own(name) / REPORT))
        else:
            word = {"waiting": NOT_RUN, "diverged": "did not converge"}.get(found.word, found.word)
            row.words.append(word)
    return list(made.values())


def floors(sweep: Sweep, cells: list[Cell], folder: Path) -> list[Row]:
    """What the floors score, as the first cell that is done reports it; only seed 0 has them."""
    first = [cell for cell in cells if cell.seed == 0]
    done = [cell for cell in first if state(sweep, cell, folder).word == "done"]
    if not done:
        return []
    places = {name: folder / done[0].folder / own(name) / REPORT for name in sweep.scores.datasets}
    inits = {
        row["init"]
        for path in places.values()
        for row in files.read_json(path)["scores"]
        if row["protocol"] == sweep.scores.protocol and row["init"] != ENCODER
    }
    empty = [""] * (len(sweep.axes) - 1)
    return [
        Row(
            (f"floor: {init}", *empty),
            {name: [_score(sweep, path, init)] for name, path in places.items()},
            [],
        )
        for init in sorted(inits)
    ]


def measure(sweep: Sweep) -> str:
    """What the numbers of a grid are."""
    if _are_errors(sweep):
        return "mean absolute error in percent points, lower is better"
    return "macro-F1 in percent"


def _are_errors(sweep: Sweep) -> bool:
    return sweep.scores.protocol == "regression"


def markdown(sweep: Sweep, found: list[Row]) -> str:
    """A line a row: labels, mean and standard deviation over seeds, the paper's number."""
    several = len(sweep.scores.datasets) > 1
    head = [*sweep.axes, *sweep.scores.datasets, *(["mean"] if several else []), "seeds"]
    head += ["paper"] if sweep.paper else []
    lines = [head, ["---"] * len(head)]
    for row in found:
        columns = [*row.values.values(), *([row.means] if several else [])]
        cells = [*row.labels, *(_told(values, row.words) for values in columns)]
        counted = [str(len(row.means)), *(f"{row.words.count(w)} {w}" for w in _distinct(row))]
        cells.append(", ".join(counted))
        if sweep.paper:
            number = sweep.paper.get(" / ".join(row.labels))
            cells.append("" if number is None else f"{number:.1f}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def heat_map(sweep: Sweep, found: list[Row], path: Path) -> None:
    """Writes the means of a grid with two axes as PNG, like Fig. C.7; the better, the lighter."""
    from matplotlib.figure import Figure

    (down, across) = (list(axis) for axis in sweep.axes.values())
    means = {row.labels: statistics.fmean(row.means) for row in found if row.means}
    grid = [[means.get((a, b), float("nan")) for b in across] for a in down]
    figure = Figure(figsize=(1.6 + 1.1 * len(across), 1.2 + 0.8 * len(down)), layout="constrained")
    axes = figure.subplots()
    errors = _are_errors(sweep)
    image = axes.imshow(grid, cmap="magma_r" if errors else "magma", aspect="auto")
    names = list(sweep.axes)
    axes.set(xlabel=names[1], ylabel=names[0])
    figure.suptitle(measure(sweep), fontsize="medium")
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    shown = [value for line in grid for value in line if value == value]
    middle = (min(shown) + max(shown)) / 2 if shown else 0
    for y, line in enumerate(grid):
        for x, value in enumerate(line):
            text = f"{value:.1f}" if value == value else NOT_RUN
            colour = "black" if (value > middle) != errors else "white"
            axes.text(
                x, y, text, ha="center", va="center", color=colour if value == value else "grey"
            )
    figure.colorbar(image)
    with files.atomic(path) as file:
        figure.savefig(file, format="png", dpi=150)


def _score(sweep: Sweep, path: Path, init: str = ENCODER) -> float:
    asked = {"init": init, "protocol": sweep.scores.protocol}
    splits = (sweep.scores.split_by, "official")  # a set's own split replaces the drawn ones
    found = [
        row
        for row in files.read_json(path)["scores"]
        if row["metric"] in ("macro_f1", "l1")
        and row["split_by"] in splits
        and all(row[k] == v for k, v in asked.items())
    ]
    if not found:
        told = ", ".join(f"{k}={v}" for k, v in [*asked.items(), ("split_by", splits[0])])
        raise HistoError(path, "config", f"has no score of {told}", "see `scores` of the sweep")
    scale = 100 if found[0]["metric"] == "macro_f1" else 1
    return scale * statistics.fmean(row["value"] for row in found)


def _told(values: list[float], words: list[str]) -> str:
    if not values:
        return words[0] if words else NOT_RUN
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def _distinct(row: Row) -> list[str]:
    return list(dict.fromkeys(row.words))
