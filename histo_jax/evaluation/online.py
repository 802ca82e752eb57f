"""The probe of a running pretraining: nearest neighbours on a labelled set, every few steps.

Labels are looked at here and go nowhere else; the test part is never read.
"""

from collections.abc import Callable

import numpy as np

from histo_jax.config import Config, EvalConfig
from histo_jax.data.images import read_images
from histo_jax.data.prepared import Prepared, default_data_dir, open_prepared
from histo_jax.evaluation import features, knn, linear, metrics
from histo_jax.evaluation.labelled import Labelled, labelled, plans
from histo_jax.models import build_encoder
from histo_jax.training.card import MEAN, STD

TRAIN, VALIDATION = 1408, 640  # most images looked at of each part: 2,048 in all
NEIGHBOURS = 20
BATCH = 128  # images a forward pass

Probe = Callable[[dict, dict], dict[str, float]]


def make_probe(config: Config) -> Probe | None:
    """Opens `config.probe.dataset` and reads its images, uint8 at `config.data.image_size`, once.

    The split is the one `eval.py` draws from the same seed: the set's own, else grouped where ids
    exist, else the paper's. Of its training and validation parts a seeded sample is taken.

    Returns:
      `probe(params, batch_stats)`, the encoder's: `{"knn": …}`, macro-F1 in 0..1 of the validation
      part's images from the 20 nearest of the training part (T = 0.07, features standardised as in
      the report), or for targets `{"knn_l1": …}`, mean absolute error in percent points. None
      where no set is named.

    Raises:
      HistoError: no such set, a damaged one, one without labels, or too small to be split.
    """
    if config.probe.dataset is None:
        return None
    prepared = open_prepared(default_data_dir(config.data.dir), config.probe.dataset)
    found = labelled(prepared)
    train, validation = _sample(config.seed, prepared, found)
    rows = found.rows[np.concatenate([train, validation])]
    size = config.data.image_size
    images = np.concatenate(list(read_images(prepared, rows, size, BATCH)))
    encoder = build_encoder(config.model.encoder, config.model.width)
    network = features.Network(encoder, MEAN, STD)

    def probe(params: dict, batch_stats: dict) -> dict[str, float]:
        batches = (images[at : at + BATCH] for at in range(0, len(images), BATCH))
        x = features.extract(network, "pooled", params, batch_stats, batches, BATCH)
        even, queries = linear.standardise(x[: len(train)], x[len(train) :])
        similar, at = knn.neighbours(even, queries, NEIGHBOURS)
        return _score(similar, found.truth[train][at], found.truth[validation], found.classes)

    return probe


def _sample(seed: int, prepared: Prepared, found: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 of training and validation images, drawn by the seed."""
    split_by = ("grouped",) if found.has_ids else ("paper",)
    (plan,) = plans(EvalConfig(seed=seed, split_by=split_by, repeats=1), prepared, found)
    draw = np.random.default_rng(seed).permutation
    train, validation = plan.rows("train"), plan.rows("validation")
    return np.sort(draw(train)[:TRAIN]), np.sort(draw(validation)[:VALIDATION])


def _score(
    similar: np.ndarray, said: np.ndarray, truth: np.ndarray, classes: tuple[str, ...] | None
) -> dict[str, float]:
    if classes is None:
        return {"knn_l1": float(np.abs(knn.average(similar, said) - truth).mean())}
    predicted = knn.vote(similar, said, len(classes)).argmax(1)
    counts = metrics.confusion(truth, predicted, len(classes))
    there = counts.sum(1) > 0  # a sample may miss a small class
    return {"knn": float(metrics.f1_per_class(counts)[there].mean())}
