"""Exact search: seconds a query over a table of features on disk, by how many are asked at once.

    python benchmarks/search.py [--rows 1400000] [--width 512] [--folder DIR] [--json FILE]

Cold: the files' pages were dropped from memory before. Warm: read once before; CPU: seconds of all
cores of the same. numpy: products and lengths alone, done there. Memory is the most held by this
process.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import measure
import numpy as np

from histo_jax.features import nearest, store
from histo_jax.features.table import BLOCK, Table, open_table

SLIDE = 100_000  # rows a file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_400_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--metric", choices=nearest.METRICS, default="cosine")
    parser.add_argument(
        "--folder", type=Path, help="where the table is written; else removed after"
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    flags = parser.parse_args()
    facts = measure.machine()
    measure.show_machine(facts)
    with tempfile.TemporaryDirectory() as temporary:
        table = made(flags.folder or Path(temporary), flags.rows, flags.width)
        vectors = table.rows(np.arange(max(flags.queries)) * (table.n // max(flags.queries)))
        rows, found = [], []
        for n in flags.queries:
            row = timed(table, vectors[:n], flags.top, flags.metric, flags.rounds)
            rows.append((str(n), *(measure.told(row[k], ".2f") for k in COLUMNS)))
            found.append(row)
    print(f"seconds a pass over {table.n:,} x {table.width}, top {flags.top}")
    print(measure.table(("queries", *COLUMNS), rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"most memory held: {peak / 1e9:.2f} GB, pages of the files included")
    measure.write(flags.json, facts, {"passes": found, "memory_bytes": peak, "bars": {}})


COLUMNS = ("cold", "warm", "CPU", "numpy")


def made(folder: Path, rows: int, width: int) -> Table:
    """Random features, half of them 0, as after a ReLU."""
    for start in range(0, rows, SLIDE):
        path, n = folder / f"{start:09d}.h5", min(SLIDE, rows - start)
        if path.exists():
            continue
        rng = np.random.default_rng(start)
        x = np.maximum(rng.standard_normal((n, width), np.float32), 0)
        about = store.Facts(path.stem, "", "resnet18", "pooled", "", 224)
        keys = [f"{start + i:016x}-0-0-0" for i in range(n)]
        store.write(path, about, x, np.zeros((n, 2), np.int64), keys)
    return open_table(folder)


def timed(table: Table, vectors: np.ndarray, top: int, metric: str, rounds: int) -> dict:
    """Cold, warm and numpy's seconds; the first call, which compiles, is not counted."""
    ways = {
        "cold": lambda: nearest.nearest(table, vectors, top, metric),
        "warm": lambda: nearest.nearest(table, vectors, top, metric),
        "numpy": lambda: products(table, vectors),
    }
    ways["warm"]()
    samples: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for _ in range(rounds):
        forget(table)
        for name, way in ways.items():
            begin, busy = time.perf_counter(), time.process_time()
            way()
            samples[name].append(time.perf_counter() - begin)
            if name == "warm":
                samples["CPU"].append(time.process_time() - busy)
    spread = {name: measure.spread(times) for name, times in samples.items()}
    return {"metric": metric, "queries": len(vectors), **spread}


def products(table: Table, vectors: np.ndarray) -> None:
    """Products and lengths alone, in numpy."""
    for _, x in table.blocks(BLOCK):
        np.sqrt(np.einsum("ij,ij->i", x, x))
        x @ vectors.T


def forget(table: Table) -> None:
    """Drops the files' pages from memory, as far as nobody else holds them."""
    for slide in table.slides:
        slide.__dict__.pop("features", None)  # its map
        descriptor = os.open(slide.path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


if __name__ == "__main__":
    main()
