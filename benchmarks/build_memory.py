"""Memory of a build of many tiles, by the real command.

    python benchmarks/build_memory.py OUT [--tiles 100000] [--workers 2]

Slides of 100 tiles of 72 pixels each, all kept: copies of a drawn one with a few bytes of their own
at the end. Resident memory is read from /proc twice a second: of `tfds build` by itself, and
of it with its workers. The exit status is 1 where either grows by more than 200 MB after a tenth of
the slides is cut. Everything stays below OUT, about 25 KB a tile.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from runs import ROOT
from slide_bytes import slide

TILES, SIDE = 100, 720  # of a slide; its side in pixels
CONFIG = '{"name": "memory", "tile_size": 72, "max_tiles": 100, "tissue": "none", "workers": %d}'
EVERY_S = 0.5
BAR_MB = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    out, count = flags.out.resolve(), flags.tiles // TILES
    (out / "slides").mkdir(parents=True)
    data = slide("jpeg", SIDE, SIDE, aperio=True)
    for number in range(count):
        (out / "slides" / f"{number}.svs").write_bytes(data + f"slide {number}".encode())
    command = [Path(sys.executable).with_name("tfds"), "build", "tfds_builders/histo_wsi"]
    command += ["--config", CONFIG % flags.workers, "--manual_dir", out / "slides"]
    command += ["--data_dir", out / "data"]
    print("$", *command, flush=True)
    with open(out / "build.log", "wb") as log:
        build = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        samples = watch(build, out / "data" / ".parts" / "histo_wsi-memory")
    if build.returncode:
        print((out / "build.log").read_text()[-2000:], file=sys.stderr)
        return 1
    return report(samples, count)


def watch(build: subprocess.Popen, parts: Path) -> list[tuple[float, int, float, float]]:
    """(seconds, slides cut, MB of the build, MB with its workers) until it ends."""
    samples, begin = [], time.monotonic()
    while build.poll() is None:
        cut = sum(1 for _ in parts.glob("*.zip"))
        alone = resident(build.pid)
        tree = alone + sum(resident(pid) for pid in below(build.pid))
        if alone:  # else it has just ended
            samples.append((time.monotonic() - begin, cut, alone, tree))
        time.sleep(EVERY_S)
    return samples


def report(samples: list[tuple[float, int, float, float]], count: int) -> int:
    """Prints the table; 1 where memory grew too much."""
    later = [s for s in samples if s[1] >= count / 10]
    cutting = [s for s in later if s[1] < count]
    rows = {
        "a tenth of the slides cut": later[0],
        "most while cutting": tuple(map(max, zip(*cutting, strict=True))),
        "all slides cut": next(s for s in later if s[1] == count),
        "most after a tenth": tuple(map(max, zip(*later, strict=True))),
        "end": later[-1],
    }
    print(f"{'':28}{'s':>6} {'slides':>8} {'build, MB':>10} {'with workers, MB':>17}")
    for name, (seconds, cut, alone, tree) in rows.items():
        print(f"{name:28}{seconds:6.0f} {cut:8,} {alone:10,.0f} {tree:17,.0f}")
    grown = [max(s[i] for s in later) - later[0][i] for i in (2, 3)]
    print(f"growth: {grown[0]:.0f} MB, with workers {grown[1]:.0f} MB; at most {BAR_MB} MB")
    return max(grown) > BAR_MB


def resident(pid: int) -> float:
    """MB; 0 for a process that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def below(pid: int) -> list[int]:
    """All processes that one started, and theirs."""
    found = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [c for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return found
    for child in map(int, children):
        found += [child, *below(child)]
    return found


if __name__ == "__main__":
    sys.exit(main())
