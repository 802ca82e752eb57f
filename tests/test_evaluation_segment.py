"""Segmentation from masks to scores: classes, squares, floors, and a U-Net that learns."""

import types

import jax
import numpy as np
import pytest

from histo_jax.data.images import nearest, read_masks, read_whole
from histo_jax.evaluation import features, floors, labelled, masks, pixel_floors, segment, squares
from histo_jax.models import build_encoder
from histo_jax.training.parallel import Mapper
from tests.labelled_sets import config
from tests.prepared_sets import encode, make_set, refused

pytestmark = pytest.mark.usefixtures("quick_compile")

NETWORK = features.Network(build_encoder("resnet_tiny", 8), (0.5,) * 3, (0.5,) * 3)


def made_up(n=24, shape=(32, 32), ignored=0):
    """Dark discs on light ground, two images a slide."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images, found = [], []
    for i in range(n):
        at = rng.uniform(8, np.array(shape) - 8)
        mask = (np.hypot(y - at[0], x - at[1]) < 5 + i % 4).astype(np.uint8)
        colour = np.where(mask[..., None] == 1, (110, 70, 150), (190, 170, 200))
        images.append(np.clip(colour + rng.integers(-25, 26, (*shape, 3)), 0, 255).astype(np.uint8))
        mask[:ignored] = 255
        found.append(mask)
    table = {
        "key": np.array([f"k{i:03d}" for i in range(n)]),
        "patient": np.array([""] * n),
        "slide": np.array([f"s{i // 2}" for i in range(n)]),
        "split": np.array(["train"] * n),
        "sha256": np.array([f"{i:064d}" for i in range(n)], "S64"),
    }
    return types.SimpleNamespace(
        name="b/c", path="data/b/c/1.0.0", n=n, table=table, images=images, masks=found,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """Made-up sets are read from memory, sets on disk from there."""

    def whole(opened, rows):
        return (opened.images[i] for i in rows.tolist())

    def of_masks(opened, rows, size=None):
        return (
            opened.masks[i] if size is None else nearest(opened.masks[i], size)
            for i in rows.tolist()
        )

    def images(opened, rows, size, batch_size):
        for start in range(0, len(rows), batch_size):
            some = [opened.images[i] for i in rows[start : start + batch_size].tolist()]
            yield np.stack(
                [np.stack([nearest(c, size) for c in np.moveaxis(i, 2, 0)], -1) for i in some]
            )

    monkeypatch.setattr(masks, "read_whole", whole)
    monkeypatch.setattr(masks, "read_masks", of_masks)
    monkeypatch.setattr(squares, "read_masks", of_masks)
    monkeypatch.setattr(features, "read_images", images)


def opened(**options):
    """The originals of a made-up set, and a grouped split."""
    prepared = made_up(**options)
    found = masks.masked(prepared)
    (plan,) = labelled.plans(config(split_by=("grouped",)), prepared, found)
    return masks.Originals(prepared, found), plan


def run(originals, plan, mode="resize", **changes):
    params, stats = floors.random_init(NETWORK.encoder, 0)
    options = {"decay": 1e-4, "seed": 0, "epochs": 10, "batch_size": 4, "rate": 1e-2} | changes
    options |= {"class_weights": True, "dice": True}
    mapper = Mapper("pmap", tuple(jax.devices()[:1]))
    seen = squares.MODES[mode](originals, 32)
    return segment.run(NETWORK, params, stats, seen, plan, **options, mapper=mapper)


def value(result, plan, found, metric="macro_f1"):
    scores, _ = segment.score(result, plan, found)
    return next(s["value"] for s in scores if s["metric"] == metric)


def test_scores_are_those_of_the_vectors():
    """Numerics 6.3: one confusion matrix of all pixels .7333333333, mean over images .5809523810."""
    truth = np.array([[0, 0, 0, 0], [0, 0, 1, 1]], np.uint8)
    said = np.array([[0, 0, 0, 1], [0, 1, 1, 1]], np.uint8)
    truth, said = (
        np.pad(a, ((0, 0), (0, 1)), constant_values=v) for a, v in ((truth, 255), (said, 1))
    )
    counts = np.array([segment.confusion(*pair, 2) for pair in zip(truth, said, strict=True)])
    assert counts.dtype == np.int64 and counts.sum() == 8
    plan = labelled.Plan("paper", 0, np.array([2, 2], np.int8), 1.0, np.array([], np.int64))
    found = types.SimpleNamespace(groups=np.array([0, 1]), kinds=("background", "foreground"))
    scores, rows = segment.score(segment.Segmented(counts, {}, None, ()), plan, found)
    assert {s["metric"]: round(s["value"], 10) for s in scores} == {
        "macro_f1": 0.7333333333, "macro_f1_per_image": 0.5809523810,
    }  # fmt: skip
    assert all(s["n"] == s["n_groups"] == 2 and s["ci"][0] < s["ci"][1] for s in scores)
    assert [round(r["f1"], 6) for r in rows] == [0.8, 0.666667] and rows[1]["support"] == 2
    assert rows[0]["ci"][0] <= rows[0]["f1"] <= rows[0]["ci"][1]


def test_an_empty_image_found_empty_is_right():
    counts = np.array([[[9, 0], [0, 0]]])
    np.testing.assert_array_equal(segment._of_there(counts), [1.0])


def test_weights_are_one_over_frequency():
    np.testing.assert_allclose(segment.weigh(np.array([800, 0, 200, 100])), [0.125, 0, 0.5, 1])


def test_what_a_set_with_masks_says_of_itself():
    originals, plan = opened(ignored=4)
    found = originals.found
    assert found.kinds == ("background", "foreground") and found.classes is None and found.has_ids
    assert found.pixels.shape == (24, 2) and (found.pixels.sum(1) == 28 * 32).all()
    np.testing.assert_allclose(found.truth, 100 * found.pixels[:, 1] / (28 * 32))
    assert len(np.unique(found.strata)) == 3 and found.unit == "slides"
    assert plan.split_by == "grouped" and len(plan.rows("train")) == 12


@pytest.mark.parametrize(
    ("values", "words"),
    [((0, 1, 3), "0, 1, 3, not 0 to 2: 3 in k001"), ((1, 2), "1, 2, not 0 to 1: 2 in k001"),
     ((0, 0), "of class 0: there is nothing"), ((255, 255), "to be ignored")],
)  # fmt: skip
def test_masks_of_unknown_classes_are_refused(values, words):
    prepared = made_up(n=3)
    for i, mask in enumerate(prepared.masks):
        mask[:] = values[0]
        mask[5:9] = values[-1] if i else values[-2]
    with refused("mask-classes", words):
        masks.masked(prepared)


def test_masks_are_read_from_a_prepared_set(tmp_path):
    mask = np.random.default_rng(0).integers(0, 3, (24, 24)).astype(np.uint8)
    prepared = make_set(tmp_path, n=5, extra={"mask": encode_mask(mask)})
    rows = np.array([3, 0])
    for read in read_masks(prepared, rows):
        np.testing.assert_array_equal(read, mask)
    for read in read_masks(prepared, rows, 8):
        np.testing.assert_array_equal(read, mask[1::3, 1::3])
    assert [i.shape for i in read_whole(prepared, rows)] == [(24, 24, 3)] * 2
    damaged = make_set(tmp_path / "damaged", n=2, extra={"mask": encode_mask(mask)[:-40]})
    with refused("damaged", "does not decode"):
        list(read_masks(damaged, np.arange(2)))
    with refused("no-masks", "has no mask", "masks/"):
        list(read_masks(make_set(tmp_path / "without", n=2), np.arange(2)))


def encode_mask(mask):
    return encode(mask, "PNG")


@pytest.mark.parametrize("shape", [(32, 32), (50, 70), (20, 90)])
def test_windows_cover_every_pixel_and_come_together_again(shape):
    originals, _ = opened(n=6, shape=shape)
    at = np.array([4, 1])
    seen = squares.Windows(originals, 32)
    batches = list(seen.once(at, overlap=True).read(np.arange(seen.once(at, overlap=True).n), 0))
    assert all(b["image"].shape[1:] == (32, 32, 3) for b in batches)

    def shares(mask):
        return np.stack([mask != 1, mask == 1], -1).astype(np.float32)

    whole = list(seen.whole(at, ((shares(b["mask"]), b) for b in batches)))
    for mask, back in zip(originals.masks(at), whole, strict=True):
        np.testing.assert_array_equal(back, shares(mask))


def test_windows_are_padded_by_reflection_and_ignored_there():
    originals, _ = opened(n=6, shape=(20, 40))
    (batch,) = squares.Windows(originals, 32).once(np.array([2])).read(np.arange(2), 0)
    image = originals.prepared.images[2]
    np.testing.assert_array_equal(batch["image"][0, :20], image[:, :32])
    np.testing.assert_array_equal(batch["image"][0, 20:], image[18:6:-1, :32])
    assert (batch["mask"][:, 20:] == 255).all() and (batch["mask"][1, :, 8:] == 255).all()


def test_training_windows_move_with_the_epoch_and_lie_inside():
    originals, _ = opened(n=6, shape=(50, 70))
    source = squares.Windows(originals, 32).train(np.arange(6), seed=1)
    assert source.n == 6 * 2 * 3
    numbers = np.array([7, 3, 30])
    one, again, two = (next(source.read(numbers, epoch)) for epoch in (1, 1, 2))
    np.testing.assert_array_equal(one["image"], again["image"])
    assert not np.array_equal(one["image"], two["image"]) and not (one["mask"] == 255).any()
    alone = next(source.read(numbers[1:2], 1))
    np.testing.assert_array_equal(alone["image"][0], one["image"][1])


def test_a_side_must_be_a_multiple_of_32():
    originals, _ = opened(n=6)
    for mode in squares.MODES.values():
        with refused("config", "is 100", "nearest is 96"):
            mode(originals, 100)


def test_stretching_is_bilinear():
    x = np.array([[0.0, 4], [8, 12]], np.float32)[..., None]
    np.testing.assert_array_equal(squares.stretch(x, (2, 2)), x)
    wide = squares.stretch(x, (2, 4))[..., 0]
    np.testing.assert_allclose(wide, [[0, 1, 3, 4], [8, 9, 11, 12]])
    assert squares.stretch(x, (7, 5)).shape == (7, 5, 1)


@pytest.mark.parametrize(
    "mode, shape, epochs", [("resize", (40, 48), 25), ("windows", (50, 40), 10)]
)
def test_a_unet_learns_what_is_there(mode, shape, epochs):
    originals, plan = opened(shape=shape, ignored=3)
    result = run(originals, plan, mode, epochs=epochs)
    constant = pixel_floors.constant(originals, plan)
    found, test = originals.found, plan.rows("test")
    assert result.counts.shape == (len(test), 2, 2)
    np.testing.assert_array_equal(result.counts.sum(2), found.pixels[test])
    assert value(result, plan, found) > 0.75 > 0.55 > value(constant, plan, found)
    assert set(result.choice) == {"learning_rate", "epoch", "updates", "validation"}
    np.testing.assert_array_equal(result.shown, constant.shown)
    for mask, said in zip(originals.masks(result.shown), result.predicted, strict=True):
        assert said.shape == mask.shape and said.dtype == np.uint8


def test_two_runs_are_equal():
    originals, plan = opened()
    one, again = (run(originals, plan, epochs=1) for _ in "ab")
    np.testing.assert_array_equal(one.counts, again.counts)
    assert one.choice == again.choice


def test_masks_of_other_images_teach_nothing():
    prepared = made_up()
    prepared.masks = prepared.masks[1:] + prepared.masks[:1]
    found = masks.masked(prepared)
    (plan,) = labelled.plans(config(split_by=("grouped",)), prepared, found)
    result = run(masks.Originals(prepared, found), plan, epochs=3)
    assert value(result, plan, found) < 0.65


def test_floors_of_pixels():
    originals, plan = opened()
    every = {name: f(originals, plan) for name, f in pixel_floors.floors(2).items()}
    scores = {name: value(r, plan, originals.found) for name, r in every.items()}
    assert scores["constant"] < 0.5 < 0.8 < min(scores["colour_pixels"], scores["otsu"])
    assert every["colour_pixels"].choice["validation"] > 0.8
    assert set(pixel_floors.floors(3)) == {"constant", "colour_pixels"}


def test_a_colour_never_seen_is_answered_by_its_neighbours():
    votes = np.zeros((32, 32, 32, 2), np.int64)
    votes[0, 0, 0, 0], votes[31, 31, 31, 1] = 5, 2
    table = pixel_floors._table(votes.reshape(-1, 2), 5, False).reshape(32, 32, 32)
    assert table[0, 0, 1] == 0 and table[30, 31, 31] == 1 and table[0, 31, 0] == 0


def test_outlines_are_drawn_in_their_colours():
    image = np.full((60, 80, 3), 128, np.uint8)
    truth, said = np.zeros((2, 60, 80), np.uint8)
    truth[10:30, 10:30] = said[10:30, 20:40] = 1
    truth[50:] = 255
    picture = segment.overlay(image, truth, said)
    assert picture.shape == (360, 480, 3) and picture.dtype == np.uint8
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert colours == {(128,) * 3, (42,) * 3, (255, 220, 0), (0, 230, 255), (255,) * 3}
    assert segment.overlay(
        np.zeros((1000, 900, 3), np.uint8), *np.zeros((2, 1000, 900), np.uint8)
    ).shape == (500, 450, 3)
