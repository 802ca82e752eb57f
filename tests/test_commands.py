"""The whole way by the real commands: build, train, kill, resume, score."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from histo_jax.training import checkpoint
from tests import commands, events


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Drawn slides, cut and prepared by `tfds build`."""
    folder = tmp_path_factory.mktemp("data")
    done = commands.run(
        commands.TFDS,
        "build",
        "tfds_builders/histo_demo/",
        "--config",
        "tiny",
        "--data_dir",
        folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


PROBE = ("--config.probe.dataset=histo_demo/tiny", "--config.probe.every=6")


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    """A run that nobody stops."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    done = commands.train(
        "--config", commands.TINY, "--workdir", workdir, f"--config.data.dir={data}", *PROBE
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, done.stdout


def arrays(workdir):
    return checkpoint.read(workdir / "checkpoints", checkpoint.steps(workdir / "checkpoints")[0])[0]


def assert_same_run(workdir, other):
    a, b = arrays(workdir), arrays(other)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert (workdir / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


def test_it_says_what_it_will_do_before_it_does(undisturbed):
    _, out = undisturbed
    assert "images: histo_demo/tiny" in out
    assert "20 to go" in out and re.search(
        r"about [\d.]+ (seconds|minutes) at [\d,]+ images/s", out
    )
    assert "probe    histo_demo/tiny, every 6 steps" in out
    assert "eval.py" in out.splitlines()[-1]


def kill_at(workdir, flags, step, number=signal.SIGKILL):
    """Starts a run, sends the signal once `step` is logged, returns its status."""
    log = workdir / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, "train.py", *flags], cwd=commands.ROOT, env=commands.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (log.exists() and log.read_bytes().count(b"\n") >= step):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    process.stderr.read()
    return process.wait()


def test_killed_and_resumed_equals_undisturbed(data, undisturbed, tmp_path):
    flags = ["--config", commands.TINY, "--workdir", str(tmp_path), f"--config.data.dir={data}"]
    flags += PROBE
    assert kill_at(tmp_path, flags, 8) == -signal.SIGKILL
    assert kill_at(tmp_path, flags, 12, signal.SIGTERM) == os.EX_TEMPFAIL
    done = commands.train(*flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path, undisturbed[0])
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "knn" in x] == [6, 12, 18, 20]
    events.assert_view_of(tmp_path, lines)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(data, undisturbed, tmp_path, seed):
    """Any moment: importing, compiling, saving."""
    flags = ["--config", commands.TINY, "--workdir", str(tmp_path), f"--config.data.dir={data}"]
    flags += PROBE
    rng = np.random.default_rng(seed)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "train.py", *flags], cwd=commands.ROOT, env=commands.environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(rng.uniform(1, 40))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    done = commands.train(*flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path, undisturbed[0])


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["loss"] for line in lines])


SHORT = ("--config.training.total_steps=3", "--config.optimizer.warmup_epochs=0")


@pytest.mark.slow
def test_raw_cache_without_tensorflow_on_other_devices(data, tmp_path):
    """What must not change the numbers does not: cache, placement, mapper, devices, TensorFlow."""
    common = ["--config", commands.TINY, f"--config.data.dir={data}", *SHORT]
    done = commands.run(
        sys.executable, "-m", "histo_jax.data", "cache", "histo_demo/tiny", "--size", 32,
        "--data_dir", data,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = tmp_path / "first", tmp_path / "second"
    done = commands.train(*common, "--workdir", first, "--config.augment.placement=host")
    assert done.returncode == 0, done.stderr[-3000:]
    done = commands.without_tensorflow(
        "train.py", *common, "--workdir", second, "--config.data.cache=raw",
        "--config.training.mapper=shard_map", devices=4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "made on the device" in done.stdout  # there is no tf.data to make them in
    np.testing.assert_allclose(losses(second), losses(first), rtol=2e-4)
    done = commands.without_tensorflow(
        "eval.py", "--config", "configs/probe.py", "--checkpoint", second, f"--config.data.dir={data}",
        "--config.dataset=histo_demo/tiny", "--config.repeats=1", "--config.init=('mean_rgb',)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    refused = commands.without_tensorflow(
        "train.py", *common, "--workdir", tmp_path / "third", "--config.data.cache=raw",
        "--config.augment.placement=host",
    )  # fmt: skip
    assert "tensorflow: can't be imported" in commands.error_line(refused)


def start_two(*flags, second=()):
    """Two processes of one run; `second` are flags of the second alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "train.py", *map(str, flags), *(second if index else ()),
             f"--distributed=127.0.0.1:{port},{index},2"],
            cwd=commands.ROOT, env=commands.environment(devices=2),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "field"),
    [("--config.seed=1", "seed"), ("--config.training.total_steps=4", "training.total_steps")],
)
def test_two_processes_that_differ_both_refuse(data, tmp_path, flag, field):
    common = ["--config", commands.TINY, f"--config.data.dir={data}", *SHORT, "--workdir", tmp_path]
    for process in start_two(*common, second=[flag]):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1, err[-3000:]
        assert f"error: process 1: differs from process 0 in config.{field} (" in err
        assert "Traceback" not in err
    assert not (tmp_path / "config.json").exists()


def test_two_processes_equal_one(data, tmp_path):
    common = ["--config", commands.TINY, f"--config.data.dir={data}", *SHORT, *PROBE,
              "--config.augment.placement=device"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    done = commands.train(*common, "--workdir", one, devices=4)
    assert done.returncode == 0, done.stderr[-3000:]
    for process in start_two(*common, "--workdir", two):
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-3000:]
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    assert (two / "metrics.jsonl").read_text().count('"knn"') == 1
    a, b = arrays(one), arrays(two)
    for name in a:
        np.testing.assert_allclose(b[name], a[name], atol=1e-4, err_msg=name)


def test_a_score_with_floors(data, undisturbed):
    workdir, _ = undisturbed
    done = commands.evaluate(
        "--config", "configs/probe.py", "--checkpoint", workdir, f"--config.data.dir={data}",
        "--config.dataset=histo_demo/tiny", "--config.repeats=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((workdir / "report.json").read_text())
    assert report["schema"] == 1
    seen = {(s["init"], s["split_by"]) for s in report["scores"]}
    for init in ("ssl", "random", "random_calibrated", "colour_histogram", "mean_rgb", "texture"):
        assert (init, "paper") in seen and (init, "grouped") in seen
    assert report["per_class"]


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["host", "device"])
def test_the_papers_recipe_takes_steps(data, tmp_path, placement):
    done = commands.train(
        "--config", "configs/simclr_r18.py", "--workdir", tmp_path, f"--config.data.dir={data}",
        "--config.data.datasets=(('histo_demo/tiny', None),)", "--config.data.batch_size=8",
        "--config.training.log_every=1", f"--config.augment.placement={placement}", *SHORT,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(tmp_path)) == 3 and np.isfinite(losses(tmp_path)).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "tfds build tfds_builders/histo_wsi .*tfds_builders/histo_patches .*make demo"),
        (["--config.data.batchsize=4"], "config.data.batchsize: no such field .did you mean config.data.batch_size"),
        (["--config.data.cache=fast"], "config.data.cache: is 'fast' .known: none, raw"),
        (["--config.data.datasets=histo_wsi/mylab"], "histo_wsi/mylab: no such prepared set"),
        (["--config.data.datasets=('histo_wsi/mylab', None)"], "holds 'histo_wsi/mylab', wants pairs of a name and a weight"),
        (["--distributed=foo"], "--distributed: is 'foo' .auto, or HOST:PORT,INDEX,COUNT"),
        (["--distributed=localhost:1,2,2"], "INDEX from 0 to COUNT - 1"),
        (["--config", "README.md"], "README.md: is no Python file"),
        (["--config.augment.jitter=wild"], "config.augment.jitter: is 'wild' .known: none, light"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)  # fmt: skip
def test_train_refuses_in_seconds_and_one_line(tmp_path, flags, message):
    start = time.monotonic()
    done = commands.train(
        "--config", "configs/simclr_r18.py", f"--config.data.dir={tmp_path}", *flags
    )
    assert re.search(message, commands.error_line(done)), done.stderr
    assert time.monotonic() - start < 20


def test_help_shows_examples_and_every_option():
    done = commands.train("--help")
    assert done.returncode == 0
    assert "  python train.py --config configs/demo.py" in done.stdout
    assert "training.save_every      1000 " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_batch_and_devices_must_agree(data, tmp_path):
    done = commands.train(
        "--config", commands.TINY, "--workdir", tmp_path, f"--config.data.dir={data}",
        "--config.data.batch_size=10", devices=4,
    )  # fmt: skip
    assert "10 images can't be shared equally by 4 devices" in commands.error_line(done)


def test_eval_refuses_what_it_cannot_score(data, undisturbed, tmp_path):
    workdir, _ = undisturbed
    common = ["--config", "configs/probe.py", f"--config.data.dir={data}"]
    done = commands.evaluate(*common, "--checkpoint", workdir)
    assert "config.dataset: is not set" in commands.error_line(done)
    done = commands.evaluate(*common, "--checkpoint", tmp_path, "--config.dataset=histo_demo/tiny")
    assert "holds no checkpoint" in commands.error_line(done)
    done = commands.evaluate(*common, "--checkpoint", workdir, "--config.dataset=histo_demo/tine")
    assert "did you mean histo_demo/tiny?" in commands.error_line(done)
