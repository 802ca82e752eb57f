"""Prepared data: make the raw cache, check what is on disk, measure the reading speed.

python -m histo_jax.data cache histo_wsi/mylab --size 224
python -m histo_jax.data verify ~/tensorflow_datasets --deep
python -m histo_jax.data speed histo_wsi/mylab --size 224 --cache none
python -m histo_jax.data overlap histo_wsi/mylab histo_labelled/mylab --json shared.json
"""

import argparse
import sys
import time
from pathlib import Path

from histo_jax import errors, files
from histo_jax.data import mixture, overlap, pipeline, prepared, raw
from histo_jax.errors import HistoError


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    cache = commands.add_parser("cache", help="decode a set once into a memory-mapped array")
    verify = commands.add_parser("verify", help="check every prepared set in or below a folder")
    speed = commands.add_parser("speed", help="images/s of the input pipeline alone")
    for command in (cache, speed):
        command.add_argument("name", help="prepared set, builder/config")
        command.add_argument("--size", type=count, default=224, help="pixels a side")
        command.add_argument("--data_dir", help="default: TFDS_DATA_DIR, else TFDS's default")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--deep", action="store_true", help="hash and decode everything")
    shared = commands.add_parser("overlap", help="what sets and their splits have in common")
    shared.add_argument("names", nargs="*", help="prepared sets; none: all of the data folder")
    shared.add_argument("--json", type=Path, help="file to write the report to")
    shared.add_argument("--data_dir", help="default: TFDS_DATA_DIR, else TFDS's default")
    speed.add_argument("--cache", choices=("none", "raw"), default="none")
    speed.add_argument("--batch_size", type=count, default=256)
    speed.add_argument("--seconds", type=float, default=10)
    return parser.parse_args()


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def main(flags: argparse.Namespace) -> int:
    """Runs one command, returns the exit status."""
    if flags.command == "verify":
        return verify(flags.folder, flags.deep)
    if flags.command == "overlap":
        return compare(flags.data_dir, flags.names, flags.json)
    if flags.command == "cache":
        opened = prepared.open_prepared(flags.data_dir, flags.name)
        print(raw.build_raw(opened, flags.size))
        return 0
    data = mixture.open_mixture(flags.data_dir, ((flags.name, None),), split="all")
    rate, cpu = measure(data, flags.size, flags.batch_size, flags.cache, flags.seconds)
    print(f"{data.n:,} images, cache={flags.cache}: {rate:,.0f} images/s, {cpu:,.0f} a CPU-second")
    return 0


def verify(folder: Path, deep: bool) -> int:
    """Checks every prepared set in or below `folder`; one line each, status 1 if any is damaged."""
    marks = [*folder.rglob(prepared.CARD), *folder.rglob("*.tfrecord-*-of-*")]
    versions = sorted({mark.resolve().parent for mark in marks if "/." not in str(mark.parent)})
    if not versions:
        raise HistoError(folder, "no-set", "no prepared set in or below it")
    damaged = 0
    for version in versions:
        try:
            opened = prepared.open_version(version)
            caches = []
            if deep:
                prepared.verify(opened)
                caches = raw.verify_raw(opened)
            done = "every image and shard hashed and decoded" if deep else "sizes and counts"
            extra = f", {len(caches)} raw caches" if caches else ""
            print(f"ok       {opened.name}: {opened.n:,} images ({done}{extra})")
        except HistoError as error:
            damaged = 1
            print(f"error: {error}", file=sys.stderr)
    return damaged


def compare(data_dir: str | None, names: list[str], report: Path | None) -> int:
    """Prints what sets share; status 1 where splits of one set share images, slides or patients."""
    names = names or prepared.list_prepared(data_dir)
    if not names:
        raise HistoError(prepared.default_data_dir(data_dir), "no-set", "no prepared set in it")
    opened = [prepared.open_prepared(data_dir, name) for name in dict.fromkeys(names)]
    found = overlap.compare([part for one in opened for part in overlap.parts_of(one)])
    print("\n".join(overlap.told(found)))
    if report is not None:
        files.write_json(report, found)
    return int(any(pair["leak"] for pair in found["pairs"]))


def measure(
    data: mixture.Mixture, size: int, batch_size: int, cache: str, seconds: float
) -> tuple[float, float]:
    """Images per second and per CPU-second of the pipeline alone, after a first batch."""
    batches = pipeline.batches(
        data, split=data.split, seed=0, image_size=size, batch_size=batch_size, cache=cache,
        start_step=0, total_steps=1 << 40,
    )  # fmt: skip
    next(batches)
    wall, cpu, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        images += len(next(batches)["index"])
    return images / (time.perf_counter() - wall), images / (time.process_time() - cpu)


if __name__ == "__main__":
    flags = arguments()
    sys.exit(errors.run(lambda: main(flags), debug=flags.debug))
