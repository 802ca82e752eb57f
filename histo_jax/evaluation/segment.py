"""Segmentation: a U-Net on an encoder, trained with masks and judged at their own resolution."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from histo_jax.data.record import IGNORE
from histo_jax.evaluation import metrics, supervised
from histo_jax.evaluation.examples import Batch
from histo_jax.evaluation.features import Network
from histo_jax.evaluation.labelled import Plan
from histo_jax.evaluation.masks import Masked, Originals
from histo_jax.evaluation.squares import Resized, Windows
from histo_jax.losses import pixel_loss
from histo_jax.models import UNet, build_unet
from histo_jax.training.parallel import AXIS, Mapper

SHOWN = 8  # test images whose answers are kept for pictures


@dataclasses.dataclass(frozen=True, eq=False)
class Segmented:
    """What somebody said about the test part.

    Attributes:
      counts: int64 [n_test, k, k], pixels by truth (rows) and answer.
      choice: what validation chose, by name; empty where there was nothing to choose.
      shown: positions int64 of up to `SHOWN` test images, the same for everyone on one plan.
      predicted: uint8 [h, w] of each of them.
    """

    counts: np.ndarray
    choice: dict
    shown: np.ndarray
    predicted: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A U-Net, see `supervised.Task`.

    Attributes:
      network: on devices.
      classes: of a pixel.
      dice: whether soft Dice joins the cross-entropy.
      freeze_to: see `supervised.Task`.
    """

    network: Network
    classes: int
    dice: bool = False
    freeze_to: str | None = None

    @property
    def unet(self) -> UNet:
        return build_unet(self.network.encoder, self.classes)

    def start(self, params: dict, batch_stats: dict, seed: int) -> tuple[dict, dict]:
        """The encoder as given, and a new decoder."""
        fresh = _init(self.unet, jax.random.key(seed))
        given = {"params": params, "batch_stats": batch_stats}
        return tuple(fresh[name] | {"encoder": given[name]} for name in given)

    def forward(
        self, params: dict, batch_stats: dict, images: jax.Array, train: bool
    ) -> tuple[jax.Array, dict]:
        variables = {"params": params, "batch_stats": batch_stats}
        logits, new = self.unet.apply(
            variables, images, train, self.freeze_to, mutable=["batch_stats"]
        )
        return logits, batch_stats | new["batch_stats"]  # an encoder with layer norm has none

    def loss(self, outputs: jax.Array, batch: Batch, given: dict) -> jax.Array:
        return pixel_loss(outputs, batch["mask"], given.get("weights"), self.dice, AXIS)

    def answer(self, outputs: jax.Array) -> jax.Array:
        """Shares of the classes."""
        return jax.nn.softmax(outputs)


def run(
    network: Network, params: dict, batch_stats: dict, squares: Resized | Windows, plan: Plan,
    *, decay: float, seed: int, class_weights: bool = False, dice: bool = False,
    freeze_to: str | None = None, epochs: int = 100, batch_size: int = 128, rate: float = 1e-4,
    mapper: Mapper | None = None, tell: Callable[[float], None] | None = None,
) -> Segmented:  # fmt: skip
    """Trains a U-Net on the training part; the test part is predicted once, at the end.

    The best epoch is chosen by the macro-F1 of all validation pixels, on the squares the network
    sees. See `supervised.fit`.

    Args:
      network: architecture and normalisation.
      params, batch_stats: of the encoder, to start from.
      squares: of the set, see `squares.MODES`.
      plan: the split.
      decay: L2 weight.
      seed: of the decoder, the order, turns and flips, and the places of windows.
      class_weights: weigh classes by 1/frequency in the training part, the rarest by 1.
      dice: add soft Dice to the loss.
      freeze_to, epochs, batch_size, rate, mapper, tell: see `finetune.run`.

    Raises:
      HistoError: fewer training squares than devices; a loss that is not finite.
    """
    found, originals = squares.originals.found, squares.originals
    task = Pixels(supervised.on_devices(network), len(found.kinds), dice, freeze_to)
    train, validation, test = (plan.rows(part) for part in ("train", "validation", "test"))
    weights = weigh(found.pixels[train].sum(0)) if class_weights else None
    options = supervised.Options(decay, seed, epochs, batch_size, rate)
    fit = supervised.fit(
        task, *task.start(params, batch_stats, seed),
        squares.train(train, seed), squares.once(validation),
        functools.partial(_score, len(found.kinds)), options,
        given={} if weights is None else {"weights": weights}, mapper=mapper, tell=tell,
    )  # fmt: skip
    said = supervised.answers(
        task, fit.params, fit.batch_stats, squares.once(test, overlap=True), fit.batch_size, mapper
    )
    predicted = (shares.argmax(-1).astype(np.uint8) for shares in squares.whole(test, said))
    return judge(originals, plan, predicted, fit.choice)


def judge(
    originals: Originals, plan: Plan, predicted: Iterable[np.ndarray], choice: dict
) -> Segmented:
    """Compares answers for the test images, uint8 [h, w] in order, with their masks."""
    test, classes = plan.rows("test"), len(originals.found.kinds)
    shown = np.random.default_rng(plan.seed).permutation(len(test))[:SHOWN]
    counts, kept = [], {}
    for number, (mask, said) in enumerate(zip(originals.masks(test), predicted, strict=True)):
        counts.append(confusion(mask, said, classes))
        if number in shown:
            kept[number] = said
    return Segmented(np.array(counts), choice, test[sorted(kept)], tuple(kept.values()))


def confusion(mask: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Pixels int64 [k, k] by truth and answer, those to be ignored left out."""
    valid = mask != IGNORE
    return metrics.confusion(mask[valid], predicted[valid], classes)


def weigh(pixels: np.ndarray) -> np.ndarray:
    """1/frequency of each class, the largest 1; 0 for a class without pixels: float32 [k]."""
    there = pixels > 0
    rarest = pixels[there].min()
    return np.where(there, rarest / np.maximum(pixels, 1), 0).astype(np.float32)


def score(result: Segmented, plan: Plan, found: Masked) -> tuple[list[dict], list[dict]]:
    """The `metric, value, ci, n, n_groups` of each score, and a row a class.

    `macro_f1` is that of one confusion matrix over all pixels of the part; `macro_f1_per_image`
    the mean over images, in each over the classes that are there or were said. F1 of a class is
    its Dice. Intervals resample groups, and leave out classes that a resample has nothing of.
    """
    groups, classes = found.groups[plan.rows("test")], len(found.kinds)
    names, numbers = np.unique(groups, return_inverse=True)
    images = np.concatenate(
        [result.counts.reshape(len(groups), -1), _of_there(result.counts)[:, None],
         np.ones((len(groups), 1))], 1,
    )  # fmt: skip
    sums = np.zeros((len(names), images.shape[1]))
    np.add.at(sums, numbers, images)
    whole = sums.sum(0)

    def pixels(s: np.ndarray) -> np.ndarray:
        return s[..., :-2].reshape(*s.shape[:-1], classes, classes)

    per_image = lambda s: s[..., -2] / s[..., -1]  # noqa: E731
    resampled = {"macro_f1": lambda s: _of_there(pixels(s)), "macro_f1_per_image": per_image}
    for c in range(classes):
        resampled[c] = lambda s, c=c: metrics.f1_per_class(pixels(s))[..., c]
    intervals = metrics.bootstrap(sums, resampled, plan.seed)
    counts = {"n": len(groups), "n_groups": len(names)}
    values = {"macro_f1": metrics.macro_f1(pixels(whole)), "macro_f1_per_image": per_image(whole)}
    scores = [
        {"metric": m, "value": float(v), "ci": intervals[m], **counts} for m, v in values.items()
    ]
    return scores, [
        {"class": kind, **row, "ci": intervals[c]}
        for c, (kind, row) in enumerate(zip(found.kinds, _rows(pixels(whole)), strict=True))
    ]


def overlay(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, side: int = 480
) -> np.ndarray:
    """The image with outlines: yellow the truth, cyan the answer, white where they agree.

    Args:
      image: uint8 [h, w, 3].
      truth: uint8 [h, w]; what is to be ignored is dark.
      predicted: uint8 [h, w].
      side: pixels wanted; whole numbers scale up to it, or down to less than twice as much.

    Returns:
      uint8 [h', w', 3].
    """
    up, down = -(-side // max(image.shape[:2])), max(1, max(image.shape[:2]) // side)
    image, truth, predicted = (
        array[::down, ::down].repeat(up, 0).repeat(up, 1) for array in (image, truth, predicted)
    )
    picture, ignored = image.copy(), truth == IGNORE
    picture[ignored] = image[ignored] // 3
    of_truth, of_answer = _outline(np.where(ignored, 0, truth)), _outline(predicted)
    for where, colour in (
        (of_truth, (255, 220, 0)), (of_answer, (0, 230, 255)), (of_truth & of_answer, (255,) * 3),
    ):  # fmt: skip
        picture[where] = colour
    return picture


def _outline(labels: np.ndarray) -> np.ndarray:
    """Two pixels on each border between classes: bool [h, w]."""
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    wide = edge.copy()
    wide[:-1] |= edge[1:]
    wide[:, :-1] |= edge[:, 1:]
    return wide


def _score(classes: int, said: Iterator[tuple[np.ndarray, Batch]]) -> float:
    counts = sum(confusion(batch["mask"], answer.argmax(-1), classes) for answer, batch in said)
    return float(metrics.macro_f1(counts))


def _of_there(counts: np.ndarray) -> np.ndarray:
    """Macro-F1 over the classes that are there or were said; `counts` [..., k, k]."""
    there = counts.sum(-1) + counts.sum(-2) > 0
    return metrics.f1_per_class(counts).sum(-1) / np.maximum(there.sum(-1), 1)


def _rows(counts: np.ndarray) -> list[dict]:
    """Precision, recall, F1 (Dice) and support in pixels of each class; None: not defined."""
    hits, support, said = np.diagonal(counts), counts.sum(1), counts.sum(0)
    f1 = metrics.f1_per_class(counts)
    return [
        {
            "precision": float(hits[c] / said[c]) if said[c] else None,
            "recall": float(hits[c] / support[c]) if support[c] else None,
            "f1": float(f1[c]),
            "support": int(support[c]),
        }
        for c in range(len(counts))
    ]


@functools.partial(jax.jit, static_argnums=0)
def _init(unet: UNet, key: jax.Array) -> dict:
    return unet.init(key, jnp.zeros((1, 32, 32, 3), jnp.float32), train=False)
