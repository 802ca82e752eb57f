"""The loop: resumed = undisturbed, and loud where it must stop."""

import dataclasses
import errno
import gzip
import json
import os
import shutil
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_jax import config as options
from histo_jax import files
from histo_jax.data import pipeline
from histo_jax.errors import HistoError, Resume
from histo_jax.models import build_encoder, build_projector
from histo_jax.objectives import build_objective
from histo_jax.training import checkpoint, loop, metrics, parallel, profile, progress
from tests import events

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZE, BATCH, IMAGES, STEPS = 16, 16, 64, 6


def make_config(**changes) -> options.Config:
    values = {
        "data": {"image_size": SIZE, "batch_size": BATCH},
        "augment": {"placement": "host"},
        "optimizer": {"warmup_epochs": 0.5},
        "probe": {"every": 2},
        "training": {"total_steps": STEPS, "save_every": 2, "log_every": 1},
    }
    for path, value in changes.items():
        group, name = path.split("__")
        values.setdefault(group, {})[name] = value
    return options.from_values(options.Config, values)


def mixture(digest: str = "d"):
    table = {"mpp": np.array([0.5, np.nan], np.float32)}
    one = SimpleNamespace(name="histo_patches/x", n=IMAGES, card={"content_hash": "h"}, table=table)
    return SimpleNamespace(
        n=IMAGES, sets=(one,), names=(one.name,), sizes=(IMAGES,), digest=digest, remarks=()
    )


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


def probe(params, batch_stats):
    """Some number that says which encoder it was given."""
    return {
        "knn": float(np.abs(params["conv1"]["kernel"]).sum() + batch_stats["bn1"]["mean"].sum())
    }


def train(directory, config=None, data=None):
    return loop.train(
        config or make_config(),
        directory,
        objective=objective(),
        views=None,
        mixture=data or mixture(),
        probe=probe,
    )


def log(directory):
    return [json.loads(x) for x in (directory / "metrics.jsonl").read_text().splitlines()]


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
    events.assert_view_of(tmp_path, log(directory))


def test_a_finished_run_is_left_as_it_is(undisturbed, stream):
    directory, want = undisturbed
    before = (directory / "metrics.jsonl").read_bytes()
    same_state(parallel.to_host(train(directory)), want)
    assert (directory / "metrics.jsonl").read_bytes() == before


def test_the_work_directory_explains_itself(undisturbed):
    directory, final = undisturbed
    card = json.loads((directory / "card.json").read_text())
    assert card["encoder"] == "resnet_tiny" or card["encoder"] == "resnet18"
    assert card["mpp"] == [0.5, 0.5]
    assert card["datasets"] == [{"name": "histo_patches/x", "n": IMAGES, "content_hash": "h"}]
    lines = log(directory)
    assert [x["step"] for x in lines] == list(range(1, STEPS + 1))
    assert [x["step"] for x in lines if "knn" in x] == [2, 4, 6]
    events.assert_view_of(directory, lines)
    assert {"loss", "top1", "alignment", "uniformity", "spread", "gradient_norm"} <= set(lines[0])
    stats = final.model_state["batch_stats"]["encoder"]
    assert lines[-1] | probe(final.params["encoder"], stats) == lines[-1]
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


def test_collapse_is_counted_from_the_end_of_warm_up(tmp_path):
    watch = metrics.Watch(tmp_path, warmup_steps=100)
    flat = {"loss": 1.0, "gradient_norm": 1.0, "spread": 1e-4}
    for step in range(1, 150):
        watch.look(step, flat, None)
    with pytest.raises(HistoError, match="one point for 50 steps .step 150.*checkpoint: none"):
        watch.look(150, flat, None)
    assert watch.collapsed == 150  # nothing was saved for as long
    watch.look(151, flat | {"spread": 0.5}, None)
    assert watch.collapsed == 0


def test_the_checkpoint_named_is_from_before_the_collapse(tmp_path, stream):
    def flatten():
        stream["views"] = lambda x: x * np.float32(0)

    stream[6] = flatten
    config = make_config(training__total_steps=80, training__save_every=3)
    with pytest.raises(HistoError, match=r"one point .*step 56.*last good checkpoint: 6"):
        train(tmp_path, config)
    assert checkpoint.steps(tmp_path / "checkpoints") == [6, 3]


def test_other_options_or_data_are_refused(undisturbed, stream):
    directory, _ = undisturbed
    with pytest.raises(HistoError, match="made with other config.objective.temperature"):
        train(directory, make_config(objective__temperature=0.5))
    with pytest.raises(HistoError, match="made with other the prepared data"):
        train(directory, data=mixture("other"))
    train(directory, make_config(training__log_every=3))  # changes nothing that is computed
    train(directory, make_config(probe__dataset="histo_labelled/x", probe__every=5))


def test_a_run_of_an_older_version_goes_on(undisturbed, tmp_path, stream):
    """Options that its version had not are as they are by default."""
    shutil.copytree(undisturbed[0], tmp_path / "run")
    old = files.read_json(tmp_path / "run/config.json")
    del old["training"]["micro_batches"], old["model"]["remat"], old["data"]["where"]
    files.write_json(tmp_path / "run/config.json", old)
    train(tmp_path / "run")
    with pytest.raises(HistoError, match="made with other config.training.micro_batches"):
        train(tmp_path / "run", make_config(training__micro_batches=2))


def test_accepted_changes_are_written_only_once_the_state_is_restored(tmp_path, stream):
    def stop():
        raise Killed

    stream[3] = stop
    with pytest.raises(Killed):
        train(tmp_path)
    before = (tmp_path / "config.json").read_bytes(), (tmp_path / "card.json").read_bytes()
    other = make_config(objective__temperature=0.5, training__on_change="accept")
    shorter = make_config(
        training__total_steps=2, optimizer__warmup_epochs=0.25, training__on_change="accept"
    )
    folder = tmp_path / "checkpoints" / "2"
    train(tmp_path, shorter)  # nothing to do
    folder.rename(tmp_path / "2")
    folder.mkdir()
    with pytest.raises(HistoError, match="none of 1 checkpoints"):
        train(tmp_path, other)
    folder.rmdir()
    (tmp_path / "2").rename(folder)
    assert before == (
        (tmp_path / "config.json").read_bytes(),
        (tmp_path / "card.json").read_bytes(),
    )
    del stream[3]
    train(tmp_path, other)
    assert json.loads((tmp_path / "config.json").read_text())["objective"]["temperature"] == 0.5


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "[]", "config.json: was not written by a run"),
        ("config.json", "{", "config.json: not readable as JSON"),
        ("card.json", "{}", "card.json: was not written by a run"),
        ("metrics.jsonl", '{"a": 1}\n', "metrics.jsonl: holds a line that no run wrote: .'a': 1"),
        ("metrics.jsonl", "3\n", "holds a line that no run wrote: 3"),
        ("timing.jsonl", '{"step": "x"}\n', "timing.jsonl: holds a line"),
    ],
)
def test_foreign_files_are_refused_and_left(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(HistoError, match=message):
        train(tmp_path)
    assert (tmp_path / name).read_text() == text


def test_a_file_is_no_work_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoError, match="file: is a file .give --workdir a folder"):
        train(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": {"seed": 1, "data": {"split": "train"}}},
            "process 1: differs .* in config.seed ",
        ),
        ({"the prepared data": "e"}, "in the prepared data "),
        ({"the version of": {"jax": "0"}}, "in the version of.jax "),
    ],
)
def test_processes_that_differ_are_refused(monkeypatch, change, message):
    from jax.experimental import multihost_utils

    mine = {"config": {"seed": 0, "data": {"split": "train"}}, "the prepared data": "d",
            "the version of": {"jax": "1"}}  # fmt: skip
    theirs = json.dumps(mine | change, sort_keys=True).encode()

    def allgather(x):
        if x.ndim == 0:
            return np.stack([x, np.int32(len(theirs))])
        return np.stack([x, np.frombuffer(theirs.ljust(len(x)), np.uint8)])

    parallel.agree(mine)  # one process: nothing
    monkeypatch.setattr(multihost_utils, "process_allgather", allgather)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(HistoError, match=message):
        parallel.agree(mine)


def test_what_must_be_equal_on_all_processes():
    config = make_config()
    facts = loop.plan_facts(config, mixture())
    for changed in (
        make_config(training__save_every=3), make_config(training__log_every=2),
        make_config(augment__placement="device"), make_config(training__total_steps=7),
    ):  # fmt: skip
        assert loop.plan_facts(changed, mixture()) != facts
    elsewhere = make_config(data__dir="/mnt/other", data__cache="raw")
    assert loop.plan_facts(elsewhere, mixture()) == facts


def test_a_probed_step_has_a_line_of_its_own(tmp_path):
    """… and what the probe says is asked for after the numbers were found sound."""
    config = make_config(training__log_every=100)
    good = {n: jnp.float32(0.5) for n in ("loss", "top1", "spread", "gradient_norm")}
    with metrics.Readout(config, tmp_path, 0, STEPS, IMAGES, True) as readout:
        for step in range(1, 5):
            readout.push(step, good, None)
            if step == 3:
                readout.settle(None, lambda: {"knn": 0.25})
        readout.push(5, good | {"loss": jnp.float32(np.nan)}, None)
        with pytest.raises(HistoError, match="loss is nan at step 5"):
            readout.settle(None, lambda: pytest.fail("probed"))
    (line,) = log(tmp_path)
    assert (line["step"], line["knn"]) == (3, 0.25)
    events.assert_view_of(tmp_path, [line])


def test_a_full_disk_is_one_line_in_the_log_too(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = metrics.Log(tmp_path, 0)
    monkeypatch.setattr(files, "append_line", full)
    with pytest.raises(HistoError, match="metrics.jsonl: cannot write: No space left"):
        log.write(1, {"loss": 1.0}, {"images_per_s": 1.0})


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


@pytest.mark.parametrize(("name", "value"), [("epochs", 2**30), ("total_steps", 2**31)])
def test_more_steps_than_can_be_counted_are_refused(name, value):
    with pytest.raises(HistoError, match=rf"config.training.{name}: makes [\d,]+ steps"):
        loop.planned_steps(
            make_config(**{"training__total_steps": None, f"training__{name}": value}), IMAGES
        )


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    bar = progress.Progress(0, 1200, 16, True)
    for step in range(1, 13):
        probed = {"knn": 0.5} if step == 5 else {}
        bar.show(step, {"loss": 3.0, "top1": 0.25, **probed})
    bar.show(1200, {"loss": 2.0, "top1": 0.5})
    bar.close()
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "step         4 of 1,200  loss 3.000  top1 0.250  2 images/s  3.3 hours left",
        "step         8 of 1,200  loss 3.000  top1 0.250  knn 0.500  2 images/s  3.3 hours left",
        "step        12 of 1,200  loss 3.000  top1 0.250  knn 0.500  2 images/s  3.3 hours left",
        "step     1,200 of 1,200  loss 2.000  top1 0.500  knn 0.500  148 images/s",
    ]


def test_after_the_first_step_nothing_is_compiled(tmp_path, stream, monkeypatch):
    """… whatever is saved, logged and probed; one step is compiled before the first."""
    compiled, at = [], {}
    event = "/jax/core/compile/backend_compile_duration"
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name == event else None
    )
    push = metrics.Readout.push

    def counted(self, step, *rest):
        at[step] = len(compiled)
        push(self, step, *rest)

    monkeypatch.setattr(metrics.Readout, "push", counted)
    train(tmp_path)
    assert sorted(at) == list(range(1, STEPS + 1)) and at[1] > 0
    assert len(compiled) == at[1]
    assert checkpoint.steps(tmp_path / "checkpoints") == [6, 4, 2]
    assert [x["step"] for x in log(tmp_path) if "knn" in x] == [2, 4, 6]


def test_a_profile_of_some_steps(tmp_path, stream, undisturbed, capsys):
    final = loop.train(
        make_config(), tmp_path, objective=objective(), views=None, mixture=mixture(), profile=2
    )
    same_state(parallel.to_host(final), undisturbed[1])
    (trace,) = (tmp_path / "profile").rglob("*.trace.json.gz")
    assert b"step" in gzip.decompress(trace.read_bytes())
    assert f"profile  {tmp_path}/profile: open its .trace.json.gz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "start", "total", "traced"),
    [(0, 0, 9, []), (2, 0, 9, [4, 5]), (2, 4, 9, [8, 9]), (5, 0, 6, [4, 5, 6]), (3, 5, 6, [6])],
)
def test_which_steps_are_traced(tmp_path, monkeypatch, steps, start, total, traced):
    on, seen = [], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda _: on.append(True))
    monkeypatch.setattr(jax.profiler, "stop_trace", on.clear)
    with profile.Profile(tmp_path, steps, start, total) as tracer:
        for number in range(start + 1, total + 1):
            seen += [number] if on else []
            tracer.after(number, {})
    assert seen == traced and not on


def test_a_number_from_the_host_does_not_sneak_into_the_step(tmp_path, stream, monkeypatch):
    def place(mapper, batch):
        return {name: array.reshape(8, -1, *array.shape[1:]) for name, array in batch.items()}

    monkeypatch.setattr(parallel.Mapper, "place", place)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        train(tmp_path)
