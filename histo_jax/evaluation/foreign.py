"""What may stand behind `--checkpoint`: a run, a weights file, features made elsewhere."""

import dataclasses
from pathlib import Path

import numpy as np

from histo_jax.errors import HistoError
from histo_jax.files import file_digest
from histo_jax.models.resnet import ENCODERS
from histo_jax.training.checkpoint import LoadedEncoder
from histo_jax.training.initial import open_encoder

HDF5 = (".h5", ".hdf5")


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """Features of another program.

    Attributes:
      path: the file.
      keys: text [n].
      features: float32 [n, width].
      card: `source`, the file's name and sha256.
    """

    path: Path
    keys: np.ndarray
    features: np.ndarray
    card: dict

    def of(self, keys: np.ndarray) -> np.ndarray:
        """The features of these images, in this order.

        Raises:
          HistoError: some of them have none.
        """
        row = {key: i for i, key in enumerate(self.keys.tolist())}
        missing = [key for key in keys.tolist() if key not in row]
        if missing:
            what = f"lacks {len(missing)} of {len(keys)} labelled images, e.g. {missing[0]}"
            raise HistoError(self.path, "features-missing", what, "make them for the whole set")
        return self.features[[row[key] for key in keys.tolist()]]


def open_sources(texts: list[str]) -> tuple[dict[str, LoadedEncoder | Given], str | None]:
    """What the `--checkpoint`s name, `[NAME=]SOURCE` each, in their order.

    The name is in the tables; without one it is `ssl` for the first network, `imagenet` for
    `imagenet:FILE` (the next ones add their architecture), else the file's or folder's own.

    Returns:
      The sources by name, and the architecture of `random:ARCHITECTURE`, else None.

    Raises:
      HistoError: a source that can't be read, two of one name.
    """
    found: dict[str, LoadedEncoder | Given] = {}
    untrained = None
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or "/" in name:
            name, source = "", text
        kind, _, rest = source.partition(":")
        if kind == "random":
            untrained = _architecture(rest or "resnet18")
            continue
        opened = _open(source)
        name = name or _name(source, opened, found)
        if name in found:
            what = f"two sources are called {name!r}"
            raise HistoError("--checkpoint", "config", what, "give NAME=SOURCE")
        found[name] = opened
    return found, untrained


def workdir(source: LoadedEncoder | Given) -> Path | None:
    """The work directory of a step, `<workdir>/checkpoints/<step>`; None for other sources."""
    folder = Path(source.path).parent
    return folder.parent if folder.name == "checkpoints" else None


def _open(source: str) -> LoadedEncoder | Given:
    path = Path(source)
    return read_features(path) if path.suffix.lower() in HDF5 else open_encoder(source)


def _name(source: str, opened: LoadedEncoder | Given, found: dict) -> str:
    if source.startswith("imagenet:"):
        return f"imagenet:{opened.card['encoder']}" if "imagenet" in found else "imagenet"
    return "ssl" if not found and not isinstance(opened, Given) else Path(source).stem


def _architecture(name: str) -> str:
    if name not in ENCODERS:
        known = "known: " + ", ".join(ENCODERS)
        raise HistoError("--checkpoint", "config", f"is random:{name}", known)
    return name


def read_features(path: Path) -> Given:
    """An HDF5 file with `features` [n, width] and `keys` [n], those of a prepared set.

    Raises:
      HistoError: not readable, other names or shapes, a key twice, a number that is not finite.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            x, keys = np.asarray(file["features"][()]), np.asarray(file["keys"].asstr()[()])
    except (OSError, KeyError, TypeError) as error:
        what = f"is no HDF5 file of features and keys: {str(error).splitlines()[0][:120]}"
        remedy = "two data sets, features [n, width] and keys [n] of the prepared set"
        raise HistoError(path, "features", what, remedy) from error
    if x.ndim != 2 or x.dtype.kind != "f" or keys.shape != x.shape[:1]:
        what = f"has features {x.dtype}{list(x.shape)} and keys {list(keys.shape)}"
        raise HistoError(path, "features", what, "wanted: floats [n, width], and n keys")
    if len(np.unique(keys)) < len(keys):
        raise HistoError(path, "features", "names a key twice", "one row an image")
    if not np.isfinite(x).all():
        raise HistoError(path, "features", "holds numbers that are not finite", "make it again")
    card = {"source": {"file": path.name, "sha256": file_digest(path)}}
    return Given(path, keys.astype(np.str_), x.astype(np.float32), card)
