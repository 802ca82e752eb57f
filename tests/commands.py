"""Runs the project's commands as a user does."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = tempfile.mkdtemp(prefix="histo-jax-commands-")
TINY = "tests/recipes/tiny.py"
TFDS = str(Path(sys.executable).with_name("tfds"))


def environment(devices: int = 1) -> dict[str, str]:
    """The caller's environment with that many fake CPU devices and no data directory.

    Programs are compiled quickly, and once for all commands of a session: what is tested is what
    they compute.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("TFDS_DATA_DIR", "XLA_FLAGS")}
    return env | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": CACHE,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }


def run(*command: object, devices: int = 1, timeout: float = 300) -> subprocess.CompletedProcess:
    """Runs to the end from the checkout; output as text."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start(*command: object) -> subprocess.Popen:
    """Starts it and returns at once; what it prints is lost."""
    return subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


# A machine that has only JAX: importing TensorFlow fails.
BARE = """
import runpy, sys
sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_tensorflow(*command: object, devices: int = 1) -> subprocess.CompletedProcess:
    """`python <script> …` where TensorFlow can't be imported."""
    return run(sys.executable, "-c", BARE, *command, devices=devices)


def train(*flags: object, devices: int = 1, timeout: float = 300) -> subprocess.CompletedProcess:
    """`python train.py …`"""
    return run(sys.executable, "train.py", *flags, devices=devices, timeout=timeout)


def evaluate(*flags: object, timeout: float = 300) -> subprocess.CompletedProcess:
    """`python eval.py …`"""
    return run(sys.executable, "eval.py", *flags, timeout=timeout)


def error_line(done: subprocess.CompletedProcess) -> str:
    """The one line of a refused command; fails where there is a traceback or another status."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]
