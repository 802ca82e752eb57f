"""Slides with a few bytes changed, cut by workers as a build does: nothing may stop the build.

    python benchmarks/mutants.py [--n 10000] [--seed 0] [--workers 2]

Three small drawn slides take turns: JPEG (SVS), deflate and LZW (generic TIFF). Each mutant has one
bit flipped, 8 bytes set, its end cut off, a run of 1, 512 or 4096 bytes zeroed, a run of 4, 512 or
4096 bytes replaced by noise, or 3 bytes of header and directories changed. The table counts what
became of them: all tiles as in the whole slide; so but for tiles counted as unreadable; other
tiles, which only a checksum of the file can notice; refused, by reason.

The exit status is 1 where the counts don't add up, a worker stays behind or the parent leaks file
handles, and where a slide brought about what nobody foresaw (`worker-error`): its number makes it
again.
"""

import argparse
import collections
import io
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from slide_bytes import slide

from histo_jax.slides.parts import read_part
from histo_jax.slides.pool import Job, cut_slides
from histo_jax.slides.tiles import TileRule

# Every tile, and half of them may be lost: else a damaged one of six refuses the slide.
RULE = TileRule(size=64, tissue="none", max_tiles=1000, max_bad=0.5)
SIZE = (192, 128)  # pixels
BATCH = 1000  # mutants on disk at once
PATIENCE_S = 600  # for a batch; one slide may take a minute
READ = ("equal", "equal but for tiles left out", "other tiles")  # what a part may hold
NOT_TILES = ("unreadable", "transparent")
STRANGE = ("worker-error", "worker-died", "timeout")  # named one by one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    signal.signal(signal.SIGALRM, stuck)
    bases = {"jpeg.svs": slide("jpeg", *SIZE, aperio=True)}
    bases |= {f"{codec}.tif": slide(codec, *SIZE) for codec in ("deflate", "lzw")}
    counts = {name: collections.Counter() for name in bases}
    strange, handles, begin = [], len(os.listdir("/proc/self/fd")), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = {name: cut_whole(Path(folder), name, data) for name, data in bases.items()}
        for first in range(0, flags.n, BATCH):
            numbers = range(first, min(first + BATCH, flags.n))
            for number, name, outcome in batch(Path(folder), bases, whole, numbers, flags):
                counts[name][outcome] += 1
                if outcome in STRANGE:
                    strange.append(f"mutant {number} of {name}: {outcome}")
    seconds = time.monotonic() - begin
    print(table(counts))
    print(f"{flags.n:,} mutants in {seconds:.0f} s, {flags.n / seconds:.0f} a second")
    for line in strange:
        print(line)
    trouble = [line for line in strange if line.endswith("worker-error")]
    if sum(c.total() for c in counts.values()) != flags.n:
        trouble.append("the counts don't add up")
    if (left := children()) or len(os.listdir("/proc/self/fd")) > handles:
        trouble.append(f"left behind: workers {left}, or file handles")
    print("trouble: " + "; ".join(trouble) if trouble else "no trouble")
    return bool(trouble)


def batch(folder, bases, whole, numbers, flags):
    """Yields number, base and outcome of some mutants, whose files and parts are then removed."""
    signal.alarm(PATIENCE_S)
    with tempfile.TemporaryDirectory(dir=folder) as here:
        jobs, names = [], list(bases)
        for number in numbers:
            name = names[number % len(names)]
            path = Path(here, f"{number}-{name}")
            path.write_bytes(mutant(bases[name], np.random.default_rng((flags.seed, number))))
            jobs.append(Job(str(path)))
        parts = Path(here, "parts")
        for done in cut_slides(jobs, RULE, parts, flags.workers, timeout_s=60):
            number, _, name = Path(done.path).name.partition("-")
            outcome = done.error.reason if done.error else judge(done.part, whole[name])
            yield int(number), name, outcome
    signal.alarm(0)


def mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the mutations, somewhere; half of the runs begin within the first or last 4 KB."""
    data, size = bytearray(data), len(data)
    ends = rng.integers(2) and size > 8192
    at = int(rng.integers(-4096, 4096) % size if ends else rng.integers(size))
    kind = int(rng.integers(10))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[at : at + 8] = bytes([int(rng.integers(256))]) * len(data[at : at + 8])
    elif kind == 2:
        del data[at:]
    elif kind < 6:
        length = (1, 512, 4096)[kind - 3]
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind < 9:
        length = (4, 512, 4096)[kind - 6]
        data[at : at + length] = rng.bytes(len(data[at : at + length]))
    else:
        entries = directories(bytes(data))
        for place in rng.choice(entries, 3):
            data[int(place)] = int(rng.integers(256))
    return bytes(data)


def directories(data: bytes) -> list[int]:
    """Where the bytes of header and directories lie."""
    places = list(range(8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page in file.pages:
            places += range(page.offset, page.offset + 2 + 12 * len(page.tags) + 4)
    return places


def judge(part: Path, whole: dict) -> str:
    tiles, counts = seen(part)
    if tiles == whole:
        return READ[0]
    left_out = sum(counts[name] for name in NOT_TILES)
    fewer = tiles.items() <= whole.items() and len(tiles) + left_out == len(whole)
    return READ[1] if fewer else READ[2]


def seen(part: Path) -> tuple[dict, dict]:
    """JPEG bytes of every tile by its place, and the counts."""
    card, tiles = read_part(part)
    return {(t["level"], t["x"], t["y"], t["mpp"]): jpeg for t, jpeg in tiles}, card["counts"]


def cut_whole(folder: Path, name: str, data: bytes) -> dict:
    (folder / name).write_bytes(data)
    (done,) = cut_slides([Job(str(folder / name))], RULE, folder / "whole", 1)
    return seen(done.part)[0]


def table(counts: dict[str, collections.Counter]) -> str:
    refused = {outcome for c in counts.values() for outcome in c} - set(READ)
    lines = [f"{'':34}" + "".join(f"{name:>13}" for name in counts)]
    for row in (*READ, *sorted(refused), "all"):
        numbers = [c.total() if row == "all" else c[row] for c in counts.values()]
        lines.append(f"{row:34}" + "".join(f"{number:13,}" for number in numbers))
    return "\n".join(lines)


def children() -> list[str]:
    """Processes that this one started and that still run."""
    tasks = Path("/proc/self/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]


def stuck(*_: object) -> None:
    raise TimeoutError(f"a batch is not done after {PATIENCE_S} s")


if __name__ == "__main__":
    sys.exit(main())
