"""Checkpoints: verified, explained, never another network's."""

import json
import shutil
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from histo_jax import errors
from histo_jax.errors import HistoError
from histo_jax.training import checkpoint
from histo_jax.training.__main__ import main
from histo_jax.training.state import TrainState

CARD = {"encoder": "resnet_tiny", "width": 8}


def make_state(seed: int = 0, width: int = 32) -> TrainState:
    """Host arrays in the shape of a state; random, since zeros compress to nothing."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(64, width)).astype(np.float32)
    stats = {"batch_stats": {"encoder": {"bn1": {"mean": rng.normal(size=8).astype(np.float32)}}}}
    return TrainState(
        step=np.array(seed, np.int32),
        params={"encoder": {"conv1": {"kernel": kernel}}, "projector": {"fc": kernel + 1}},
        model_state=stats,
        opt_state=({"trace": kernel * 2}, ()),
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def saved(tmp_path):
    """A work directory with the steps 1, 2 and 3."""
    checkpoints = checkpoint.Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(make_state(step), step, CARD)
    return tmp_path


def largest_file(step_folder):
    return max((p for p in step_folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_round_trip_is_bit_equal(saved):
    checkpoints = checkpoint.Checkpoints(saved)
    assert_equal(checkpoints.restore(make_state(0)), make_state(3))
    assert checkpoints.latest == 3


def test_nothing_saved_is_none(tmp_path):
    assert checkpoint.Checkpoints(tmp_path).restore(make_state(0)) is None


def test_only_the_newest_are_kept(saved):
    checkpoint.Checkpoints(saved).save(make_state(4), 4, CARD)
    assert checkpoint.steps(saved / "checkpoints") == [4, 3, 2]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_damage_is_found_and_the_step_before_is_used(saved, capsys, damage):
    damage(largest_file(saved / "checkpoints" / "3"))
    checkpoints = checkpoint.Checkpoints(saved)
    assert_equal(checkpoints.restore(make_state(0)), make_state(2))
    warnings = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning:")]
    assert len(warnings) == 1 and "falling back" in warnings[0]
    checkpoints.set_aside()
    assert (saved / "damaged" / "3").is_dir()
    checkpoints.save(make_state(3), 3, CARD)  # the place is free again
    assert_equal(checkpoint.Checkpoints(saved).restore(make_state(0)), make_state(3))


def test_an_empty_newer_folder_is_no_checkpoint(saved, capsys):
    (saved / "checkpoints" / "9").mkdir()
    assert_equal(checkpoint.Checkpoints(saved).restore(make_state(0)), make_state(3))
    assert "checkpoint can't be read" in capsys.readouterr().err


def test_leftovers_of_a_killed_save_are_ignored(saved):
    shutil.copytree(saved / "checkpoints" / "3", saved / "checkpoints" / "4.orbax-checkpoint-tmp")
    assert_equal(checkpoint.Checkpoints(saved).restore(make_state(0)), make_state(3))


def test_another_versions_steps_are_left_alone(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", 3)
    with pytest.raises(HistoError, match="checkpoint of schema 2, this version reads 3"):
        checkpoint.Checkpoints(saved).restore(make_state(0))
    assert checkpoint.steps(saved / "checkpoints") == [3, 2, 1]


def test_all_damaged_is_an_error_and_moves_nothing(saved):
    for step in (1, 2, 3):
        flip(largest_file(saved / "checkpoints" / str(step)))
    with pytest.raises(HistoError, match="none of 3 checkpoints is whole"):
        checkpoint.Checkpoints(saved).restore(make_state(0))
    assert checkpoint.steps(saved / "checkpoints") == [3, 2, 1]
    assert not (saved / "damaged").exists()


def test_damaged_steps_stay_where_the_good_one_is_another_networks(saved):
    flip(largest_file(saved / "checkpoints" / "3"))
    with pytest.raises(HistoError, match="another network"):
        checkpoint.Checkpoints(saved).restore(make_state(0, width=16))
    assert checkpoint.steps(saved / "checkpoints") == [3, 2, 1]


def card_file(workdir, step=3):
    (path,) = (p for p in (workdir / "checkpoints" / str(step) / "card").rglob("metadata"))
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"resnet_tiny"', '"resnet_tinz"'),
        ('"width": 8', '"width": 9'),
        ('"step": 3', '"step": 2'),
        ('"schema": 2', '"schema": 3'),
        ('"sha256": ', '"sha257": '),
        ('"arrays"', '"brrays"'),
        ("{", "["),
    ],
)
def test_a_card_that_is_not_what_was_saved_is_found(saved, capsys, old, new):
    path = card_file(saved)
    text = path.read_text()
    spaced = old if old in text else old.replace(": ", ":")
    assert spaced in text
    path.write_text(text.replace(spaced, new))
    with pytest.raises(HistoError, match="3: (its card is not what was saved|checkpoint can't)"):
        checkpoint.read(saved / "checkpoints", 3)
    assert_equal(checkpoint.Checkpoints(saved).restore(make_state(0)), make_state(2))


def test_cards_of_the_first_schema_are_read(saved):
    path = card_file(saved)
    card = json.loads(path.read_text())
    del card["sha256"]
    path.write_text(json.dumps(card | {"schema": 1}))
    assert checkpoint.read(saved / "checkpoints", 3)[1]["step"] == 3


def test_another_network_is_refused_by_leaf(saved):
    with pytest.raises(HistoError, match=r"3 leaves differ: .*kernel: float32\(64, 32\), wanted"):
        checkpoint.Checkpoints(saved).restore(make_state(0, width=16))


def test_another_dtype_is_never_cast(saved):
    template = jax.tree.map(lambda x: x.astype(np.float16), make_state(0))
    with pytest.raises(HistoError, match="leaves differ"):
        checkpoint.Checkpoints(saved).restore(template)


def test_a_state_that_is_not_finite_is_never_saved(saved):
    bad = make_state(4)
    bad.model_state["batch_stats"]["encoder"]["bn1"]["mean"][0] = np.inf
    with pytest.raises(HistoError, match="bn1.mean is not finite at step 4"):
        checkpoint.Checkpoints(saved).save(bad, 4, CARD)
    assert checkpoint.steps(saved / "checkpoints") == [3, 2, 1]


def test_a_full_disk_is_one_line_and_keeps_what_was_saved(saved, monkeypatch):
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore")

    checkpoints = checkpoint.Checkpoints(saved)
    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(HistoError, match="4: can't be saved: the disk is full .the steps before"):
        checkpoints.save(make_state(4), 4, CARD)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(HistoError, match="step 4 needs 0.0 MB, 0.0 are free"):
        checkpoints.save(make_state(4), 4, CARD)
    assert_equal(checkpoints.restore(make_state(0)), make_state(3))


def test_load_encoder(saved):
    loaded = checkpoint.load_encoder(saved)
    want = make_state(3)
    np.testing.assert_array_equal(
        loaded.params["conv1"]["kernel"], want.params["encoder"]["conv1"]["kernel"]
    )
    assert set(loaded.params) == {"conv1"} and set(loaded.batch_stats) == {"bn1"}
    assert loaded.card["encoder"] == "resnet_tiny" and loaded.card["step"] == 3
    assert checkpoint.load_encoder(saved / "checkpoints" / "2").card["step"] == 2


def test_load_encoder_says_what_is_missing(tmp_path):
    with pytest.raises(HistoError, match="nowhere: no such folder"):
        checkpoint.load_encoder(tmp_path / "nowhere")
    with pytest.raises(HistoError, match="holds no checkpoint"):
        checkpoint.load_encoder(tmp_path)


@pytest.mark.slow
def test_twenty_flips_are_twenty_found(tmp_path):
    rng = np.random.default_rng(0)
    checkpoint.Checkpoints(tmp_path).save(make_state(1), 1, CARD)
    target = largest_file(tmp_path / "checkpoints" / "1")
    good = target.read_bytes()
    for _ in range(20):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        target.write_bytes(bytes(bad))
        with pytest.raises(HistoError, match="sha256 differs|can't be read"):
            checkpoint.read(tmp_path / "checkpoints", 1)


def verify(monkeypatch, capsys, path):
    """Status and output of `python -m histo_jax.training verify`."""
    monkeypatch.setattr(sys, "argv", ["verify", "verify", str(path)])
    return errors.run(main), capsys.readouterr()


def test_verify(saved, monkeypatch, capsys):
    good, told = verify(monkeypatch, capsys, saved)
    assert good == 0 and told.out.count("arrays whole") == 3
    flip(largest_file(saved / "checkpoints" / "2"))
    bad, told = verify(monkeypatch, capsys, saved)
    assert bad == 1 and told.out.count("arrays whole") == 2
    assert "checkpoints/2: " in told.err and "Traceback" not in told.err


def test_verify_takes_a_step_or_says_what_to_give(saved, monkeypatch, capsys):
    good, told = verify(monkeypatch, capsys, saved / "checkpoints" / "2")
    assert good == 0 and told.out.splitlines() == ["step 2: 5 arrays whole"]
    good, told = verify(monkeypatch, capsys, saved / "checkpoints")
    assert good == 0 and told.out.count("arrays whole") == 3
    delete(largest_file(saved / "checkpoints" / "2" / "card"))
    bad, told = verify(monkeypatch, capsys, saved / "checkpoints" / "2")
    assert bad == 1 and told.err.count("\n") == 1
    for wrong, what in ((saved / "nowhere", "no such folder"), (saved.parent, "no checkpoint")):
        bad, told = verify(monkeypatch, capsys, wrong)
        assert bad == 1 and what in told.err and "or a step in its checkpoints/" in told.err
