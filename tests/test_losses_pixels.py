"""Pixel losses: written out in numpy, and the same on any number of devices and mapper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from histo_jax.losses import pixel_loss

AXIS, CLASSES = "batch", 3


def problem(dtype=np.float64):
    """Pixels of 8 images; how many count differs from image to image."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4, 4, 5)).astype(dtype)
    labels = rng.integers(0, CLASSES, (8, 4, 4)).astype(np.uint8)
    for i in range(8):
        labels[i].flat[: 2 * i] = 255
    return rng.normal(size=(5, CLASSES)).astype(dtype), x, labels


def written_out(logits, labels, weights=None, dice=False):
    valid = labels != 255
    logits, labels = logits[valid], labels[valid]
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weight = np.ones(len(labels)) if weights is None else weights[labels]
    each = -np.log(share[np.arange(len(labels)), labels])
    loss = (each * weight).sum() / weight.sum()
    if dice:
        truth = np.eye(logits.shape[1])[labels]
        there = truth.sum(0) > 0
        of_class = 2 * (share * truth).sum(0) / (share + truth).sum(0)
        loss += 1 - of_class[there].mean()
    return loss


WEIGHTS = np.array([0.2, 1.0, 0.5])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dice", [False, True])
def test_is_what_is_written_out(weights, dice):
    with jax.enable_x64(True):
        w, x, labels = problem()
        got = pixel_loss(jnp.array(x @ w), jnp.array(labels), weights, dice)
    np.testing.assert_allclose(got, written_out(x @ w, labels, weights, dice), rtol=1e-12)


def test_ignored_pixels_change_nothing():
    w, x, labels = problem(np.float32)
    other = np.where((labels == 255)[..., None], 1e6, x @ w)
    for dice in (False, True):
        a, b = (pixel_loss(jnp.array(z), jnp.array(labels), None, dice) for z in (x @ w, other))
        assert a == b


def test_nothing_to_count_gives_zero_and_no_nan():
    w, x, labels = problem(np.float32)
    nothing = jnp.full(labels.shape, 255, jnp.uint8)
    value, grad = jax.value_and_grad(lambda z: pixel_loss(z, nothing))(jnp.array(x @ w))
    assert value == 0 and not np.any(grad)
    grad = jax.grad(lambda z: pixel_loss(z, nothing, dice=True))(jnp.array(x @ w))
    assert not np.any(grad)


def test_a_class_that_is_absent_is_no_part_of_dice():
    w, x, labels = problem()
    labels = np.where(labels == 2, 0, labels)
    with jax.enable_x64(True):
        got = pixel_loss(jnp.array(x @ w), jnp.array(labels), None, True)
    np.testing.assert_allclose(got, written_out(x @ w, labels, None, True), rtol=1e-12)


def test_half_precision_is_widened():
    w, x, labels = problem(np.float32)
    assert pixel_loss(jnp.array(x @ w, jnp.bfloat16), jnp.array(labels)).dtype == jnp.float32


def step(w, x, labels):
    """The form used in training: sums over all inside, and mean of the gradients."""
    f = lambda w: pixel_loss(x @ w, labels, jnp.array(WEIGHTS), True, AXIS)  # noqa: E731
    loss, grad = jax.value_and_grad(f)(w)
    return loss, jax.lax.pmean(grad, AXIS)


@pytest.mark.parametrize(
    ("devices", "mapper"),
    [(1, "pmap"), (2, "pmap"), (8, "pmap"), (8, "shard_map"), (8, "unchecked")],
)
def test_exact_on_any_number_of_devices(devices, mapper):
    """Devices hold different numbers of pixels that count: a mean of means would be wrong."""
    some = jax.devices()[:devices]
    with jax.enable_x64(True):
        w, x, labels = (jnp.array(a) for a in problem())
        f = lambda w: pixel_loss(x @ w, labels, jnp.array(WEIGHTS), True)  # noqa: E731
        want, want_grad = jax.value_and_grad(f)(w)
        if mapper == "pmap":
            parts = [a.reshape(devices, -1, *a.shape[1:]) for a in (x, labels)]
            out = jax.pmap(step, AXIS, in_axes=(None, 0, 0), devices=some)(w, *parts)
            loss, grad = jax.tree.map(lambda a: a[0], out)
        else:
            kind = {"mesh": Mesh(np.array(some), (AXIS,)), "in_specs": (P(), P(AXIS), P(AXIS))}
            mapped = jax.shard_map(step, out_specs=P(), check_vma=mapper == "shard_map", **kind)
            loss, grad = jax.jit(mapped)(w, x, labels)
    np.testing.assert_allclose(loss, want, rtol=1e-12)
    np.testing.assert_allclose(grad, want_grad, atol=1e-12)
