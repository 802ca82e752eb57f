"""The loop: resumed = undisturbed, and loud where it must stop."""

import dataclasses
import json
import os
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from histo_jax import config as options
from histo_jax.data import pipeline
from histo_jax.errors import HistoError, Resume
from histo_jax.models import build_encoder, build_projector
from histo_jax.objectives import build_objective
from histo_jax.training import checkpoint, loop, parallel

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZE, BATCH, IMAGES, STEPS = 16, 16, 64, 6


def make_config(**changes) -> options.Config:
    values = {
        "data": {"image_size": SIZE, "batch_size": BATCH},
        "augment": {"placement": "host"},
        "optimizer": {"warmup_epochs": 0.5},
        "training": {"total_steps": STEPS, "save_every": 2, "log_every": 1},
    }
    for path, value in changes.items():
        group, name = path.split("__")
        values.setdefault(group, {})[name] = value
    return options.from_values(options.Config, values)


def mixture(digest: str = "d"):
    table = {"mpp": np.array([0.5, np.nan], np.float32)}
    one = SimpleNamespace(name="histo_patches/x", n=IMAGES, card={"content_hash": "h"}, table=table)
    return SimpleNamespace(n=IMAGES, sets=(one,), names=(one.name,), sizes=(IMAGES,), digest=digest)


def objective():
    encoder = build_encoder("resnet_tiny", 8, axis=parallel.AXIS)
    projector = build_projector("google_v1", encoder.features, 16, axis=parallel.AXIS)
    return build_objective("simclr", encoder=encoder, projector=projector, temperature=0.2)


def fake_batches(monkeypatch):
    """Batches as a pure function of the step; `at[step]` may do harm first."""
    at = {}

    def batches(_, *, seed, start_step, total_steps, batch_size, image_size, **__):
        for step in range(start_step, total_steps):
            if step in at:
                at[step]()
            rng = np.random.default_rng((seed, step))
            views = rng.uniform(-1, 1, (batch_size, 2, image_size, image_size, 3))
            views = at.get("views", lambda x: x)(views.astype(np.float32))
            yield {"views": views, "index": np.arange(batch_size, dtype=np.int32)}

    monkeypatch.setattr(pipeline, "batches", batches)
    return at


@pytest.fixture
def stream(monkeypatch):
    return fake_batches(monkeypatch)


def train(directory, config=None, data=None):
    return loop.train(
        config or make_config(),
        directory,
        objective=objective(),
        views=None,
        mixture=data or mixture(),
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run without trouble leaves."""
    with pytest.MonkeyPatch.context() as patch:
        fake_batches(patch)
        directory = tmp_path_factory.mktemp("undisturbed")
        final = parallel.to_host(train(directory))
    return directory, final


def same_state(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 3, 5])
def test_resumed_equals_undisturbed_to_the_bit(tmp_path, stream, undisturbed, at):
    def kill():
        raise Killed

    stream[at] = kill
    with pytest.raises(Killed):
        train(tmp_path)
    del stream[at]
    final = parallel.to_host(train(tmp_path))
    directory, want = undisturbed
    same_state(final, want)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (directory / "metrics.jsonl").read_bytes()


def test_a_finished_run_is_left_as_it_is(undisturbed, stream):
    directory, want = undisturbed
    before = (directory / "metrics.jsonl").read_bytes()
    same_state(parallel.to_host(train(directory)), want)
    assert (directory / "metrics.jsonl").read_bytes() == before


def test_the_work_directory_explains_itself(undisturbed):
    directory, _ = undisturbed
    card = json.loads((directory / "card.json").read_text())
    assert card["encoder"] == "resnet_tiny" or card["encoder"] == "resnet18"
    assert card["mpp"] == [0.5, 0.5]
    assert card["datasets"] == [{"name": "histo_patches/x", "n": IMAGES, "content_hash": "h"}]
    lines = [json.loads(x) for x in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == list(range(1, STEPS + 1))
    assert {"loss", "top1", "alignment", "uniformity", "spread", "gradient_norm"} <= set(lines[0])
    timing = [json.loads(x) for x in (directory / "timing.jsonl").read_text().splitlines()]
    assert all(x["images_per_s"] > 0 for x in timing)
    assert checkpoint.load_encoder(directory).card["step"] == STEPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_leaves(tmp_path, stream, undisturbed, number):
    stream[3] = lambda: os.kill(os.getpid(), number)
    kind = KeyboardInterrupt if number == signal.SIGINT else Resume
    with pytest.raises(kind):
        train(tmp_path)
    saved = checkpoint.steps(tmp_path / "checkpoints")
    assert saved and saved[0] < STEPS
    del stream[3]
    same_state(parallel.to_host(train(tmp_path)), undisturbed[1])


def test_nan_stops_loudly_and_is_never_saved(tmp_path, stream):
    def poison():
        stream["views"] = lambda x: x * np.float32(np.nan)

    stream[3] = poison
    with pytest.raises(HistoError, match="(loss|gradient_norm) is nan at step 4 .*checkpoint: 2"):
        train(tmp_path)
    assert checkpoint.steps(tmp_path / "checkpoints") == [2]


def test_collapse_stops_loudly(tmp_path, stream):
    stream["views"] = lambda x: x * np.float32(0)  # every image the same: one point
    config = make_config(training__total_steps=80, training__save_every=100)
    with pytest.raises(HistoError, match="one point for 50 steps .*last good checkpoint: none"):
        train(tmp_path, config)


def test_other_options_or_data_are_refused(undisturbed, stream):
    directory, _ = undisturbed
    with pytest.raises(HistoError, match="made with other config.objective.temperature"):
        train(directory, make_config(objective__temperature=0.5))
    with pytest.raises(HistoError, match="made with other the prepared data"):
        train(directory, data=mixture("other"))
    train(directory, make_config(training__log_every=3))  # changes nothing that is computed
    accepted = make_config(objective__temperature=0.5, training__on_change="accept")
    train(directory, accepted)


def test_a_step_too_large_for_the_device_names_the_batch_size():
    def update(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with pytest.raises(
        HistoError, match="config.data.batch_size: a step does not fit into device memory"
    ):
        loop.rehearse(update, {}, iter([{}]), loop.Clock(iter([])))


def test_two_runs_never_share_a_directory(tmp_path, stream):
    from histo_jax import files

    with files.lock(tmp_path / ".lock-0"), pytest.raises(HistoError, match="in use by pid"):
        train(tmp_path)


def test_planned_steps_drop_the_last_partial_batch():
    config = dataclasses.replace(make_config(), training=options.Training(epochs=3))
    assert loop.planned_steps(config, images=BATCH * 4 + 3) == 12
