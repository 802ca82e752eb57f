"""What this machine can do, in one screen: python -m histo_jax.doctor

Exit status 0 where `train.py` can run, data apart; 1 where it can't.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from histo_jax import __version__
from histo_jax.errors import HistoError

if TYPE_CHECKING:
    from histo_jax.data.prepared import Prepared

WIDTH = 100  # characters of a line
LEAST = 30  # of them for what is found, where what to do is long
SETS = 10  # prepared sets shown
GIB = 2**30
LITTLE_DISK, LITTLE_MEMORY = 5 * GIB, 4 * GIB

# name shown: (distribution, module); imported, as training needs them.
NEEDED = {
    "jax": ("jax", "jax"),
    "flax": ("flax", "flax.linen"),
    "optax": ("optax", "optax"),
    "orbax": ("orbax-checkpoint", "orbax.checkpoint"),
}
# Looked up, not imported: TensorFlow takes 10 s. What works without: raw caches.
PIPELINE = {
    "tensorflow": ("tensorflow", "tensorflow"),
    "tfds": ("tensorflow-datasets", "tensorflow_datasets"),
}
INSTALL = "pip install -r requirements.lock"
REBUILD = "build it again, --overwrite"
NVIDIA = Path("/proc/driver/nvidia/version")


@dataclasses.dataclass(frozen=True)
class Line:
    """One finding: `status` is ok, warning or missing (training can't run without it)."""

    status: str
    name: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        start = f"{self.status:<9}{self.name:<12}"
        room = WIDTH - len(start)
        text, remedy = _plain(self.text), _plain(self.remedy)
        if remedy:  # it is what helps: the text gives way first
            remedy = f" ({_shortened(remedy, room - min(len(text), LEAST) - 3)})"
        return start + _shortened(text, room - len(remedy)) + remedy


def _plain(text: str) -> str:
    """Without what a terminal obeys or can't show: names of folders are anybody's."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _shortened(text: str, room: int) -> str:
    """The middle goes: a path tells most at its ends."""
    if len(text) <= room:
        return text
    tail = room // 3
    return text[: room - tail - 1] + "…" + text[len(text) - tail :]


def programs() -> Iterator[Line]:
    """Versions of Python, this package and those it stands on."""
    yield Line("ok", "python", f"{platform.python_version()}, {platform.platform(terse=True)}")
    yield Line("ok", "histo_jax", f"{__version__}, {Path(__file__).resolve().parent}")
    for name, (distribution, module) in NEEDED.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken package raises whatever it likes
            yield Line("missing", name, f"can't be imported: {_told(error)}", INSTALL)
        else:
            yield _version(name, distribution)
    for name, (distribution, module) in PIPELINE.items():
        if importlib.util.find_spec(module) is None:
            what = "not installed: trains from raw caches alone"
            yield Line("warning", name, what, INSTALL)
        else:
            yield _version(name, distribution)


def _version(name: str, distribution: str) -> Line:
    try:
        return Line("ok", name, importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Line("warning", name, "a copy of unknown version", INSTALL)


def requirements() -> Iterator[Line]:
    """All that pyproject.toml asks for, by what is installed."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in importlib.metadata.requires("histo_jax") or ()]
    wanted = [w for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})]
    absent, other = [], []
    for requirement in wanted:
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(requirement.name)
            continue
        if found not in requirement.specifier:
            other.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if absent:
        yield Line("warning", "packages", f"not installed: {', '.join(absent)}", INSTALL)
    for text in other:
        yield Line("warning", "packages", text, INSTALL)
    if not absent + other:
        yield Line("ok", "packages", f"all {len(wanted)} that histo_jax asks for")


def slides() -> Iterator[Line]:
    """The slide library and the formats it reads."""
    try:
        from histo_jax.data.folders import SLIDE_SUFFIXES
        from histo_jax.slides.source import LIBRARY
    except Exception as error:
        what = f"can't be imported: {_told(error)}"
        yield Line("warning", "openslide", what, "pip install openslide-python openslide-bin")
        return
    if int(LIBRARY.split(".")[0]) < 4:
        remedy = "pip install openslide-bin"
        yield Line("warning", "openslide", f"library {LIBRARY} reads no DICOM", remedy)
    else:
        yield Line("ok", "openslide", f"library {LIBRARY}")
    yield Line("ok", "formats", " ".join(SLIDE_SUFFIXES))


def devices() -> Iterator[Line]:
    """What JAX computes on, and a GPU that it leaves idle."""
    import jax

    try:
        found = jax.devices()
    except RuntimeError as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        yield Line("missing", "devices", f"JAX_PLATFORMS={asked!r}: {_told(error)}", "unset it")
        return
    kinds = sorted({device.device_kind for device in found})
    text = f"{len(found)} {found[0].platform} ({', '.join(kinds)})"
    if found[0].platform != "cpu" or not NVIDIA.exists():
        yield Line("ok", "devices", text)
    elif "cpu" in os.environ.get("JAX_PLATFORMS", ""):
        yield Line("warning", "devices", f"{text}; an NVIDIA driver is idle", "unset JAX_PLATFORMS")
    else:
        what = f"{text}; an NVIDIA driver is here, but JAX sees no GPU"
        yield Line("warning", "devices", what, "pip install -e '.[cuda]'")


def machine() -> Iterator[Line]:
    """Cores and memory this process may use."""
    from histo_jax.data.cores import cores

    yield Line("ok", "cores", str(cores()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdecimal():
        memory = min(memory, int(limit.read_text()))
    text = f"{memory / GIB:.1f} GiB"
    if memory < LITTLE_MEMORY:
        yield Line("warning", "memory", text, "small batches; workers=1 for slides")
    else:
        yield Line("ok", "memory", text)


def disks(data_dir: Path) -> Iterator[Line]:
    """Room where prepared data and where runs go."""
    for name, folder in (("data", data_dir), ("here", Path.cwd())):
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        text = f"{free / GIB:,.1f} GiB free in {folder}"
        if not there.is_dir() or not os.access(there, os.W_OK):
            what = f"can't be written: {folder}"
            remedy = "set TFDS_DATA_DIR" if name == "data" else "give --workdir elsewhere"
            yield Line("warning", f"disk, {name}", what, remedy)
        elif free < LITTLE_DISK:
            yield Line("warning", f"disk, {name}", text, "free some")
        else:
            yield Line("ok", f"disk, {name}", text)


def prepared_sets(data_dir: Path) -> Iterator[Line]:
    """Prepared sets: whole or not, labelled or not, with which raw caches."""
    from histo_jax.data import prepared

    versions = {p.parent for p in data_dir.glob("histo_*/*/*/*.tfrecord-*") if p.is_file()}
    found = sorted(
        {*prepared.list_prepared(data_dir), *("/".join(v.parts[-3:-1]) for v in versions)}
    )
    if not found:
        remedy = "tfds build tfds_builders/histo_demo --config default"
        yield Line("warning", "sets", "none there", remedy)
    for name in found[:SETS]:
        try:
            yield _set(data_dir, prepared.open_prepared(data_dir, name))
        except HistoError as error:
            yield Line("warning", "set", f"{name}: {error.what}", REBUILD)
        except Exception as error:  # a card that is JSON, but none of ours
            yield Line("warning", "set", f"{name}: {_told(error)}", REBUILD)
    if len(found) > SETS:
        remedy = "python -m histo_jax.data verify"
        yield Line("ok", "sets", f"and {len(found) - SETS} more", remedy)


def _set(data_dir: Path, opened: "Prepared") -> Line:
    labelled = [f"{kind}s" for kind in ("label", "target") if kind in opened.table]
    caches = (data_dir / ".raw").glob(f"{opened.card['content_hash']}-*.json")
    sizes = sorted(int(path.stem.rpartition("-")[2]) for path in caches)
    facts = [f"{opened.n:,} images", *labelled, *(f"raw cache of {size}" for size in sizes)]
    return Line("ok", "set", f"{opened.name}: {', '.join(facts)}")


def real_tissue() -> Iterator[Line]:
    """Where the tests on real tissue look."""
    folder = os.environ.get("HISTO_REAL_DATA")
    if not folder:
        yield Line("ok", "real tissue", "HISTO_REAL_DATA not set: tests on it are skipped")
    elif Path(folder).is_dir():
        yield Line("ok", "real tissue", folder)
    else:
        yield Line("warning", "real tissue", f"HISTO_REAL_DATA: no folder {folder}", "mend it")


def findings(data_dir: Path) -> Iterator[Line]:
    """Every line; a look that fails is a line itself."""
    looks: list[tuple[str, Callable[[], Iterator[Line]]]] = [
        ("versions", programs),
        ("packages", requirements),
        ("openslide", slides),
        ("devices", devices),
        ("machine", machine),
        ("disk", lambda: disks(data_dir)),
        ("sets", lambda: prepared_sets(data_dir)),
        ("real tissue", real_tissue),
    ]
    for name, look in looks:
        try:
            yield from look()
        except Exception as error:
            yield Line("warning", name, f"can't be looked at: {_told(error)}")


def _told(error: Exception) -> str:
    """The first line of what it says."""
    said = re.sub(r"\s+", " ", str(error)).strip()
    return said or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    """Prints the findings, returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m histo_jax.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", help="default: TFDS_DATA_DIR, else TFDS's default")
    given = parser.parse_args(arguments).data_dir or os.environ.get("TFDS_DATA_DIR")
    sys.stdout.reconfigure(errors="replace")  # a terminal that knows no …
    missing = data = 0
    for line in findings(Path(given or "~/tensorflow_datasets").expanduser()):
        print(line, flush=True)
        missing += line.status == "missing"
        data += line.name == "set" and line.status == "ok"
    if missing:
        print(f"training can't run here: {missing} missing")
    else:
        print("training can run here" + ("" if data else ", once a set is prepared"))
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
