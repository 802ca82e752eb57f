"""Checkpoints that explain themselves and prove themselves.

A step holds the state as named arrays and a card; the card carries the sha256 of every array and
its own, so a flipped bit is found at restore (orbax alone restores it without a word).
"""

import dataclasses
import hashlib
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from histo_jax.errors import HistoError
from histo_jax.weights.names import nested

SCHEMA = 2  # 1: the card without a digest of its own
KEPT = 3  # newest steps on disk


def named(tree: Any) -> dict[str, np.ndarray]:
    """A tree as `{"params.encoder.conv1.kernel": array, …}`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def digests(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """sha256 of each array's dtype, shape and bytes."""
    return {
        name: hashlib.sha256(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        ).hexdigest()
        for name, array in arrays.items()
    }


def card_digest(card: dict) -> str:
    """sha256 of a card, its own left out."""
    rest = {name: value for name, value in card.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def steps(folder: Path) -> list[int]:
    """Steps with a folder, newest first; whether they are whole is for `read` to say."""
    if not folder.is_dir():
        return []
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True)


def locate(path: str | Path) -> tuple[Path, list[int]]:
    """Folder and steps, newest first, of a work directory, its `checkpoints/`, or one step in it.

    Raises:
      HistoError: no such folder, or no checkpoint in it.
    """
    path, remedy = Path(path), "give a work directory of train.py, or a step in its checkpoints/"
    if not path.is_dir():
        raise HistoError(path, "missing", "no such folder", remedy)
    if path.name.isdigit() and (path.parent.name == "checkpoints" or (path / "card").is_dir()):
        return path.parent, [int(path.name)]
    folder = path if path.name == "checkpoints" else path / "checkpoints"
    found = steps(folder)
    if not found:
        raise HistoError(path, "no-checkpoint", "holds no checkpoint", remedy)
    return folder, found


def read(folder: Path, step: int) -> tuple[dict[str, np.ndarray], dict]:
    """The named arrays and the card of one step, verified.

    Raises:
      HistoError: the step is incomplete, damaged, or of another schema.
    """
    ocp = _orbax()
    path = Path(folder).absolute() / str(step)
    card = _read_card(path)
    try:
        handler = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        template = {
            name: np.zeros(entry["shape"], entry["dtype"]) for name, entry in card["arrays"].items()
        }
        arrays = handler.restore(path / "state", args=ocp.args.StandardRestore(template))
    except Exception as error:  # orbax raises many kinds for a damaged step
        raise _unreadable(path, error) from error
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    found = digests(arrays)
    for name, entry in card["arrays"].items():
        if found.get(name) != entry["sha256"]:
            what = f"{name} is not what was saved (sha256 differs)"
            raise HistoError(path, "checkpoint-damaged", what)
    return arrays, card


def _read_card(path: Path) -> dict:
    ocp = _orbax()
    try:
        card = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(path / "card")
        schema, said = card["schema"], card.get("sha256")
    except Exception as error:  # the file may hold anything
        raise _unreadable(path, error) from error
    if said != card_digest(card) and (said is not None or schema != 1):
        what = "its card is not what was saved (sha256 differs)"
        raise HistoError(path, "checkpoint-damaged", what)
    if schema not in (1, SCHEMA):
        what = f"checkpoint of schema {schema}, this version reads {SCHEMA}"
        raise HistoError(path, "checkpoint-schema", what)
    return card


def _orbax() -> Any:
    import orbax.checkpoint as ocp

    # Orbax tells every call, and of a fault the traceback; we raise one line.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ocp


def _unreadable(path: Path, error: Exception) -> HistoError:
    what = f"checkpoint can't be read: {_first_line(error)}"
    return HistoError(path, "checkpoint-damaged", what)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + str(error).split("\n")[0][:200]


class Checkpoints:
    """The steps of one work directory."""

    def __init__(self, workdir: Path):
        ocp = _orbax()
        self.folder = Path(workdir).absolute() / "checkpoints"
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self._ocp, self._options = ocp, options
        self.latest: int | None = None
        self.bad: list[int] = []

    def save(self, state: Any, step: int, card: dict) -> None:
        """Writes host arrays and card as one step; on return it is on disk.

        Raises:
          HistoError: the state is not finite, or the disk does not take it.
        """
        arrays = named(state)
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                what = f"{name} is not finite at step {step}, which is not saved"
                remedy = f"last good checkpoint: {self.latest}; lower config.optimizer.base_lr"
                raise HistoError(self.folder, "nan", what, remedy)
        needed, free = sum(a.nbytes for a in arrays.values()), shutil.disk_usage(self.folder).free
        remedy = "the steps before are whole; make room and run the same command again"
        if (
            free < needed
        ):  # said before: orbax's threads print tracebacks past us when a write fails
            what = f"step {step} needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} are free"
            raise HistoError(self.folder, "no-space", what, remedy)
        sha256 = digests(arrays)
        entries = {
            name: {"shape": list(a.shape), "dtype": str(a.dtype), "sha256": sha256[name]}
            for name, a in arrays.items()
        }
        ocp = self._ocp
        about = {"schema": SCHEMA, **card, "step": step, "arrays": entries}
        about["sha256"] = card_digest(about)
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), card=ocp.args.JsonSave(about)
        )
        try:
            with ocp.CheckpointManager(self.folder, options=self._options) as manager:
                manager.save(step, args=parts)
        except Exception as error:  # a full disk is a ValueError here, and more
            full = "No space left" in str(error)
            what = f"can't be saved: {'the disk is full' if full else _first_line(error)}"
            raise HistoError(self.folder / str(step), "write-failed", what, remedy) from error
        self.latest = step

    def restore(self, template: Any) -> Any | None:
        """The newest good step in the shape of `template` (arrays), or None where there is none.

        Bad newer steps get one warning each and are remembered for `set_aside`.

        Raises:
          HistoError: steps exist but none is good, or the newest good one is another network's.
        """
        found = steps(self.folder)
        for step in found:
            try:
                arrays, _ = read(self.folder, step)
            except HistoError as error:
                if error.reason != "checkpoint-damaged":
                    raise
                print(f"warning: {error}; falling back to the step before", file=sys.stderr)
                self.bad.append(step)
                continue
            state = fill(template, arrays, self.folder / str(step))
            self.latest = step
            return state
        if found:
            raise HistoError(
                self.folder, "checkpoint-damaged", f"none of {len(found)} checkpoints is whole",
                "train into a new work directory",
            )  # fmt: skip
        return None

    def set_aside(self) -> None:
        """Moves the bad steps `restore` met to `damaged/`, once a good one was found.

        Where they are, orbax would silently skip saving steps older than them.
        """
        for step in self.bad:
            aside = self.folder.parent / "damaged" / str(step)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), aside)
        self.bad = []


def fill(template: Any, arrays: dict[str, np.ndarray], path: Path) -> Any:
    """Puts named arrays into the shape of a tree; every leaf filled, nothing cast, nothing left.

    Raises:
      HistoError: the first five leaves that differ in name, shape or dtype.
    """
    wanted = named(template)
    wrong = [f"{n}: only in the checkpoint" for n in arrays if n not in wanted]
    for name, leaf in wanted.items():
        have = arrays.get(name)
        if have is None:
            wrong.append(f"{name}: not in the checkpoint")
        elif (have.shape, have.dtype) != (leaf.shape, leaf.dtype):
            wrong.append(f"{name}: {have.dtype}{have.shape}, wanted {leaf.dtype}{leaf.shape}")
    if wrong:
        what = f"another network's checkpoint, {len(wrong)} leaves differ: " + "; ".join(wrong[:5])
        raise HistoError(path, "checkpoint-foreign", what, "use the config it was trained with")
    return jax.tree_util.tree_map_with_path(
        lambda p, _: arrays[jax.tree_util.keystr(p, simple=True, separator=".")], template
    )


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """A pretrained encoder and what it needs to be used rightly.

    Attributes:
      params, batch_stats: nested dicts of float32 arrays, as the encoder's `apply` takes them.
      card: encoder, width, image_size, mean, std, mpp, datasets, config, versions, step.
      path: the step's folder.
    """

    params: dict
    batch_stats: dict
    card: dict
    path: Path


def load_encoder(path: str | Path) -> LoadedEncoder:
    """The encoder of a work directory (its newest good step) or of one step's folder.

    Raises:
      HistoError: no such folder, no checkpoint in it, or none that is whole.
    """
    folder, candidates = locate(path)
    for step in candidates:
        try:
            arrays, card = read(folder, step)
        except HistoError as error:
            problem = error
            print(f"warning: {error}", file=sys.stderr)
            continue
        params = _below(arrays, "params.encoder.")
        stats = _below(arrays, "model_state.batch_stats.encoder.")
        if not params:
            raise HistoError(folder / str(step), "checkpoint-foreign", "holds no params.encoder")
        return LoadedEncoder(params, stats, card, folder / str(step))
    raise problem


def _below(arrays: dict[str, np.ndarray], prefix: str) -> dict:
    """The named arrays under a prefix, as the tree they were."""
    n = len(prefix)
    return nested({name[n:]: array for name, array in arrays.items() if name.startswith(prefix)})
