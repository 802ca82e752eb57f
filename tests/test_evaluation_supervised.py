"""The supervised step and loop: devices change nothing, frozen parts stay, first best wins."""

import collections
import functools

import jax
import numpy as np
import pytest

from histo_jax.errors import HistoError
from histo_jax.evaluation import examples, features, finetune, floors, segment, supervised
from histo_jax.models import PARTS, build_encoder
from histo_jax.models.resnet import part_of
from histo_jax.training.optimizer import scale_by_adam
from histo_jax.training.parallel import Mapper, to_host

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZE, BATCH, RATE, DECAY = 32, 16, 1e-3, 1e-4


def network(dtype="float32"):
    encoder = build_encoder("resnet_tiny", 8, dtype, dtype)
    return supervised.on_devices(features.Network(encoder, (0.5,) * 3, (0.5,) * 3))


def batch(task, number=0):
    rng = np.random.default_rng(number)
    mask = rng.integers(0, 3, (BATCH, SIZE, SIZE)).astype(np.uint8)
    for i in range(BATCH):
        mask[i, : 2 * i] = 255  # devices hold different numbers of pixels that count
    image = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.uint8)
    index = {"image": image, "index": np.arange(BATCH, dtype=np.int32)}
    if isinstance(task, segment.Pixels):
        return index | {"mask": mask}
    kind = np.float32 if task.classes is None else np.int32
    return index | {"truth": rng.integers(0, 3, BATCH).astype(kind)}


def fresh(task):
    """A state on the host."""
    params, stats = floors.random_init(task.network.encoder, 0)
    if isinstance(task, segment.Pixels):
        params, stats = task.start(params, stats, 1)
        given = {"weights": np.array([0.2, 0.5, 1.0])}
    else:
        params, stats, given = task.start(params, 1, 30.0), {"encoder": stats}, {}
    dtype = task.network.encoder.param_dtype
    params, stats, given = jax.tree.map(lambda x: np.array(x, dtype), (params, stats, given))
    moments = scale_by_adam(DECAY).init(params)
    return supervised.State(np.int32(0), np.uint32(5), given, params, stats, moments)


def train(task, mapper, steps=3):
    update = mapper.map_step(supervised.make_step(task, DECAY, RATE))
    now, losses = mapper.replicate(fresh(task)), []
    for number in range(steps):
        now, seen = update(now, mapper.place(batch(task, number)))
        losses.append(to_host(seen["loss"]))
    return to_host(now), losses


TASKS = {
    "classes": lambda net: finetune.Labels(net, 3),
    "segment": lambda net: segment.Pixels(net, 3, dice=True),
}


@functools.cache
def reference(kind):
    """One device, computed once."""
    one = Mapper("shard_map", tuple(jax.devices()[:1]))
    return train(TASKS[kind](network("float64")), one)


@pytest.mark.parametrize(
    ("kind", "count", "name"),
    [
        ("classes", 8, "shard_map"), ("segment", 8, "pmap"),
        pytest.param("classes", 2, "pmap", marks=pytest.mark.slow),
        pytest.param("segment", 2, "shard_map", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_devices_and_mappers_do_not_change_results(kind, count, name):
    with jax.enable_x64(True):
        (want, losses) = reference(kind)
        mapper = Mapper(name, tuple(jax.devices()[:count]))
        got, seen = train(TASKS[kind](network("float64")), mapper)
    np.testing.assert_allclose(seen, losses, rtol=1e-10)
    assert np.ptp(losses) > 1e-3
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def flat(tree):
    return {"/".join(k.key for k in path): x for path, x in jax.tree.leaves_with_path(tree)}


def test_frozen_parts_do_not_move_and_all_others_do():
    task = finetune.Labels(network(), None, "layer2")
    before, (after, _) = fresh(task), train(task, Mapper("pmap", tuple(jax.devices()[:1])), 1)
    for one, two in ((before.params, after.params), (before.batch_stats, after.batch_stats)):
        one, two = flat(one), flat(two)
        for name in one:
            within = name.split("/")
            held = within[0] == "encoder" and part_of(within[1]) in PARTS[:3]
            assert np.array_equal(one[name], two[name]) == held, name


def test_turns_are_the_eight_symmetries_alike_and_the_same_for_the_mask():
    image = np.arange(4).reshape(1, 2, 2, 1).repeat(4000, 0).astype(np.uint8)
    keys = jax.random.split(jax.random.key(0), len(image))
    out = examples.turn(keys, {"image": image, "mask": image[..., 0]})
    np.testing.assert_array_equal(out["image"][..., 0], out["mask"])
    seen = collections.Counter(m.tobytes() for m in np.array(out["mask"]))
    square = image[0, ..., 0]
    wanted = {np.rot90(s, k).tobytes() for s in (square, square[::-1]) for k in range(4)}
    assert set(seen) == wanted
    assert sum((n - 500) ** 2 / 500 for n in seen.values()) < 24.3  # χ², 7 degrees, p = 1e-3


def test_rebatching_keeps_order_and_loses_nothing():
    sizes = (3, 1, 10, 2, 2)
    chunks = np.split(np.arange(18), np.cumsum(sizes)[:-1])
    parts = [p["image"] for p in examples.rebatch(({"image": c} for c in chunks), 4)]
    assert [len(p) for p in parts] == [4, 4, 4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(18))


def test_batches_are_what_devices_can_share():
    sizes = [
        supervised.batch_size(*a) for a in ((1000, 128, 8), (50, 128, 8), (5, 128, 1), (99, 12, 8))
    ]
    assert sizes == [128, 48, 5, 8]
    with pytest.raises(HistoError, match="7 training images can't be shared by 8 devices"):
        supervised.batch_size(7, 128, 8)


def test_an_epoch_shows_every_image_and_fills_its_last_batch_from_its_start():
    source = examples.Source(10, lambda at, epoch: [{"image": at}])
    one, two = (
        [b["image"] for b in supervised._epoch(source, 12, 4, seed=3, epoch=e)] for e in (1, 2)
    )
    order = np.concatenate(one)
    assert sorted(order[:10]) == list(range(10))
    np.testing.assert_array_equal(order[10:], order[:2])
    assert not np.array_equal(order, np.concatenate(two))


def toy(n=24):
    """Red images and blue ones."""
    truth = (np.arange(n) % 2).astype(np.int32)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, SIZE, SIZE, 3)).astype(np.uint8)
    images[np.arange(n), :, :, 2 * truth] += 150
    return examples.Source(n, lambda at, epoch: [{"image": images[at], "truth": truth[at]}])


def fit(scores, rate=RATE):
    """A fit whose validation says `scores` in turn."""
    task, source, told = finetune.Labels(network(), 2), toy(), []
    params, stats = floors.random_init(task.network.encoder, 0)
    said = iter(scores)

    def score(answers):
        assert sum(len(answer) for answer, _ in answers) == source.n
        return next(said)

    made = supervised.fit(
        task, task.start(params, 0, 0.0), {"encoder": stats}, source, source, score,
        supervised.Options(DECAY, 0, epochs=len(scores), batch_size=10, rate=rate),
        mapper=Mapper("pmap", tuple(jax.devices()[:2])), tell=told.append,
    )  # fmt: skip
    return made, told


def test_the_first_best_epoch_is_kept_and_two_fits_are_equal():
    made, told = fit([0.5, 0.7, 0.7, 0.6])
    assert (made.epoch, made.validation, made.updates, made.batch_size) == (2, 0.7, 6, 10)
    assert made.choice == {"learning_rate": RATE, "epoch": 2, "updates": 6, "validation": 0.7}
    assert made.scores == [0.5, 0.7, 0.7, 0.6] and made.losses[-1] < made.losses[0]
    assert len(told) == 1 and told[0] > 0
    again, _ = fit([0.5, 0.7, 0.0, 0.0])
    short, _ = fit([0.5, 0.7])
    for other in (again, short):
        for a, b in zip(jax.tree.leaves(made.params), jax.tree.leaves(other.params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_ends_it():
    with pytest.raises(HistoError, match="learning_rate: the loss is (nan|inf) in epoch"):
        fit([0.0] * 8, rate=1e30)


def test_the_estimate_is_told_once(capsys):
    tell = supervised.Estimate(25, "fine-tunes")
    tell(331.0)
    tell(5.0)
    assert capsys.readouterr().err == "about 2.3 hours for 25 fine-tunes\n"
