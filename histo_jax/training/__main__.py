"""`python -m histo_jax.training verify <workdir>`: reads every checkpoint, checks all it holds.

A single step is checked by `verify <workdir>/checkpoints/<step>`.
"""

import argparse
import sys
from pathlib import Path

from histo_jax import errors
from histo_jax.training import checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m histo_jax.training", description=__doc__)
    parser.add_argument("command", choices=["verify"])
    parser.add_argument("path", type=Path, help="a work directory, or one step in its checkpoints/")
    folder, found = checkpoint.locate(parser.parse_args().path)
    bad = 0
    for step in found:
        try:
            arrays, _ = checkpoint.read(folder, step)
            print(f"step {step}: {len(arrays)} arrays whole")
        except errors.HistoError as error:
            bad += 1
            print(f"error: {error}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
