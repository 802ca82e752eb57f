"""`python -m histo_jax.features`: what an encoder says about whole slides, and what that is for."""

import argparse
import importlib

from histo_jax import errors

# Each is a module of this folder with `HELP`, `add_flags(parser)` and `run(args)`.
COMMANDS = ("extract", "cluster", "search", "choose", "label_curve")


def arguments() -> argparse.Namespace:
    """The command and its flags."""
    parser = argparse.ArgumentParser(prog="python -m histo_jax.features", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"histo_jax.features.{name}")
        module.add_flags(commands.add_parser(name, help=module.HELP, description=module.HELP))
    return parser.parse_args()


def main() -> None:
    """Runs one command."""
    args = arguments()
    module = importlib.import_module(f"histo_jax.features.{args.command}")
    raise SystemExit(errors.run(lambda: module.run(args), args.debug))


if __name__ == "__main__":
    main()
