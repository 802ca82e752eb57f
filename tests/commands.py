"""Runs the project's commands as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = "tests/recipes/tiny.py"
TFDS = str(Path(sys.executable).with_name("tfds"))


def environment(devices: int = 1) -> dict[str, str]:
    """The caller's environment with that many fake CPU devices and no data directory."""
    env = {k: v for k, v in os.environ.items() if k not in ("TFDS_DATA_DIR", "XLA_FLAGS")}
    return env | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}


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
