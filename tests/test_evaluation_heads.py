"""The linear layer and the neighbours: vectors, selection rules, planted and shuffled labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from histo_jax.evaluation import knn, linear, metrics
from histo_jax.training.optimizer import scale_by_adam


def planted(n: int, classes: int, width: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, width)) * 0.3
    x[np.arange(n), y] += 3
    return x.astype(np.float32), y


def fit(x, y, vx, vy, *, seed=0, **options):
    """One problem, the best rate."""
    problem = linear.Problem(x, y, vx, vy, seed)
    return linear.best(linear.fit([problem], **options)[0])


def test_adam_couples_the_decay_as_torch_does():
    """Spec 4.3, measured against torch.optim.Adam; AdamW would give W[0, 0] = .998723055918."""
    with jax.enable_x64(True):
        params = {"w": jnp.array([[1.0, -2], [0.5, 3]]), "b": jnp.array([0.3, -0.7])}
        of_w = [[[0.1, 0.2], [-0.3, 0.4]], [[-0.2, 0.1], [0.05, -0.1]], [[0.3, -0.4], [0.2, 0.1]]]
        of_b = [[0.5, -0.25], [0.1, 0.2], [-0.3, 0.4]]
        transform = scale_by_adam(0.1)
        moments = transform.init(params)
        for w, b in zip(of_w, of_b, strict=True):
            grads = {"w": jnp.array(w), "b": jnp.array(b)}
            updates, moments = transform.update(grads, moments, params)
            params = optax.apply_updates(params, jax.tree.map(lambda u: -1e-3 * u, updates))
        wanted = [[0.998076112249, -1.998531204082], [0.501105787295, 2.997268641451]]
        np.testing.assert_allclose(params["w"], wanted, rtol=1e-9)
        np.testing.assert_allclose(params["b"], [0.297882189365, -0.698911202762], rtol=1e-9)


def test_separable_features_score_one():
    x, y = planted(600, 3, 8)
    head = fit(x[:300], y[:300], x[300:450], y[300:450], classes=3, decay=1e-5, seed=0, epochs=30)
    counts = metrics.confusion(y[450:], linear.outputs(head, x[450:]).argmax(1), 3)
    assert metrics.macro_f1(counts) == 1.0 and head.validation == 1.0


def test_shuffled_labels_score_chance():
    x, y = planted(900, 3, 8)
    y = np.random.default_rng(5).permutation(y)
    head = fit(x[:450], y[:450], x[450:675], y[450:675], classes=3, decay=1e-5, seed=0, epochs=20)
    counts = metrics.confusion(y[675:], linear.outputs(head, x[675:]).argmax(1), 3)
    assert 0.15 < metrics.macro_f1(counts) < 0.45


def test_rates_trained_together_are_rates_trained_alone():
    x, y = planted(200, 3, 6)
    x += np.random.default_rng(1).normal(size=x.shape).astype(np.float32) * 2
    y = y.astype(np.int32)
    # Three seeds of two shapes: two that share a program, and one of another length.
    problems = [
        linear.Problem(x[:n], y[:n], x[130:], y[130:], seed)
        for n, seed in ((130, 3), (128, 3), (129, 4))
    ]
    options = {"classes": 3, "decay": 1e-4, "zero": False, "epochs": 6, "batch_size": 32}
    together = linear.fit(problems, **options)
    for problem, heads in zip(problems, together, strict=True):
        assert len(heads) == len(linear.RATES)
        for rate, head in zip(linear.RATES, heads, strict=True):
            ((alone,),) = linear.fit([problem], rates=(rate,), **options)
            np.testing.assert_allclose(head.weight, alone.weight, rtol=2e-4, atol=1e-5)
            np.testing.assert_allclose(head.bias, alone.bias, rtol=2e-4, atol=1e-5)
            assert head.validation == pytest.approx(alone.validation, abs=1e-6)
            assert (head.epoch, head.updates) == (alone.epoch, alone.updates)
            assert head.learning_rate == pytest.approx(rate)


def test_the_sweep_is_plain_adam_and_padding_counts_for_nothing():
    """50 images in one batch of 64, one rate: against a loop written out."""
    x, y = planted(50, 3, 4)
    options = {"classes": 3, "decay": 1e-4, "seed": 0, "zero": False, "rates": (1e-2,), "epochs": 4}
    head = fit(x, y, x, np.roll(y, 1), batch_size=64, **options)
    params = linear._start(jax.random.fold_in(jax.random.key(0), 0), 4, 3)
    transform = optax.chain(scale_by_adam(1e-4), optax.scale(-1e-2))
    state, labels = transform.init(params), jnp.asarray(y, jnp.int32)

    @jax.jit
    def update(params, state):
        def loss(p):
            logits = x @ p["weight"] + p["bias"][None]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = transform.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(head.epoch):
        params, state = update(params, state)
    np.testing.assert_allclose(head.weight, params["weight"], rtol=1e-4, atol=1e-6)
    counts = metrics.confusion(np.roll(y, 1), linear.outputs(head, x).argmax(1), 3)
    assert head.validation == pytest.approx(metrics.macro_f1(counts), abs=1e-6)


def test_every_epoch_sees_every_image_once():
    """Squared error on orthogonal features, no decay: an unseen image's weight would not move."""
    x = np.eye(10, dtype=np.float32)
    y = np.arange(10) * 10.0
    head = fit(x, y, x, y, classes=None, decay=0.0, seed=0, rates=(1e-2,), epochs=1, batch_size=3)
    assert (np.abs(head.weight) > 1e-3).all() and head.updates == 4


def test_the_first_of_equal_epochs_wins():
    """Validation is perfect early and stays so: a later epoch must not replace the first."""
    x, y = planted(200, 2, 4)
    head = fit(x, y, x, y, classes=2, decay=0.0, seed=0, rates=(1e-1,), epochs=30)
    short = fit(x, y, x, y, classes=2, decay=0.0, seed=0, rates=(1e-1,), epochs=head.epoch)
    assert head.validation == 1.0 and head.epoch < 15
    assert short.epoch == head.epoch
    np.testing.assert_allclose(short.weight, head.weight, rtol=1e-5)
    assert head.updates == head.epoch * 2


def test_the_best_epoch_is_not_the_last():
    """Validation labels disagree with training: the longer it learns, the worse."""
    x, y = planted(128, 2, 4)
    head = fit(x, y, x, 1 - y, classes=2, decay=0.0, seed=0, rates=(1e-1,), epochs=20)
    assert head.epoch < 10


def test_a_random_start_stays_where_features_outnumber_images():
    """Why the layer starts from the constant: 400 features of noise, 40 images, targets near 50."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 400)).astype(np.float32)
    y = 50 + rng.normal(size=120)
    error = {}
    for zero in (True, False):
        head = fit(x[:40], y[:40], x[40:80], y[40:80], classes=None, decay=1e-5, seed=0, zero=zero)
        error[zero] = np.abs(100 * linear.outputs(head, x[80:])[:, 0] - y[80:]).mean()
    assert error[True] < 3 < 35 < error[False]


def test_regression_reads_percent():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = 50 + 8 * x[:, 0]
    head = fit(x[:200], y[:200], x[200:300], y[200:300], classes=None, decay=0.0, seed=0)
    errors = np.abs(100 * linear.outputs(head, x[300:])[:, 0] - y[300:])
    assert errors.mean() < 1.0
    assert head.validation == pytest.approx(-errors.mean(), abs=0.7)


def test_standardise_uses_the_training_part_alone():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (100, 3)), rng.normal(9, 1, (50, 3))
    train[:, 2] = test[:, 2] = 1e4
    a, b = linear.standardise(train.astype(np.float32), test.astype(np.float32))
    np.testing.assert_allclose(a[:, :2].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(a[:, :2].std(0), 1, atol=1e-4)
    assert b[:, 0].mean() > 2 and (a[:, 2] == 0).all() and (b[:, 2] == 0).all()


def test_weight_decay_is_the_papers():
    assert [linear.weight_decay(e) for e in ("resnet18", "resnet50")] == [1e-5, 1e-4]


TRAIN = np.array([(1, 0), (0.9, 0.1), (0, 1), (0.2, 0.9), (-1, 0.1), (0.6, 0.6)])
LABELS = np.array([0, 0, 1, 1, 2, 1])
QUERIES = np.array([(0.8, 0.3), (0.1, 1), (-0.5, 0.5), (0.7, 0.7)])


@pytest.mark.parametrize(
    ("k", "temperature", "predicted", "rows"),
    [
        (3, 0.07, [0, 1, 2, 1], {0: (0.790461, 0.209539, 0), 2: (0, 0.295091, 0.704909),
                                 3: (0.03797, 0.96203, 0)}),
        (5, 0.07, None, {0: (0.789499, 0.210501, 0), 1: (8e-6, 0.999992, 0)}),
        (5, 1.0, [1, 1, 1, 1], {0: (0.479429, 0.520571, 0)}),
    ],
)  # fmt: skip
def test_neighbours_vote_as_in_the_spec(k, temperature, predicted, rows):
    near, at = knn.neighbours(TRAIN, QUERIES, k)
    shares = knn.vote(near, LABELS[at], 3, temperature)
    for row, wanted in rows.items():
        np.testing.assert_allclose(shares[row], wanted, atol=2e-6)
    if predicted:
        assert shares.argmax(1).tolist() == predicted


def test_neighbours_are_capped_and_sorted_across_chunks():
    rng = np.random.default_rng(0)
    train, queries = rng.normal(size=(30, 4)), rng.normal(size=(knn.CHUNK + 5, 4))
    near, at = knn.neighbours(train, queries, 200)
    assert near.shape == (knn.CHUNK + 5, 30) and (np.diff(near, axis=1) <= 0).all()
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, train)]
    np.testing.assert_allclose(near, np.take_along_axis(unit[0] @ unit[1].T, at, 1), atol=1e-5)


def test_neighbours_average_targets():
    near = np.array([[1.0, 1.0, -1.0]])
    assert knn.average(near, np.array([[10.0, 30.0, 90.0]]))[0] == pytest.approx(20, abs=1e-6)
