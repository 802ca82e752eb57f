"""Pretrains an encoder on prepared tissue; the same command resumes a run that was stopped.

Examples:
  python train.py --config configs/demo.py
  python train.py --config configs/simclr_r18.py --workdir runs/r18 --config.data.batch_size=256
  python train.py --config configs/simclr_r18.py --config.probe.dataset=histo_labelled/mylab
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from histo_jax import config as options
from histo_jax import errors


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and the `--config.…` flags that follow them."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Options of a recipe, each set by --config.<name>=<value>, and their defaults:\n\n"
        + options.describe(options.Config),
        usage="train.py --config RECIPE [--workdir FOLDER] [--config.<name>=<value> …]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="RECIPE",
        required=True,
        help="file.py or file.py:argument, see configs/",
    )
    parser.add_argument(
        "--workdir",
        metavar="FOLDER",
        type=Path,
        help="default: runs/<recipe>; resumed if it exists",
    )
    parser.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,INDEX,COUNT",
        help="one process of several: as the cluster says (Slurm, Kubernetes, MPI), or by hand",
    )
    parser.add_argument(
        "--profile",
        metavar="STEPS",
        type=int,
        default=0,
        help="trace so many steps into <workdir>/profile, for JAX's profiler",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser.parse_known_args()


def main(flags: argparse.Namespace, overrides: list[str]) -> None:
    config = options.load(options.Config, flags.config, overrides)
    cluster = processes(flags.distributed) if flags.distributed else None
    from histo_jax.data import mixture

    sets = mixture.open_run(config)

    import jax

    from histo_jax.evaluation import online
    from histo_jax.models import build_encoder, build_projector
    from histo_jax.objectives import build_objective, check_negatives
    from histo_jax.training import compile_cache, loop, parallel

    if cluster is not None:
        join(cluster)
    compile_cache.keep()
    warn_about_idle_gpu()
    probe = online.make_probe(config)
    model, augment = config.model, config.augment
    encoder = build_encoder(
        model.encoder, model.width, dtype=model.dtype, axis=parallel.AXIS, remat=model.remat
    )
    projector = build_projector(
        model.projector, encoder.features, dtype=model.dtype, axis=parallel.AXIS
    )
    objective = build_objective(
        config.objective.name,
        encoder=encoder,
        projector=projector,
        temperature=config.objective.temperature,
        skips=config.objective.skips,
        colours=config.objective.colours,
    )
    check_negatives(objective, config.data.batch_size)
    views = objective.views(
        seed=config.seed,
        recipe=augment.recipe,
        size=config.data.image_size,
        crop_min=augment.crop_min,
        jitter=augment.jitter,
        branches=loop.placement(config) == "host" or jax.default_backend() == "cpu",
    )
    stem = Path(flags.config.partition(":")[0]).stem
    workdir = flags.workdir or Path("runs") / stem
    loop.train(
        config, workdir, objective=objective, views=views, mixture=sets, probe=probe,
        profile=flags.profile,
    )  # fmt: skip
    if jax.process_index() == 0:
        print(f"done     {workdir}")
        print(
            f"next     python eval.py --config configs/probe.py --checkpoint {workdir} "
            "--config.dataset=histo_labelled/<name>"
        )


def processes(text: str) -> dict[str, Any]:
    """`--distributed` as arguments of `jax.distributed.initialize`; none for `auto`."""
    if text == "auto":
        return {}
    match = re.fullmatch(r"([^,\s]+:\d+),(\d+),(\d+)", text)
    if not match or int(match[2]) >= int(match[3]):
        remedy = "auto, or HOST:PORT,INDEX,COUNT with INDEX from 0 to COUNT - 1"
        raise errors.HistoError("--distributed", "config", f"is {text!r}", remedy)
    address, index, count = match.groups()
    return {"coordinator_address": address, "process_id": int(index), "num_processes": int(count)}


def join(cluster: dict[str, Any]) -> None:
    """Meets the other processes."""
    import jax

    try:
        jax.distributed.initialize(**cluster)
    except (RuntimeError, ValueError) as error:
        what = "can't join the other processes: " + str(error).split("\n")[0]
        remedy = "start all of them, or name them: HOST:PORT,INDEX,COUNT"
        raise errors.HistoError("--distributed", "processes", what, remedy) from error


def warn_about_idle_gpu() -> None:
    """Says so where a driver is present but JAX sees only the CPU."""
    import jax

    if os.path.exists("/proc/driver/nvidia/version") and jax.default_backend() == "cpu":
        print(
            "warning: an NVIDIA driver is here but JAX sees only the CPU (install histo_jax[cuda])",
            file=sys.stderr,
        )


if __name__ == "__main__":
    flags, overrides = arguments()
    sys.exit(errors.run(lambda: main(flags, overrides), debug=flags.debug))
