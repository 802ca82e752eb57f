"""Scores encoders beside floors that come for free, and writes a page about it.

  python eval.py --config configs/probe.py --checkpoint runs/simclr_r18 \\
    --config.dataset=histo_labelled/mylab

Recipes: probe (linear layer, k-NN), classical (logistic regression, support vectors, trees),
fractions (few labels), finetune, segment, compare (all frozen ones).

The table is printed; report.html (to read), report.json and report.csv (all numbers) go to the work
directory of the first checkpoint, and to a place of their own below its eval/; with --out to that
folder alone. Options of the recipe are set by --config.field=value, e.g. --config.repeats=5.
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
        epilog="--config.… options\n\n" + options.describe(options.EvalConfig),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="recipe: file.py or file.py:argument")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="[NAME=]SOURCE",
        help="a work directory of train.py, its newest whole step is scored, or one step's folder; "
        "a weights file (.safetensors, .pth, .ckpt), imagenet:FILE for a supervised one; features "
        "made elsewhere (.h5); random:ARCHITECTURE. Several are put into one table. Without any "
        "the floors alone are scored, --out says where to",
    )
    parser.add_argument("--out", type=Path, help="folder of the report alone")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_known_args()


def main(flags: argparse.Namespace, overrides: list[str]) -> None:
    config = options.load(options.EvalConfig, flags.config, overrides)
    options.check(config)
    if not config.dataset:
        raise errors.HistoError(
            "config.dataset", "config", "is not set", "--config.dataset=histo_labelled/<name>"
        )
    from histo_jax.evaluation import foreign, publish, report, run
    from histo_jax.training import compile_cache

    compile_cache.keep()
    sources, untrained = foreign.open_sources(flags.checkpoint)
    publish.home(flags.out, sources)  # refused now rather than after the work
    done = run.evaluate(config, sources, config.data.dir, untrained)
    print(report.table(done.report))
    for page in publish.publish(done, flags.out):
        print(f"wrote    {page}")


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
