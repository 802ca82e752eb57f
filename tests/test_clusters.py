"""The scripts of docs/clusters.md: they parse, and the Slurm one hands on signals and requeues."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from histo_jax.errors import Resume, run
from histo_jax.training import stop

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/clusters.md").read_text()
SCRIPTS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(SLURM,) = (script for script in SCRIPTS if "#SBATCH" in script)

# Slurm as the script sees it; `python` stands for a training.
STUBS = {
    "srun": 'exec "$@"',
    "scontrol": 'echo "$@" > requeued',
    "python": 'echo "$@" > asked; trap "sleep 0.3; exit $STATUS" USR1; touch started\n'
    "for _ in $(seq 200); do sleep 0.05; done; exit 9",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.fixture
def job(tmp_path):
    """Starts the Slurm script in a folder of stubs; gives the process once training has begun."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    (tmp_path / "bin").mkdir()
    for name, body in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(SLURM)
    started = []

    def start(status):
        env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "STATUS": str(status)}
        env |= {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "r18"}
        process = subprocess.Popen(["bash", "job.sh", "--x=a b"], cwd=tmp_path, env=env)
        started.append(process)
        for _ in range(200):
            if (tmp_path / "started").exists():
                return process
            time.sleep(0.05)
        raise AssertionError("did not start")

    yield start
    for process in started:
        process.kill()


def test_the_signal_is_handed_on_and_the_job_requeued(job, tmp_path):
    process = job(75)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 75
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "77"]
    asked = (tmp_path / "asked").read_text()
    assert asked.strip() == "train.py --config configs/simclr_r18.py --workdir runs/r18 --x=a b"


def test_a_training_that_failed_is_not_requeued(job, tmp_path):
    process = job(1)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 1 and not (tmp_path / "requeued").exists()


def test_status_and_signals_are_those_of_the_code():
    def stopped():
        raise Resume("stopped")

    assert run(stopped) == 75 and "status 75" in PAGE
    assert {signal.SIGTERM, signal.SIGUSR1} <= set(stop.SIGNALS)
    assert "SIGTERM or SIGUSR1" in PAGE and "--signal=B:USR1@120" in SLURM


def test_the_container_has_what_the_package_needs():
    text = (ROOT / "Containerfile").read_text()
    copied = " ".join(re.findall(r"^COPY (.*)$", text, re.MULTILINE)).split()
    for name in ("requirements.lock", "pyproject.toml", "train.py", "eval.py", "histo_jax",
                 "tfds_builders", "configs"):  # fmt: skip
        assert name in copied and (ROOT / name).exists(), name
    users = re.findall(r"^(USER|CMD|RUN|FROM)\b(.*)", text, re.MULTILINE)
    order = [word for word, _ in users]
    assert order.index("USER") > max(i for i, word in enumerate(order) if word == "RUN")
    for _, command in (pair for pair in users if pair[0] == "RUN"):
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)
