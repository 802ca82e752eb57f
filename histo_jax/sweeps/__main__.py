"""Trains and scores a grid of runs, and prints its table.

python -m histo_jax.sweeps configs/paper/crop_jitter.py --dry-run
python -m histo_jax.sweeps configs/paper/crop_jitter.py --folder runs/crop_jitter

The same command goes on where it stopped; several of them share one folder's work.
"""

import argparse
import sys
from pathlib import Path

from histo_jax import errors, files
from histo_jax.sweeps import grid, plan, table
from histo_jax.sweeps.run import run, state

TABLE, MAP = "table.md", "heat_map.png"


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and `--config.…` flags for every training (`data.dir` for its scores as well)."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.sweeps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sweep", help="file.py or file.py:argument, see configs/paper/")
    parser.add_argument("--folder", type=Path, help="default: runs/<name of the file>")
    parser.add_argument("--dry-run", action="store_true", help="cells, images, steps and hours")
    parser.add_argument("--rate", type=float, help="images/s, where no cell was timed yet")
    parser.add_argument("--retry", action="store_true", help="run failed cells again")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_known_args()


def main(flags: argparse.Namespace, overrides: list[str]) -> int:
    """Status 1 where a cell failed or is another process's; one that diverged is a result."""
    path, _, argument = flags.sweep.partition(":")
    sweep = grid.load(Path(path), argument)
    given = grid.given(overrides)
    sweep = grid.with_data_dir(sweep, given.get("data.dir"))
    cells = grid.cells(sweep, given)
    folder = flags.folder or Path("runs") / Path(path).stem
    print(sweep.about.partition("\n")[0])
    if flags.dry_run:
        print("\n".join(plan.told(sweep, cells, folder, flags.rate)))
        return 0
    left = []
    for number, found in enumerate(run(sweep, cells, folder, flags.retry), 1):
        where = f"{found.cell.title}, seed {found.cell.seed}"
        print(f"cell     {number} of {len(cells)}: {where}: {found.word}", flush=True)
        left += [found.word] if found.word in ("failed", "busy") else []
        publish(sweep, cells, folder)
    print((folder / TABLE).read_text(), end="")
    for cell in cells:
        found = state(sweep, cell, folder)
        if found.error:
            print(f"{found.word}: {cell.title}, seed {cell.seed}: {found.error}", file=sys.stderr)
    return int(bool(left))


def publish(sweep: grid.Sweep, cells: list[grid.Cell], folder: Path) -> None:
    """Writes what there is so far."""
    found, beside = table.rows(sweep, cells, folder), table.floors(sweep, cells, folder)
    what = f"Numbers: {table.measure(sweep)}; mean ± standard deviation over seeds."
    text = f"{sweep.about}\n\n{what}\n\n{table.markdown(sweep, found + beside)}\n"
    files.write_text(folder / TABLE, text)
    if len(sweep.axes) == 2:
        table.heat_map(sweep, found, folder / MAP)


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
