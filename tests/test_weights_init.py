"""`config.model.init`: the encoder starts from weights that exist, everything else as ever."""

import json
import shutil

import jax
import numpy as np
import pytest

from histo_jax import weights
from histo_jax.errors import HistoError
from histo_jax.training import checkpoint, parallel
from tests.test_training_loop import Killed, fake_batches, make_config, same_state, train
from tests.test_weights_read import trees

pytestmark = pytest.mark.usefixtures("quick_compile")

CARD = {
    "encoder": "resnet_tiny", "width": 8, "image_size": 16, "mean": [0.5] * 3, "std": [0.5] * 3,
    "mpp": None, "datasets": [],
}  # fmt: skip


@pytest.fixture
def stream(monkeypatch):
    return fake_batches(monkeypatch)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "encoder.safetensors"
    weights.save(*trees(width=8), CARD, path)
    return path


def config(init, **changes):
    model = {"model__encoder": "resnet_tiny", "model__width": 8, "model__init": str(init)}
    return make_config(**{**model, **changes})


def at_start(directory, settings):
    """The state before the first update: saved after one step at a rate of next to nothing."""
    found = {}

    def put(self, tree):
        found.setdefault("state", jax.device_get(tree))
        return original(self, tree)

    original = parallel.Mapper.replicate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel.Mapper, "replicate", put)
        final = parallel.to_host(train(directory, settings))
    return found["state"], final


def test_a_run_starts_from_a_file_and_trains_on(tmp_path, file, stream):
    start, final = at_start(tmp_path / "run", config(file))
    plain, _ = at_start(tmp_path / "plain", make_config())
    params, stats = trees(width=8)
    assert int(start.step) == 0
    same_state(start.params["encoder"], params)
    same_state(start.model_state["batch_stats"]["encoder"], stats)
    same_state(start.params["projector"], plain.params["projector"])
    same_state(start.opt_state, plain.opt_state)
    assert int(final.step) == 6
    assert np.any(final.params["encoder"]["conv1"]["kernel"] != params["conv1"]["kernel"])
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["init"] == {"file": file.name, "sha256": weights.digest(params, stats)}
    assert checkpoint.load_encoder(tmp_path / "run").card["init"] == card["init"]
    assert json.loads((tmp_path / "plain" / "card.json").read_text())["init"] is None


def test_a_run_starts_from_a_run(tmp_path, file, stream):
    train(tmp_path / "first", config(file))
    before = checkpoint.load_encoder(tmp_path / "first")
    start, _ = at_start(tmp_path / "second", config(tmp_path / "first"))
    same_state(start.params["encoder"], before.params)
    card = json.loads((tmp_path / "second" / "card.json").read_text())
    assert card["init"]["file"] == "first/checkpoints/6"
    assert card["init"]["sha256"] == weights.digest(before.params, before.batch_stats)


@pytest.mark.slow
def test_a_resumed_run_needs_no_file_and_is_the_same(tmp_path, file, stream):
    whole = parallel.to_host(train(tmp_path / "whole", config(file)))

    def kill():
        raise Killed

    stream[3] = kill
    with pytest.raises(Killed):
        train(tmp_path / "run", config(file))
    del stream[3]
    file.unlink()
    same_state(parallel.to_host(train(tmp_path / "run", config(file))), whole)
    cards = [json.loads((tmp_path / d / "card.json").read_text()) for d in ("whole", "run")]
    assert cards[0]["init"] == cards[1]["init"] is not None


def test_another_init_is_another_run(tmp_path, file, stream):
    train(tmp_path / "run", config(file))
    shutil.copy(file, tmp_path / "other.safetensors")
    with pytest.raises(HistoError, match="config.model.init"):
        train(tmp_path / "run", config(tmp_path / "other.safetensors"))
    with pytest.raises(HistoError, match="config.model.init"):
        train(tmp_path / "run", config(file, model__init=None))


@pytest.mark.slow
def test_changed_weights_before_the_first_checkpoint_are_refused(tmp_path, file, stream):
    train(tmp_path / "run", config(file))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    weights.save(*trees(width=8, seed=1), CARD, file)
    with pytest.raises(HistoError, match="the weights of config.model.init"):
        train(tmp_path / "run", config(file))


def test_another_architecture_is_refused_at_the_start(tmp_path, file, stream):
    with pytest.raises(HistoError, match="width 8.*width 16.*config.model.width=8") as caught:
        train(tmp_path / "run", config(file, model__width=16))
    assert caught.value.path == "config.model.init"
    assert not (tmp_path / "run").exists()
