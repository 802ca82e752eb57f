"""Fine-tuning: every layer of an encoder is trained for the classes or the target."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from histo_jax.evaluation import metrics, protocols, supervised
from histo_jax.evaluation.examples import Batch, Source
from histo_jax.evaluation.features import Network, Reader
from histo_jax.evaluation.labelled import Labelled, Plan
from histo_jax.training.parallel import AXIS, Mapper


@dataclasses.dataclass(frozen=True)
class Labels:
    """A linear layer on the pooled features, see `supervised.Task`.

    Attributes:
      network: on devices.
      classes: how many; None for targets, learned as target/100 by squared error.
      freeze_to: see `supervised.Task`.
    """

    network: Network
    classes: int | None
    freeze_to: str | None = None

    def start(self, params: dict, seed: int, mean: float) -> dict:
        """The encoder's parameters and a new layer's: torch's law; for targets the mean of theirs.

        The bias of a target's layer starts at the mean target/100, weights as torch's.
        """
        width, outputs = self.network.encoder.features, self.classes or 1
        rng, bound = np.random.default_rng(seed), width**-0.5
        dtype = self.network.encoder.param_dtype
        weight, bias = (rng.uniform(-bound, bound, n) for n in ((width, outputs), outputs))
        if self.classes is None:
            bias = np.full(1, mean / 100)
        return {
            "encoder": params,
            "head": {"weight": weight.astype(dtype), "bias": bias.astype(dtype)},
        }

    def forward(
        self, params: dict, batch_stats: dict, images: jax.Array, train: bool
    ) -> tuple[jax.Array, dict]:
        variables = {"params": params["encoder"], "batch_stats": batch_stats["encoder"]}
        levels, new = self.network.encoder.apply(
            variables, images, train, self.freeze_to, mutable=["batch_stats"]
        )
        weight, bias = params["head"]["weight"], params["head"]["bias"]
        product = jnp.matmul(levels["pooled"], weight, precision=jax.lax.Precision.HIGHEST)
        return product + bias[None], {"encoder": new.get("batch_stats", {})}

    def loss(self, outputs: jax.Array, batch: Batch, given: dict) -> jax.Array:
        truth = batch["truth"]
        if self.classes is None:
            each = jnp.square(outputs[:, 0] - truth.astype(outputs.dtype) / 100)
        else:
            each = optax.softmax_cross_entropy_with_integer_labels(outputs, truth)
        return jax.lax.pmean(jnp.mean(each), AXIS)

    def answer(self, outputs: jax.Array) -> jax.Array:
        """Shares of the classes, or targets in percent."""
        return 100 * outputs if self.classes is None else jax.nn.softmax(outputs)


def run(
    network: Network, params: dict, batch_stats: dict, read: Reader, plan: Plan, found: Labelled,
    *, decay: float, seed: int, freeze_to: str | None = None, epochs: int = 100,
    batch_size: int = 128, rate: float = 1e-4, mapper: Mapper | None = None,
    tell: Callable[[float], None] | None = None,
) -> protocols.Outcome:  # fmt: skip
    """Trains the network on the training part; the test part is predicted once, at the end.

    Cross-entropy of classes; of targets squared error, as in the frozen protocols. The best epoch
    is chosen on validation by macro-F1, or mean absolute error. See `supervised.fit`.

    Args:
      network: architecture and normalisation.
      params, batch_stats: of the encoder, to start from.
      read: gives images by position in `found`.
      plan: the split.
      found: the labels.
      decay: L2 weight.
      seed: of the new layer, the order, turns and flips.
      freeze_to: the part of the encoder (stem, layer1 … layer4) up to which nothing changes.
      epochs, batch_size, rate: see `supervised.Options`.
      mapper: of the step over devices; None = pmap over all.
      tell: called with the seconds it will take.

    Raises:
      HistoError: fewer training images than devices; a loss that is not finite.
    """
    classes = len(found.classes) if found.classes else None
    task = Labels(supervised.on_devices(network), classes, freeze_to)
    parts = {part: plan.rows(part) for part in ("train", "validation", "test")}
    sources = {part: _source(read, found.truth, at, classes) for part, at in parts.items()}
    mean = float(found.truth[parts["train"]].mean())
    options = supervised.Options(decay, seed, epochs, batch_size, rate)
    fit = supervised.fit(
        task, task.start(params, seed, mean), {"encoder": batch_stats},
        sources["train"], sources["validation"], _score(classes), options,
        mapper=mapper, tell=tell,
    )  # fmt: skip
    said = supervised.answers(
        task, fit.params, fit.batch_stats, sources["test"], fit.batch_size, mapper
    )
    shares = np.concatenate([answer for answer, _ in said])
    return protocols.Outcome("finetune", shares, fit.choice)


def _score(classes: int | None) -> Callable[[Iterator[tuple[np.ndarray, Batch]]], float]:
    """Macro-F1 of the answers, or minus their mean absolute error."""

    def score(said: Iterator[tuple[np.ndarray, Batch]]) -> float:
        pairs = [(answer, batch["truth"]) for answer, batch in said]
        answer, truth = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        if classes is None:
            return -float(np.abs(answer[:, 0] - truth).mean(dtype=np.float64))
        return float(metrics.macro_f1(metrics.confusion(truth, answer.argmax(1), classes)))

    return score


def _source(read: Reader, truth: np.ndarray, part: np.ndarray, classes: int | None) -> Source:
    truth = truth.astype(np.float32 if classes is None else np.int32)

    def batches(at: np.ndarray, epoch: int) -> Iterator[Batch]:
        at, done = part[at], 0
        for images in read(at):
            yield {"image": images, "truth": truth[at[done : done + len(images)]]}
            done += len(images)

    return Source(len(part), batches)
