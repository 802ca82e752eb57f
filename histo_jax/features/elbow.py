"""How many clusters: explained variance over a grid of k, and where its curve bends."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from histo_jax import files
from histo_jax.errors import HistoError
from histo_jax.features import kmeans

LINES, TABLE = "elbow.jsonl", "elbow.csv"


@dataclasses.dataclass(frozen=True)
class Elbow:
    """Explained variance of each k, in the order of k.

    Attributes:
      ks, explained: the grid, and shares in 0..1.
      bend: k of the largest second difference, 2 EV(i) - EV(i-1) - EV(i+1).
      chord: k farthest above the line from the first point to the last.
    """

    ks: tuple[int, ...]
    explained: tuple[float, ...]
    bend: int
    chord: int


def grid(text: str) -> tuple[int, ...]:
    """`1000:10000:500`: from, to (included), step.

    Raises:
      HistoError: `clusters`: not three numbers, or fewer than three k.
    """
    try:
        first, last, step = (int(part) for part in text.split(":"))
        ks = tuple(range(first, last + 1, step))
    except ValueError:
        ks = ()
    if len(ks) < 3 or ks[0] < 1:
        what = "is no grid of three k or more"
        raise HistoError(f"--elbow {text}", "clusters", what, "as 1000:10000:500")
    return ks


def find(ks: tuple[int, ...], explained: list[float]) -> Elbow:
    """Where the curve bends; the first of equals."""
    y, x = np.array(explained), np.array(ks, np.float64)
    bends = 2 * y[1:-1] - y[:-2] - y[2:]
    line = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
    return Elbow(ks, tuple(explained), ks[1 + int(bends.argmax())], ks[int((y - line).argmax())])


def search(x: np.ndarray, ks: tuple[int, ...], seed: int, of: str, folder: Path) -> Elbow:
    """Clusters x once for every k that `folder` doesn't know yet, and prints each as it comes.

    `of` names features and options: what was measured on others is not taken.
    """
    said = [line for line in files.read_lines(folder / LINES) if line["of"] == of]
    known = {line["k"]: line["explained"] for line in said}
    print("      k  explained  gained", flush=True)
    for before, k in zip((None, *ks), ks, strict=False):
        begun = time.perf_counter()
        if new := k not in known:
            known[k] = kmeans.assign(x, kmeans.fit(x, k, seed)).explained
            seconds = round(time.perf_counter() - begun, 1)
            line = {"k": k, "explained": known[k], "seconds": seconds, "of": of}
            files.append_line(folder / LINES, line)
        gained = f"{100 * (known[k] - known[before]):+6.2f}" if before else " " * 6
        ending = f"{seconds:8.0f} s" if new else "  known"
        print(f"{k:7,} {100 * known[k]:8.2f} %  {gained}{ending}", flush=True)
    found = find(ks, [known[k] for k in ks])
    _write(folder / TABLE, found)
    print(f"elbow: k={found.bend:,} by the second difference, k={found.chord:,} by the chord")
    return found


def draw(elbow: Elbow) -> str:
    """The curve as the text of an `<svg>` element."""
    from histo_jax.evaluation.page import svg

    def paint(axes: Any) -> None:
        y = [100 * share for share in elbow.explained]
        axes.plot(elbow.ks, y, color=svg.COLOURS[0], marker="o", markersize=3.5, clip_on=False)
        axes.plot(elbow.ks[:: len(y) - 1], y[:: len(y) - 1], color=svg.SOFT, linewidth=1,
                  linestyle=(0, (4, 3)))  # fmt: skip
        for k in {elbow.bend, elbow.chord}:
            axes.plot(k, y[elbow.ks.index(k)], "o", color=svg.COLOURS[2], markersize=8)
        axes.set_xlabel("clusters")
        axes.set_ylabel("explained variance, %")

    return svg.draw("elbow", "Explained variance over the number of clusters", (5.0, 3.0), paint)


def _write(path: Path, elbow: Elbow) -> None:
    rows = (
        [k, f"{share:.6f}", int(k == elbow.bend), int(k == elbow.chord)]
        for k, share in zip(elbow.ks, elbow.explained, strict=True)
    )
    files.write_csv(path, ["k", "explained_variance", "bend", "chord"], rows)
