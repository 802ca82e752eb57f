"""What the benchmarks share: running real commands, and tables over several runs."""

import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object) -> None:
    """Runs one command from the checkout, shown first."""
    words = [str(part) for part in command]
    print("$", " ".join(words), flush=True)
    subprocess.run(words, check=True, cwd=ROOT)


def table(reports: list[dict]) -> str:
    """Mean over all runs, and the range of the runs' own means, for every cell of their reports."""
    cells: dict[tuple, list[list[float]]] = {}
    for number, report in enumerate(reports):
        for s in report["scores"]:
            key = (s["split_by"], s["protocol"], s["fraction"], s["metric"], s["init"])
            cells.setdefault(key, [[] for _ in reports])[number].append(s["value"])
    head = f"{'split':8} {'protocol':14} {'labels':6} {'metric':18} {'init':20}"
    lines = [f"{head} mean   (range over runs)"]
    for key, runs in sorted(cells.items()):
        means = [statistics.fmean(run) for run in runs if run]
        split, protocol, fraction, metric, init = key
        lines.append(
            f"{split:8} {protocol:14} {fraction:<6.0%} {metric:18} {init:20} "
            f"{statistics.fmean(means):.3f}  "
            f"({min(means):.3f} to {max(means):.3f})"
        )
    return "\n".join(lines)
