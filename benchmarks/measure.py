"""What the benchmarks of speed share: the machine, alternating rounds, tables, JSON."""

import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from histo_jax.data.cores import cores

PACKAGES = (
    "histo_jax", "jax", "jaxlib", "numpy", "tensorflow", "torch", "torchvision", "lightly",
    "albumentations", "opencv-python-headless", "pillow", "simplejpeg",
)  # fmt: skip


class Sample(NamedTuple):
    """One round of one system: units done in so many seconds, by the clock and of CPU."""

    units: int
    wall: float
    cpu: float


def has(*modules: str) -> bool:
    """Whether all of them can be imported; tried, since an installed one may be broken."""
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception:  # whatever a broken package raises
        return False
    return True


def machine() -> dict[str, Any]:
    """Device, cores, load and versions, for the head of the output and the JSON."""
    import jax

    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "processor": processor(),
        "cores": cores(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": found,
    }


def show_machine(facts: dict[str, Any]) -> None:
    print(f"device    {facts['device']}; {facts['cores']} cores of {facts['processor']}")
    print(f"load      {facts['load']:.1f} before the start, without this program")
    known = [f"{name} {version}" for name, version in facts["versions"].items()]
    print(f"versions  Python {facts['python']}, " + ", ".join(known), flush=True)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpu_seconds() -> float:
    """User and system time of this process and of its live workers (those only on Linux)."""
    ticks = 0
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def alternate(
    systems: dict[str, Generator[int]], *, rounds: int, seconds: float, skip: int = 0
) -> dict[str, list[Sample]]:
    """Runs the systems in turn, A B C A B C …, after a first turn of one `next` that isn't counted.

    Args:
      systems: endless; each `next` works and says how many units it did. Closed at the end.
      rounds: counted turns of each.
      seconds: least length of a turn, by the clock and of CPU; four times as long by the clock is
        enough where other programs have the CPU or an accelerator works.
      skip: `next`s before the clock starts, which empty what was made ahead while others ran.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, system in systems.items():
            for _ in range(skip if turn else max(skip, 1)):
                next(system)
            units, begin = 0, (time.perf_counter(), cpu_seconds())
            while turn:
                units += next(system)
                wall, cpu = time.perf_counter() - begin[0], cpu_seconds() - begin[1]
                if min(wall, max(cpu, wall / 4)) >= seconds:
                    samples[name].append(Sample(units, wall, cpu))
                    break
            settle()
    for system in systems.values():
        system.close()  # threads and workers end here, not at exit
    return samples


def settle() -> None:
    """Waits until nothing works ahead in the background, a second at most."""
    for _ in range(20):
        before = cpu_seconds()
        time.sleep(0.05)
        if cpu_seconds() - before < 0.005:
            return


def calls(function: Callable[[], Any], units: int) -> Generator[int]:
    """A system that calls a function and waits for what it returns."""
    import jax

    while True:
        jax.block_until_ready(function())
        yield units


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def rates(samples: list[Sample]) -> dict[str, dict[str, float]]:
    """Units a second and a CPU-second."""
    return {
        "per_second": spread([s.units / s.wall for s in samples]),
        "per_cpu_second": spread([s.units / max(s.cpu, 1e-9) for s in samples]),
    }


def ratio(ours: list[Sample], theirs: list[Sample], cpu: bool = False) -> dict[str, float]:
    """How many times as fast as theirs, round by round."""
    pairs = zip(ours, theirs, strict=True)
    if cpu:
        return spread([(a.units / a.cpu) / (b.units / b.cpu) for a, b in pairs])
    return spread([(a.units / a.wall) / (b.units / b.wall) for a, b in pairs])


def told(numbers: dict[str, float], form: str | None = None) -> str:
    """`median (least to most)`."""
    form = form or (",.0f" if numbers["median"] >= 100 else ".3g")
    return f"{numbers['median']:{form}} ({numbers['min']:{form}} to {numbers['max']:{form}})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, tuple("-" * w for w in widths), *rows]:
        first, *others = (
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def verdict(name: str, value: float, bar: float, most: bool = False) -> dict[str, Any]:
    """A bar, at least `bar` or with `most` at most; printed."""
    met = value <= bar if most else value >= bar
    print(
        f"{'met   ' if met else 'MISSED'}  {name}: {value:.3g}, bar {'≤' if most else '≥'} {bar:g}"
    )
    return {"name": name, "value": value, "bar": bar, "met": bool(met)}


def write(path: Path | None, facts: dict[str, Any], results: dict[str, Any]) -> None:
    """The JSON, where a file was named."""
    if path:
        whole = {"machine": facts | {"load_after": os.getloadavg()[0]}, **results}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        print(f"written   {path}")
