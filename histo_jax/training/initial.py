"""Where a run's encoder starts: at random, or from weights that exist (`config.model.init`)."""

import dataclasses
from pathlib import Path
from typing import Any

from histo_jax import weights
from histo_jax.config import Model
from histo_jax.errors import HistoError
from histo_jax.training import checkpoint, workdir
from histo_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Initial:
    """Weights to start from.

    Attributes:
      about: for the card: `file`, a name, and `sha256` of the arrays.
      params, batch_stats: of the encoder; None in a run that goes on from its own checkpoint.
    """

    about: dict
    params: dict | None = None
    batch_stats: dict | None = None


def find(model: Model, directory: Path) -> Initial | None:
    """What the run in `directory` starts or has started from; None for a random start.

    With a checkpoint there, what its card says: the file may be gone or changed.

    Raises:
      HistoError: the weights can't be read, or are another architecture's.
    """
    if checkpoint.steps(directory / "checkpoints"):
        before = workdir.claimed(directory)
        about = before.get("init") if before else None
        return Initial(about) if about else None
    if model.init is None:
        return None
    read = open_encoder(model.init)
    have = read.card["encoder"], read.card["width"]
    if have != (model.encoder, model.width):
        what = f"{model.init} holds a {have[0]} of width {have[1]}, "
        what += f"config.model is a {model.encoder} of width {model.width}"
        remedy = f"set config.model.encoder={have[0]} and config.model.width={have[1]}"
        raise HistoError("config.model.init", "weights-foreign", what, remedy)
    sha256 = weights.digest(read.params, read.batch_stats)
    parts = read.path.absolute().parts
    name = parts[-1] if read.path.is_file() else "/".join(parts[-3:])  # run/checkpoints/step
    return Initial({"file": name, "sha256": sha256}, read.params, read.batch_stats)


def open_encoder(source: str) -> checkpoint.LoadedEncoder:
    """A run's folder, a file of weights, or `imagenet:FILE`; `card["source"]` is of a file.

    Raises:
      HistoError: it can't be read.
    """
    imagenet, path = source.startswith("imagenet:"), Path(source.removeprefix("imagenet:"))
    # A name without a suffix is taken for a folder: its error is then about runs.
    if not imagenet and (path.is_dir() or not (path.is_file() or path.suffix)):
        return checkpoint.load_encoder(path)
    read = weights.load(path, imagenet=imagenet)
    card = read.card | {"source": read.card["source"] | {"imagenet": imagenet}}
    return checkpoint.LoadedEncoder(read.params, read.batch_stats, card, read.path)


def put(fresh: TrainState, initial: Initial | None) -> TrainState:
    """The fresh state with these weights for an encoder; every array is checked to fit."""
    if initial is None or initial.params is None:
        return fresh

    def filled(tree: Any, part: dict) -> Any:
        arrays = checkpoint.named(part)
        return tree | {"encoder": checkpoint.fill(tree["encoder"], arrays, initial.about["file"])}

    stats = filled(fresh.model_state["batch_stats"], initial.batch_stats)
    return dataclasses.replace(
        fresh,
        params=filled(fresh.params, initial.params),
        model_state=fresh.model_state | {"batch_stats": stats},
    )
