"""The paper's other pretext tasks: the same numbers on any number of devices, and their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from histo_jax.errors import HistoError
from histo_jax.losses import BINS
from histo_jax.models import build_encoder
from histo_jax.objectives import OBJECTIVES, build_objective, check_negatives, cpc
from histo_jax.training import optimizer, parallel
from histo_jax.training.state import TrainState
from histo_jax.training.step import make_step

pytestmark = pytest.mark.usefixtures("quick_compile")

SIZE, BATCH = 32, 8
# name: (objective, encoder, options, side and number of its views)
TASKS = {
    "autoencoder": ("autoencoder", "resnet_tiny", {"skips": True}, 32, 1),
    "autoencoder without skips": ("autoencoder", "resnet_tiny", {"skips": False}, 32, 1),
    "colorization": ("colorization", "resnet_tiny", {"skips": True, "colours": "rgb"}, 32, 1),
    "colour bins": ("colorization", "resnet_tiny", {"skips": True, "colours": "bins"}, 32, 1),
    "cpc": ("cpc", "resnet_tiny_ln", {}, 8, 49),
}


def build(case, dtype="float32", axis=None):
    name, encoder, options, _, _ = TASKS[case]
    return build_objective(name, encoder=build_encoder(encoder, 8, dtype, dtype, axis), **options)


def fresh(task, dtype=np.float32):
    """Parameters and state, drawn by numpy: compiling `init` takes longer than the step."""
    random = np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), dtype)
    params, state = jax.eval_shape(task.init, jax.random.key(0), image)

    def draw(leaf):
        law = random.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))
        return (law if leaf.ndim > 1 else 1 + 0.1 * random.normal(size=leaf.shape)).astype(dtype)

    def start(path, leaf):
        prior = "prior" in jax.tree_util.keystr(path)
        return np.full(leaf.shape, 1 / 261 if prior else 1, dtype)

    return jax.tree.map(draw, params), jax.tree_util.tree_map_with_path(start, state)


def views(case, dtype=np.float32):
    *_, side, count = TASKS[case]
    return np.random.default_rng(1).uniform(-1, 1, (BATCH, count, side, side, 3)).astype(dtype)


def three_steps(case, mapper, micro_batches=1):
    task = build(case, "float64", parallel.AXIS)
    rate = optax.constant_schedule(0.3)
    tx = optimizer.lars(rate, 1e-6)
    params, state = fresh(task, np.float64)
    now = mapper.replicate(TrainState(np.zeros((), np.int32), params, state, tx.init(params)))
    update = mapper.map_step(make_step(task, tx, rate, None, 0, micro_batches))
    batch = {"views": views(case, np.float64), "index": np.arange(BATCH, dtype=np.int32)}
    seen = []
    for _ in range(3):
        now, metrics = update(now, mapper.place(batch))
        seen.append(parallel.to_host(metrics))
    return parallel.to_host(now), seen


@pytest.mark.slow
@pytest.mark.parametrize("case", TASKS)
def test_four_images_can_be_learned_by_heart(case):
    task, tx = build(case), optimizer.adam(optax.constant_schedule(1e-3), 0.0)
    params, state = fresh(task)
    learning, batch = tx.init(params), views(case)[:4]

    @jax.jit
    def step(params, state, learning):
        ask = jax.value_and_grad(task.loss, has_aux=True)
        (loss, (state, _)), grads = ask(params, state, batch, jax.random.key(0), None)
        updates, learning = tx.update(grads, learning, params)
        return optax.apply_updates(params, updates), state, learning, loss

    losses = []
    for _ in range(41):
        params, state, learning, loss = step(params, state, learning)
        losses.append(float(loss))
    assert losses[-1] < 2 / 3 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", TASKS)
def test_eight_devices_equal_one(case):
    with jax.enable_x64(True):
        one, want = three_steps(case, parallel.Mapper("pmap", tuple(jax.devices()[:1])))
        eight, got = three_steps(case, parallel.Mapper("pmap"))
        start, _ = fresh(build(case, "float64"), np.float64)
    for a, b in zip(got, want, strict=True):
        for name in b:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-10, atol=1e-12, err_msg=name)
    for a, b in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    assert want[0]["loss"] > want[2]["loss"]  # a step that does nothing would be equal as well
    for part in start:
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), one.params[part], start[part])
        assert all(jax.tree.leaves(moved)), part


@pytest.mark.slow
@pytest.mark.parametrize("case", ["colour bins", "cpc"])
def test_shard_map_equals_pmap(case):
    with jax.enable_x64(True):
        one, _ = three_steps(case, parallel.Mapper("shard_map", tuple(jax.devices()[:2])))
        two, _ = three_steps(case, parallel.Mapper("pmap"))
    for a, b in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_cpc_in_parts_is_cpc_at_once():
    """Exactly: with layer norm no image has a part in what another becomes."""
    mapper = parallel.Mapper("pmap", tuple(jax.devices()[:2]))
    with jax.enable_x64(True):
        whole, want = three_steps("cpc", mapper)
        parts, got = three_steps("cpc", mapper, micro_batches=2)
    for a, b in zip(jax.tree.leaves((parts, got)), jax.tree.leaves((whole, want)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", TASKS)
def test_the_encoder_is_where_everybody_looks(case):
    task = build(case)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    params, state = jax.eval_shape(task.init, jax.random.key(0), image)
    name = TASKS[case][0]
    assert set(params) == {"encoder", name}
    assert set(params["encoder"]) == {"conv1", "bn1"} | {f"layer{i}_0" for i in range(1, 5)}
    assert bool(state["batch_stats"]["encoder"]) == (name != "cpc")
    given = jax.ShapeDtypeStruct(views(case).shape, jnp.float32)
    loss = jax.eval_shape(lambda p, s, v: task.loss(p, s, v, None, None), params, state, given)
    assert loss[0].shape == () and jax.tree.structure(loss[1][0]) == jax.tree.structure(state)


def test_the_papers_autoencoder_has_the_parameters_of_its_unet():
    """32,521,250 with two outputs (segmentation_models_pytorch), so 145 more with three."""
    task = build_objective("autoencoder", encoder=build_encoder("resnet50"), skips=True)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params, _ = jax.eval_shape(task.init, jax.random.key(0), image)
    assert sum(x.size for x in jax.tree.leaves(params)) == 32_521_250 - 290 + 435


@pytest.fixture(scope="module")
def painted():
    """Both colorizations as functions of the colours."""
    made = {}
    for case in ("colorization", "colour bins"):
        task = build(case)
        params, state = fresh(task)
        made[case] = jax.jit(lambda v, t=task, p=params, s=state: t.loss(p, s, v, None, None))
    return made


def test_colorization_is_not_shown_the_colours(painted, monkeypatch):
    """The encoder is given luma or lightness: three equal channels."""
    shown = []
    for case in painted:
        task = build(case)
        params, state = jax.eval_shape(
            task.init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
        )
        monkeypatch.setattr(
            "histo_jax.objectives.pixels.paint", lambda *args: shown.append(args[-1]) or 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            task.loss(params, state, jnp.asarray(views(case)), None, None)
    for x in shown:
        assert x.shape == (BATCH, SIZE, SIZE, 3) and x.min() >= -1 and x.max() <= 1
        np.testing.assert_array_equal(x[..., :1].repeat(3, -1), x)
    rgb = (views("colorization")[:, 0] + 1) / 2
    np.testing.assert_allclose(shown[0][..., 0], 2 * rgb @ [0.2989, 0.587, 0.114] - 1, atol=1e-5)


def test_the_prior_follows_the_colours_that_are_met(painted):
    pink = np.full((BATCH, 1, SIZE, SIZE, 3), (0.6, 0.2, 0.5), np.float32)
    _, (state, _) = painted["colour bins"](pink)
    prior = np.asarray(state["colorization"]["prior"])
    np.testing.assert_allclose(prior.sum(), 1, rtol=1e-5)
    assert (prior > 0.99 / 261 + 1e-6).sum() == 5  # the others were not met
    a, b = BINS[prior.argmax()]
    assert a > 0 > b  # towards magenta and blue


def test_cpc_names_the_patch_below():
    at = np.asarray(cpc.places(2, 3)).reshape(2, 4, 7)
    for image, row, column in ((0, 0, 0), (0, 3, 6), (1, 2, 5)):
        assert at[image, row, column] == image * 49 + (row + 3) * 7 + column


def test_cpc_looks_into_four_directions(monkeypatch):
    """The last row of a turned grid, which is predicted, is where the direction's name says."""
    turned = {}

    def apply(_, params, z):
        jax.debug.callback(
            lambda which, z: turned.update({int(which): z[0, -1]}), params["params"], z
        )
        return jnp.zeros((1, 4, 7, 64)), jnp.zeros((1, 7, 7, 64))

    task = build("cpc")
    rows_and_columns = jnp.stack(jnp.divmod(jnp.arange(49.0), 7), axis=-1)
    monkeypatch.setattr(type(task.encoder), "apply", lambda *_, **__: {"pooled": rows_and_columns})
    monkeypatch.setattr(cpc.Context, "apply", apply)
    params = {"encoder": {}, "cpc": {way: jnp.int32(i) for i, way in enumerate(cpc.DIRECTIONS)}}
    task.loss(params, {}, jnp.zeros((1, 49, 8, 8, 3)), None, None)
    jax.effects_barrier()
    ends = {"down": (0, 6), "up": (0, 0), "right": (1, 6), "left": (1, 0)}
    for i, way in enumerate(cpc.DIRECTIONS):
        which, place = ends[way]
        np.testing.assert_array_equal(turned[i][:, which], place)


def test_cpcs_patches_do_not_see_each_other():
    task = build("cpc")
    params, _ = fresh(task)
    encode = jax.jit(lambda x: task.encoder.apply({"params": params["encoder"]}, x, train=True))
    patches, others = views("cpc")[0], np.arange(49) != 7
    before = np.asarray(encode(patches)["pooled"])
    moved = np.where(others[:, None, None, None], patches, np.float32(0.3))
    after = np.asarray(encode(moved)["pooled"])
    np.testing.assert_array_equal(before[others], after[others])
    assert np.abs(before[7] - after[7]).max() > 1e-3


HOW = {"seed": 0, "recipe": "ciga2021", "crop_min": None, "jitter": None, "branches": True}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: build_objective("cpc", encoder=build_encoder("resnet18")),
            "config.model.encoder: has batch norm, .* e.g. resnet50_ln",
        ),
        (
            lambda: build_objective(
                "colorization", encoder=build_encoder("resnet18"), skips=True, colours="lab"
            ),
            "config.objective.colours: is 'lab' .known: rgb, bins",
        ),
        (lambda: build_objective("byol", encoder=None), "is 'byol' .known: simclr, autoencoder"),
        (
            lambda: check_negatives(build("cpc"), 1),
            "config.data.batch_size: 1 image a batch leaves nothing to tell it from .at least 2",
        ),
        (
            lambda: build("autoencoder").views(size=48, **HOW),
            "config.data.image_size: is 48, a U-Net needs a multiple of 32",
        ),
        (
            lambda: build("colorization").views(size=64, **HOW | {"jitter": "heavy"}),
            "config.augment.jitter: is 'heavy', but this task",
        ),
        (lambda: build("cpc").views(size=60, **HOW), "config.data.image_size: is 60, patches"),
    ],
)
def test_what_a_task_cannot_use_is_refused(make, words):
    with pytest.raises(HistoError, match=words):
        make()


def test_tasks_without_negatives_take_one_image():
    for name in ("autoencoder", "colorization"):
        check_negatives(build(name), 1)
    assert OBJECTIVES["simclr"][0].fewest == 2
