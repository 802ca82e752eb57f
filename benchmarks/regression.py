"""Has a stage become slower, as a multiple of another? Compares ratios, never seconds.

    python benchmarks/regression.py              # fails when a ratio is twice what was committed
    python benchmarks/regression.py --write      # measures anew and keeps that

A ratio is the CPU-seconds of an image in a stage over those of decoding it and
nothing else; NT-Xent in blocks is over dense, the heads' sweep over single fits, and
shard_map over pmap. The least of three rounds counts. Small enough for a noisy machine, and only
for one like that of `ratios.json`; needs TensorFlow.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import input_pipeline
import jax
import measure
import ntxent
import numpy as np
import probe
from train_step import Setup

KNOWN = Path(__file__).with_name("ratios.json")
WORSE = 2.0  # times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="keep what is measured")
    parser.add_argument("--ratios", type=Path, default=KNOWN, help="file to compare or write")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--width", type=int, default=16, help="of the step's ResNet-18")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=2560, help="of NT-Xent")
    parser.add_argument("--subsampling", default="4:2:0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    flags = parser.parse_args()
    facts = measure.machine()
    measure.show_machine(facts)
    now = measured(flags)
    if flags.write:
        flags.ratios.write_text(json.dumps(now, indent=1) + "\n")
    known = json.loads(flags.ratios.read_text())
    rows = [
        (name, f"{value:.3g}", f"{known[name]:.3g}" if name in known else "new")
        for name, value in now.items()
    ]
    print(measure.table(("ratio", "now", "committed"), rows))
    slower = worse(now, known)
    for name in slower:
        print(f"SLOWER  {name}: {now[name] / known[name]:.1f} times what was committed")
    return 1 if slower else 0


def worse(now: dict[str, float], known: dict[str, float]) -> list[str]:
    """The ratios that are at least WORSE times the known ones."""
    return [name for name in known if name in now and now[name] >= WORSE * known[name]]


def measured(flags: argparse.Namespace) -> dict[str, float]:
    timing = {"rounds": flags.rounds, "seconds": flags.seconds}
    same = ("resnet18", flags.width, "float32", flags.batch, flags.size)
    index = np.arange(flags.batch, dtype=np.int32)
    with tempfile.TemporaryDirectory() as folder:
        source = input_pipeline.Source(Path(folder), flags)
        if not source.encoded:
            sys.exit("regression.py needs TensorFlow")
        batch = {"image": source.pixels[: flags.batch], "index": index}
        systems = {
            "decoder": input_pipeline.decoder_alone(source),
            "read": input_pipeline.read(source),
            "decode": input_pipeline.decode(source),
            "host": input_pipeline.ours(source),
            "batch": input_pipeline.gather(source),
            "transfer": input_pipeline.transfer(source, batch),
            "views on host": input_pipeline.views_on_host(source),
            "views on device": input_pipeline.views_on_device(source),
            "step": Setup(*same, "pmap").steps(),
            "step by shard_map": Setup(*same, "shard_map").steps(),
        }
        cost = least(measure.alternate(systems, **timing, skip=2))
    decoding, shard_map = cost.pop("decoder"), cost.pop("step by shard_map")
    ratios = {f"{name} / decoder": value / decoding for name, value in cost.items()}
    ratios["shard_map / pmap"] = shard_map / cost["step"]

    z = np.random.default_rng(0).normal(size=(2, flags.pairs, 128)).astype(np.float32)
    z = jax.device_put((z[0], z[1]))
    logits = {"dense": 2**62, "blocks": flags.pairs**2}  # four blocks
    compiled = {name: ntxent.loss(flags.pairs, 128, limit) for name, limit in logits.items()}
    systems = {name: measure.calls(lambda made=made: made(z), 1) for name, made in compiled.items()}
    problems = [probe.draw(seed, 256, 128) for seed in range(4)]
    systems |= {"sweep": probe.sweep(problems, 20), "one by one": probe.one_by_one(problems, 20)}
    cost = least(measure.alternate(systems, **timing))
    ratios["NT-Xent in blocks / dense"] = cost["blocks"] / cost["dense"]
    ratios["heads' sweep / one by one"] = cost["sweep"] / cost["one by one"]
    return ratios


def least(samples: dict[str, list[measure.Sample]]) -> dict[str, float]:
    """CPU-seconds of a unit in the best round."""
    return {name: min(s.cpu / s.units for s in some) for name, some in samples.items()}


if __name__ == "__main__":
    sys.exit(main())
