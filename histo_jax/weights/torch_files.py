"""torch's two file formats: a zip archive, and before 1.6 a row of pickles with raw numbers."""

import functools
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histo_jax.errors import HistoError
from histo_jax.weights.pickled import DTYPES, Storage, unpickle

ZIP = b"PK\x03\x04"
OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled
PICKLE_BYTES = 2**26  # of a state dict 2^16 at most; an optimizer's lists come on top

Reader = Callable[[Storage], bytes]


def read_zip(path: Path) -> tuple[Any, Reader]:
    """The unpickled object, and a function that reads a storage; zip's checksums are checked.

    Raises:
      HistoError: no archive of torch's, or a damaged one.
    """
    try:
        archive = zipfile.ZipFile(path)
        roots = [name for name in archive.namelist() if name.split("/", 1)[1:] == ["data.pkl"]]
    except Exception as error:  # a damaged archive raises anything
        raise damaged(path, error) from error
    if len(roots) != 1:
        what = "is a zip archive, but none of torch's"
        raise HistoError(path, "weights-format", what, "give .safetensors, .pth, .pt or .ckpt")
    folder = roots[0].removesuffix("data.pkl")

    def member(name: str, expected: int | None = None) -> bytes:
        try:
            size = archive.getinfo(folder + name).file_size
            if size > PICKLE_BYTES if expected is None else size != expected:
                raise ValueError(f"{name} has {size} bytes")
            return archive.read(folder + name)
        except Exception as error:
            raise damaged(path, error) from error

    order = member("byteorder") if folder + "byteorder" in archive.namelist() else b"little"
    if order != b"little":
        raise HistoError(path, "weights-format", "its numbers are not little-endian")
    root, _ = unpickle(io.BytesIO(member("data.pkl")), path)
    return root, functools.cache(lambda storage: member(f"data/{storage.key}", storage.nbytes))


def read_old(path: Path) -> tuple[Any, Reader]:
    """As `read_zip`, of a file that torch before 1.6 wrote; it has no checksums.

    Raises:
      HistoError: it is cut short or damaged.
    """
    blocks: dict[str, bytes] = {}
    with open(path, "rb") as file:
        _, _, (machine, _) = (unpickle(file, path) for _ in range(3))  # magic number, version
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise HistoError(path, "weights-format", "its numbers are not little-endian")
        (root, storages), (keys, _) = unpickle(file, path), unpickle(file, path)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
            raise damaged(path, ValueError("it lists other storages than it uses"))
        for storage in (storages[str(key)] for key in keys):
            count = int.from_bytes(file.read(8), "little")
            if storage.kind not in DTYPES or count != storage.count:
                raise damaged(path, ValueError(f"storage {storage.key} has {count} numbers"))
            blocks[storage.key] = file.read(storage.nbytes)

    def read(storage: Storage) -> bytes:
        block = blocks.get(storage.key, b"")
        if len(block) != storage.nbytes:
            raise damaged(path, EOFError(f"storage {storage.key} ends early"))
        return block

    return root, read


def damaged(path: Path, error: Exception) -> HistoError:
    """The one line for a file that is not what torch wrote."""
    said = str(error).split("\n")[0][:100]
    what = f"is cut short or damaged: {type(error).__name__}: {said}"
    return HistoError(path, "weights-damaged", what, "fetch it again")
