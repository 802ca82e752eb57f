"""Fine-tuning from end to end on made-up sets: learns what is there, and nothing else."""

import jax
import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.evaluation import features, finetune, floors, labelled, supervised
from histo_jax.models import build_encoder
from histo_jax.training.parallel import Mapper
from tests.labelled_sets import CLASSES, config, prepared

pytestmark = pytest.mark.usefixtures("quick_compile")

NETWORK = features.Network(build_encoder("resnet_tiny", 8), (0.5,) * 3, (0.5,) * 3)
OPTIONS = {"decay": 1e-4, "seed": 0, "epochs": 8, "batch_size": 24, "rate": 3e-3}


def run(opened, devices=1, split_by="paper", **changes):
    found = labelled.labelled(opened)
    (plan,) = labelled.plans(config(split_by=(split_by,)), opened, found)

    def read(at):
        for start in range(0, len(at), 10):
            yield opened.images[found.rows[at[start : start + 10]]]

    params, stats = floors.random_init(NETWORK.encoder, 0)
    outcome = finetune.run(
        NETWORK, params, stats, read, plan, found, **OPTIONS | changes,
        mapper=Mapper("pmap", tuple(jax.devices()[:devices])),
    )  # fmt: skip
    return outcome, found.truth[plan.rows("test")]


def test_colour_as_class_is_learned_on_any_number_of_devices():
    outcomes = [run(prepared(), devices) for devices in (1, 2)]
    for outcome, truth in outcomes:
        assert outcome.protocol == "finetune"
        assert outcome.shares.shape == (len(truth), len(CLASSES))
        np.testing.assert_allclose(outcome.shares.sum(1), 1, rtol=1e-5)
        assert np.array_equal(outcome.shares.argmax(1), truth)
        choice = outcome.choice
        assert choice["validation"] == 1.0 and choice["learning_rate"] == 3e-3
        assert choice["updates"] == 2 * choice["epoch"]  # 48 training images in batches of 24


def test_two_runs_are_equal_and_another_seed_is_another_run():
    same = [run(prepared(), epochs=2)[0] for _ in "ab"]
    np.testing.assert_array_equal(same[0].shares, same[1].shares)
    assert same[0].choice == same[1].choice
    other = run(prepared(), epochs=2, seed=1)[0]
    assert not np.array_equal(same[0].shares, other.shares)


def test_targets_come_back_in_percent():
    outcome, truth = run(prepared(target=True), epochs=20, split_by="grouped")
    assert outcome.shares.shape == (len(truth), 1)
    error = np.abs(outcome.shares[:, 0] - truth).mean()
    assert error < 10 < np.abs(truth - truth.mean()).mean()
    assert -8 < outcome.choice["validation"] < 0  # minus L1 in percent points


def test_the_bias_of_targets_starts_at_their_mean():
    task = finetune.Labels(NETWORK, None)
    params, _ = floors.random_init(NETWORK.encoder, 0)
    head = task.start(params, 0, 40.0)["head"]
    np.testing.assert_allclose(head["bias"], [0.4], rtol=1e-6)
    head = finetune.Labels(NETWORK, 3).start(params, 0, 1.0)["head"]
    bound = NETWORK.encoder.features**-0.5  # torch's law
    for array in head.values():
        assert np.abs(array).max() <= bound and np.std(array) > 0.3 * bound


@pytest.mark.slow
def test_shuffled_labels_are_near_chance():
    label = np.random.default_rng(1).permutation(np.arange(240) % 3)
    outcome, truth = run(prepared(n=240, groups=False, label=label), epochs=3, batch_size=120)
    assert 0.1 < (outcome.shares.argmax(1) == truth).mean() < 0.57  # 60 images: 4 deviations


def test_a_frozen_encoder_is_the_one_given(monkeypatch):
    kept = []
    original = supervised.fit
    monkeypatch.setattr(
        supervised, "fit", lambda *a, **k: kept.append(original(*a, **k)) or kept[-1]
    )
    run(prepared(), epochs=2, freeze_to="layer4")
    given = floors.random_init(NETWORK.encoder, 0)
    trained = (kept[0].params["encoder"], kept[0].batch_stats["encoder"])
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(given), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_devices_than_images_are_refused():
    with pytest.raises(HistoError, match="can't be shared by 8 devices"):
        run(prepared(n=12, groups=False), devices=8)


def test_an_unknown_part_is_refused():
    with pytest.raises(HistoError, match="config.supervised.freeze_to: is 'pooled'"):
        run(prepared(), freeze_to="pooled")
