"""Scores a frozen encoder: python eval.py --config configs/probe.py --checkpoint runs/r18
  --config.dataset=histo_labelled/mylab

The report goes to <checkpoint>/report.json, or --out.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from histo_jax import config as options
from histo_jax import errors


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and the `--config.…` flags that follow them."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="recipe: file.py or file.py:argument")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a work directory of train.py"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the report; default: the work directory"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_known_args()


def main(flags: argparse.Namespace, overrides: list[str]) -> None:
    config = options.load(options.EvalConfig, flags.config, overrides)
    if not config.dataset:
        raise errors.HistoError(
            "config.dataset", "config", "is not set", "--config.dataset=histo_labelled/<name>"
        )
    from histo_jax.evaluation.run import evaluate
    from histo_jax.training.checkpoint import load_encoder

    loaded = load_encoder(flags.checkpoint)
    evaluate(config, loaded, config.data.dir, flags.out or flags.checkpoint)


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
