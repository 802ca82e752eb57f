"""Every pretext task by the real commands: train on any devices, resume, export, score."""

import json
import shutil
import sys

import numpy as np
import pytest

from tests import commands
from tests.test_commands import assert_same_run, data  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

LAYER_NORM = "--config.model.encoder=resnet_tiny_ln"
TASKS = {
    "autoencoder": ["--config.objective.name=autoencoder"],
    "narrow": ["--config.objective.name=autoencoder", "--config.objective.skips=False"],
    "colorization": ["--config.objective.name=colorization"],
    "bins": ["--config.objective.name=colorization", "--config.objective.colours=bins"],
    "cpc": ["--config.objective.name=cpc", LAYER_NORM],
}


def losses(workdir):
    return [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").open()]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_from_training_to_a_score(data, tmp_path, task):  # noqa: F811
    one, eight, flags = tmp_path / "one", tmp_path / "eight", TASKS[task]
    flags = [
        "--config", commands.TINY, f"--config.data.dir={data}", "--config.optimizer.name=adam",
        "--config.optimizer.base_lr=1e-3", *flags,
    ]  # fmt: skip
    for workdir, devices in ((one, 1), (eight, 8)):
        done = commands.train(*flags, "--workdir", workdir, devices=devices)
        assert done.returncode == 0, done.stderr[-3000:]
    seen = losses(eight)
    # In float32 a difference of rounding grows with every step of Adam; float64 says "equal" in
    # tests/test_objectives_others.py.
    np.testing.assert_allclose(seen[0], losses(one)[0], rtol=1e-5)
    np.testing.assert_allclose(seen, losses(one), rtol=2e-2)
    assert len(seen) == 20 and np.mean(seen[-3:]) < np.mean(seen[:3])

    whole = tmp_path / "whole"
    shutil.copytree(one, whole)
    for step in ("15", "20"):
        shutil.rmtree(one / "checkpoints" / step)
    done = commands.train(*flags, "--workdir", one)  # resumed at step 10
    assert done.returncode == 0 and "10 done, 10 to go" in done.stdout, done.stdout
    assert_same_run(one, whole)

    file = tmp_path / "encoder.safetensors"
    done = commands.run(sys.executable, "-m", "histo_jax.weights", "export", one, file)
    assert done.returncode == 0, done.stderr
    done = commands.evaluate(
        "--config", "configs/probe.py", "--checkpoint", f"run={one}", "--checkpoint",
        f"file={file}", f"--config.data.dir={data}", "--config.dataset=histo_demo/tiny",
        "--config.repeats=1", "--config.split_by=grouped", "--config.init=random_calibrated",
        "--out", tmp_path / "report",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((tmp_path / "report" / "report.json").read_text())["scores"]
    values = {
        init: {s["protocol"]: s["value"] for s in scores if s["init"] == init}
        for init in ("run", "file")
    }
    assert values["run"] == values["file"] and values["run"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "two altered copies" not in page and 'section id="views"' in page
