"""LARS against google-research/simclr's law, LAMB against You et al.'s, Adam against torch's."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from histo_jax.config import Optimizer
from histo_jax.errors import HistoError
from histo_jax.training import optimizer

VECTORS = json.loads((Path(__file__).parent / "vectors" / "lars.json").read_text())


def trajectory(make, schedule, weight_decay):
    """Parameters after each of the three updates of the vector."""
    params = {"W": jnp.array(VECTORS["W0"]), "b": jnp.array(VECTORS["b0"])}
    tx = make(schedule, weight_decay)
    state, seen = tx.init(params), []
    for grad_w, grad_b in zip(VECTORS["gW"], VECTORS["gb"], strict=True):
        grads = {"W": jnp.array(grad_w), "b": jnp.array(grad_b)}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


@pytest.mark.parametrize(
    ("name", "rates", "weight_decay"),
    [
        ("lars_lr0.6_wd1e-6", (0.6, 0.6, 0.6), 1e-6),
        ("lars_lr0.6_wd0.1", (0.6, 0.6, 0.6), 0.1),
        ("lars_lr_0_.6_.45_wd1e-6", (0.0, 0.6, 0.45), 1e-6),
    ],
)
def test_lars_vectors(name, rates, weight_decay):
    with jax.enable_x64(True):
        seen = trajectory(optimizer.lars, lambda step: jnp.array(rates)[step], weight_decay)
        for got, want in zip(seen, VECTORS[name], strict=True):
            np.testing.assert_allclose(got["W"], want["W"], rtol=1e-9)
            np.testing.assert_allclose(got["b"], want["b"], rtol=1e-9, atol=1e-12)


def test_adam_is_torchs_with_coupled_decay():
    with jax.enable_x64(True):
        last = trajectory(optimizer.adam, lambda step: 1e-3, 0.1)[-1]
        want = [[0.998076112249, -1.998531204082], [0.501105787295, 2.997268641451]]
        np.testing.assert_allclose(last["W"], want, rtol=1e-9)
        np.testing.assert_allclose(last["b"], [0.297882189365, -0.698911202762], rtol=1e-9)


def test_lamb_vectors():
    want_w = [
        [[0.9905627462776089, -2.0094372725963607], [0.5094373024811353, 2.9905626566237764]],
        [[0.9961741938949096, -2.0237252531652286], [0.5176917589719198, 2.983366802482481]],
        [[0.9861006175432979, -2.017668957730552], [0.5175886628165896, 2.968593805315775]],
    ]
    want_b = [  # neither decayed nor adapted
        [0.29500000999998, -0.69500001999992],
        [0.290984816246541, -0.6947093960472456],
        [0.2899312545698497, -0.6970635316493495],
    ]
    with jax.enable_x64(True):
        seen = trajectory(optimizer.lamb, lambda step: 0.005, 1e-6)
        for got, w, b in zip(seen, want_w, want_b, strict=True):
            np.testing.assert_allclose(got["W"], w, rtol=1e-9)
            np.testing.assert_allclose(got["b"], b, rtol=1e-9)


def test_lars_everywhere_adapts_biases_and_never_moves_what_is_zero(monkeypatch):
    with jax.enable_x64(True):
        last = trajectory(optimizer.lars_everywhere, lambda step: 0.6, 1e-6)[-1]
        np.testing.assert_allclose(last["b"], [0.298778350754, -0.700587767521], rtol=1e-9)
        np.testing.assert_allclose(last["W"], VECTORS["lars_lr0.6_wd1e-6"][-1]["W"], rtol=1e-9)
        monkeypatch.setitem(VECTORS, "b0", [0.0, 0.0])
        last = trajectory(optimizer.lars_everywhere, lambda step: 0.6, 1e-6)[-1]
        np.testing.assert_array_equal(last["b"], 0)
        assert np.abs(trajectory(optimizer.lars, lambda step: 0.6, 1e-6)[-1]["b"]).min() > 0.01


def test_lars_everywhere_warns(capsys):
    optimizer.build(Optimizer(name="lars"), optax.constant_schedule(1.0))
    optimizer.build(Optimizer(name="lamb"), optax.constant_schedule(1.0))
    assert capsys.readouterr().err == ""
    optimizer.build(Optimizer(name="lars_everywhere"), optax.constant_schedule(1.0))
    assert capsys.readouterr().err.startswith("warning: lars_everywhere adapts biases and norms")


def peak(name, batch_size, base_lr=None):
    options = Optimizer(name=name, base_lr=base_lr, warmup_epochs=1)
    rate = optimizer.schedule(options, batch_size, images=10 * batch_size, total_steps=100)
    return float(rate(jnp.asarray(10)))


@pytest.mark.parametrize("batch_size", [128, 256, 512, 4096])
def test_rates_are_the_papers(batch_size):
    lamb = 4 / (2 ** (3 - (np.log2(batch_size) - 9) / 2) * 100)
    want = {"lars": 0.3 * batch_size / 256, "lars_everywhere": 0.3 * batch_size / 256,
            "lamb": lamb, "adam": 1e-4}  # fmt: skip
    for name, value in want.items():
        np.testing.assert_allclose(peak(name, batch_size), value, rtol=1e-6, err_msg=name)
    assert set(want) == set(optimizer.OPTIMIZERS)


def test_a_rate_that_is_given_grows_by_the_same_law():
    np.testing.assert_allclose(peak("lars", 512, 1.0), 2.0, rtol=1e-6)
    np.testing.assert_allclose(peak("lamb", 128, 1.0), 0.5, rtol=1e-6)
    np.testing.assert_allclose(peak("adam", 512, 0.3), 0.3, rtol=1e-6)


def test_warm_up_is_whole_steps_as_simclr_counts_them():
    assert optimizer.warmup_steps(Optimizer(warmup_epochs=10), 512, 40_900) == 798  # of 798.8


def test_schedule_vector():
    options = Optimizer(base_lr=0.3, warmup_epochs=10)
    rate = optimizer.schedule(options, batch_size=512, images=40_000, total_steps=78_126)
    with jax.enable_x64(True):
        for step, want in {
            0: 0.0, 1: 0.0007682458386683739, 390: 0.2996158770806658, 781: 0.6,
            782: 0.5999999997525277, 10_000: 0.5792119594360147, 39_000: 0.3055257548691506,
            78_126: 0.0,
        }.items():  # fmt: skip
            np.testing.assert_allclose(rate(jnp.asarray(step)), want, rtol=1e-9, atol=1e-15)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(HistoError, match="10 epochs are 40 steps, but the run has 20"):
        optimizer.schedule(Optimizer(), batch_size=64, images=256, total_steps=20)


def test_an_unknown_optimizer_lists_the_known():
    with pytest.raises(HistoError, match="is 'sgd' .known: lars, lars_everywhere, lamb, adam"):
        optimizer.build(Optimizer(name="sgd"), optax.constant_schedule(1.0))
