"""Weights as files: export a run's encoder, look at a file.

python -m histo_jax.weights export runs/simclr_r18 encoder.safetensors
python -m histo_jax.weights check encoder.safetensors
"""

import argparse
import sys
from pathlib import Path

from histo_jax import errors, weights
from histo_jax.weights import check


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write an encoder in torchvision's names")
    export.add_argument("run", type=Path, help="a work directory of train.py, or one step in it")
    export.add_argument("file", type=Path, help=".safetensors, or .pth where torch is installed")
    look = commands.add_parser("check", help="what a file holds, and features to compare")
    look.add_argument("file", type=Path, help=".safetensors, .pth, .pt or .ckpt")
    look.add_argument("--imagenet", action="store_true", help="its images are scaled as ImageNet's")
    return parser.parse_args()


def main(flags: argparse.Namespace) -> None:
    if flags.command == "check":
        print(check.describe(weights.load(flags.file, imagenet=flags.imagenet)))
        return
    from histo_jax.training.checkpoint import load_encoder

    run = load_encoder(flags.run)
    weights.save(run.params, run.batch_stats, run.card, flags.file)
    card = weights.load(flags.file).card  # proven: what was written is what is read
    print(f"wrote    {flags.file}: {card['encoder']}, width {card['width']}, step {card['step']}")
    print(f"sha256   {card['sha256']} of the arrays")
    if card["width"] != 64 or card["encoder"] == "resnet_tiny":
        told = f"no {card['encoder']} of width {card['width']}: torch needs one built alike"
        print(f"warning: torchvision has {told}", file=sys.stderr)


if __name__ == "__main__":
    flags = arguments()
    sys.exit(errors.run(lambda: main(flags), debug=flags.debug))
