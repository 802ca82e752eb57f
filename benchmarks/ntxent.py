"""NT-Xent, dense against in blocks: time with gradient, and memory, by batch size.

    python benchmarks/ntxent.py [--pairs 1024 4096 8192] [--memory_only 32768] [--json FILE]

Dense holds all logits at once; in blocks is what `histo_jax.losses.ntxent` does above
`LOGITS_AT_ONCE`. The two take turns; on a CPU the ratio is of CPU-seconds. Memory is XLA's count of
temporaries of the compiled function, loss and gradient; sizes of `--memory_only` are not run.
"""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np

MODULE = importlib.import_module("histo_jax.losses.ntxent")
MEMORY_BAR = 1e9  # bytes of temporaries at 32,768 pairs
LARGE, LARGEST = 8192, 32768  # pairs: from here blocks may not be slower; here memory is judged


def main() -> None:
    cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    run = [1024, 4096, 8192] if cpu else [1024, 4096, 8192, 16384, 32768]
    parser.add_argument("--pairs", type=int, nargs="*", default=run)
    parser.add_argument("--memory_only", type=int, nargs="*", default=[LARGEST] if cpu else [])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    flags = parser.parse_args()
    facts = measure.machine()
    measure.show_machine(facts)
    rows, found = [], []
    for pairs in [*flags.pairs, *flags.memory_only]:
        compiled = {name: loss(pairs, flags.dim, limit) for name, limit in forms().items()}
        memory = {
            name: made.memory_analysis().temp_size_in_bytes for name, made in compiled.items()
        }
        row: dict[str, Any] = {"pairs": pairs, "temporary_bytes": memory}
        cells = [f"{memory[name] / 1e9:.3f}" for name in compiled]
        if pairs in flags.pairs:
            z = np.random.default_rng(0).normal(size=(2, pairs, flags.dim)).astype(np.float32)
            z = jax.device_put((z[0], z[1]))
            systems = {
                name: measure.calls(lambda made=made, z=z: made(z), 1)
                for name, made in compiled.items()
            }
            samples = measure.alternate(systems, rounds=flags.rounds, seconds=flags.seconds)
            for name, some in samples.items():
                row[name] = measure.spread([s.wall / s.units for s in some])
                cells.append(measure.told(row[name], ".3f"))
            row["blocks_over_dense"] = measure.ratio(samples["blocks"], samples["dense"], cpu)
            cells.append(measure.told(row["blocks_over_dense"], ".2f"))
        rows.append((f"{pairs:,}", *cells, *[""] * (5 - len(cells))))
        found.append(row)
    print("temporaries in GB, times in s, loss and gradient")
    head = ("pairs", "dense GB", "blocks GB", "dense s", "blocks s", "times as fast")
    print(measure.table(head, rows))
    measure.write(flags.json, facts, {"sizes": found, "bars": bars(found)})


def forms() -> dict[str, int]:
    return {"dense": 2**62, "blocks": MODULE.LOGITS_AT_ONCE}


def loss(pairs: int, dim: int, limit: int) -> Callable:
    """Compiles loss and gradient with at most `limit` logits at once."""
    kept = MODULE.LOGITS_AT_ONCE
    MODULE.LOGITS_AT_ONCE = limit
    try:
        both = jax.jit(jax.value_and_grad(lambda z: MODULE.ntxent(*z, 0.1), has_aux=True))
        z = jax.ShapeDtypeStruct((pairs, dim), jnp.float32)
        return both.lower((z, z)).compile()
    finally:
        MODULE.LOGITS_AT_ONCE = kept


def bars(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    judged = []
    for row in found:
        pairs = row["pairs"]
        if pairs == LARGEST:
            name, value = f"temporary bytes at {pairs:,} pairs", row["temporary_bytes"]["blocks"]
            judged.append(measure.verdict(name, value, MEMORY_BAR, most=True))
        if pairs >= LARGE and "blocks_over_dense" in row:
            name, value = f"blocks / dense at {pairs:,} pairs", row["blocks_over_dense"]["median"]
            judged.append(measure.verdict(name, value, 1.0))
    return judged


if __name__ == "__main__":
    main()
