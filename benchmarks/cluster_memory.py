"""Memory and time of `python -m histo_jax.features cluster` on many tiles.

    python benchmarks/cluster_memory.py OUT [--rows 50000] [--width 512] [--slides 10] [--k 300]

The features are drawn: points about 2k centres. Resident memory is read from /proc five times a
second: anonymous pages are what the program needs; pages of files (the features, mapped) are the
kernel's cache, which it takes back where memory is short. The exit status is 1 where anonymous
pages exceed 1,000 MB. Everything stays below OUT: twice the features while it runs.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from runs import ROOT

from histo_jax.features import store

BAR_MB = 1000
EVERY_S = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--slides", type=int, default=10)
    parser.add_argument("--k", type=int, default=300)
    flags = parser.parse_args()
    features = flags.out.resolve() / "features"
    if not features.exists():
        write(features, flags.rows, flags.width, flags.slides, 2 * flags.k)
    shutil.rmtree(flags.out / "clusters", ignore_errors=True)
    command = [sys.executable, "-m", "histo_jax.features", "cluster", features]
    command += ["--k", str(flags.k), "--out", flags.out.resolve() / "clusters"]
    print("$ python", *command[1:], flush=True)
    begin = time.perf_counter()
    running = subprocess.Popen(command, cwd=ROOT)
    peak = watch(running)
    seconds = time.perf_counter() - begin
    size = flags.rows * flags.width * 4 / 1e6
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"{flags.rows:,} x {flags.width}, {size:,.0f} MB, k={flags.k:,}", end=": ")
    print(f"{seconds:,.0f} s, {cpu:,.0f} s of a core")
    print(", ".join(f"{name} {most:,.0f} MB" for name, most in peak.items()) + " at most")
    return running.returncode or peak["RssAnon"] > BAR_MB


def write(folder: Path, rows: int, width: int, slides: int, centres: int) -> None:
    """Files of features without pictures, as if each were a slide of the same number of tiles."""
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(centres, width)).astype(np.float32)
    for i, part in enumerate(np.array_split(np.arange(rows), slides)):
        n = len(part)
        x = middle[rng.integers(0, centres, n)]
        x += 0.7 * rng.standard_normal((n, width), np.float32)
        columns = int(np.ceil(np.sqrt(n)))
        coords = np.stack(np.divmod(np.arange(n), columns), 1) * 224
        facts = store.Facts(
            f"slide-{i}", f"slide-{i}.svs", "resnet18", "pooled", "drawn", 224, 224, 0.5
        )
        keys = [f"{i:016x}-0-{x}-{y}" for x, y in coords]
        store.write(folder / f"slide-{i:03}.h5", facts, x, coords, keys)


def watch(running: subprocess.Popen) -> dict[str, float]:
    """MB: the most of anonymous pages, of files' pages, and of both together, until it ends."""
    peak = {"RssAnon": 0.0, "RssFile": 0.0, "VmRSS": 0.0}
    while running.poll() is None:
        try:
            status = Path(f"/proc/{running.pid}/status").read_text()
        except OSError:
            break
        lines = dict(line.split(":", 1) for line in status.splitlines())
        for name in peak:
            if name in lines:
                peak[name] = max(peak[name], int(lines[name].split()[0]) * 1024 / 1e6)
        time.sleep(EVERY_S)
    running.wait()
    return peak


if __name__ == "__main__":
    sys.exit(main())
