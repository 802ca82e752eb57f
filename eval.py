"""Scores a frozen encoder beside floors that come for free, and writes a page about it.

  python eval.py --config configs/probe.py --checkpoint runs/simclr_r18 \\
    --config.dataset=histo_labelled/mylab

The table is printed; report.html (to read) and report.json (all numbers) go to the work directory
of the checkpoint, and to a place of their own below its eval/; with --out to that folder alone.
Options of the recipe are set by --config.field=value, for example --config.repeats=5.
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
        type=Path,
        help="a work directory of train.py, its newest whole step is scored; or one step's folder; "
        "without it the floors alone are scored, --out says where to",
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
    from histo_jax.evaluation import publish, report, run
    from histo_jax.training.checkpoint import load_encoder

    loaded = load_encoder(flags.checkpoint) if flags.checkpoint else None
    publish.home(flags.out, loaded)  # refused now rather than after the work
    done = run.evaluate(config, loaded, config.data.dir)
    print(report.table(done.report))
    for page in publish.publish(done, flags.out):
        print(f"wrote    {page}")


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
