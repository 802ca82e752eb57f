"""Foreign files as named arrays, whatever their format."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from histo_jax.errors import HistoError
from histo_jax.weights import pickled, torch_files

CARD = "histo_jax"  # key of our card in the metadata of safetensors
INSIDE = ("state_dict", "model")  # where a training program's file keeps its weights
KNOWN = "give .safetensors, .pth, .pt or .ckpt"
DTYPES = {
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
      tensors: by the file's names; a text, where the value is not an array we read, says why.
      card: ours as JSON, None in other people's files.
    """

    tensors: dict[str, np.ndarray | str]
    card: str | None


def read(path: Path) -> Contents:
    """The arrays of a `.safetensors` file or of torch's, told apart by their first bytes.

    Raises:
      HistoError: no such file, none of these formats, damaged, or a pickle that asks for more.
    """
    head = _head(path)
    if head.startswith(torch_files.ZIP):
        return _state_dict(path, *torch_files.read_zip(path))
    if head.startswith(torch_files.OLD):
        return _state_dict(path, *torch_files.read_old(path))
    if head[8:9] == b"{":
        return _safetensors(path)
    raise HistoError(path, "weights-format", "is neither safetensors nor a file of torch", KNOWN)


def _head(path: Path) -> bytes:
    """The first bytes of a file that may hold weights."""
    if path.is_dir():
        raise HistoError(path, "weights-format", "is a folder without checkpoints", KNOWN)
    try:
        with open(path, "rb") as file:
            head = file.read(128)
    except FileNotFoundError as error:
        raise HistoError(path, "missing", "no such file") from error
    except OSError as error:
        raise HistoError(path, "weights-damaged", f"can't be read: {error.strerror}") from error
    wrong = None
    if not head:
        wrong = "is empty"
    elif head.lstrip().startswith(b"<"):
        wrong = "is a web page"
    elif head.startswith(b"version https://git-lfs"):
        wrong = "is a pointer of Git LFS, not the file itself"
    if wrong:
        raise HistoError(path, "weights-format", wrong, "the download failed: fetch it again")
    return head


def _safetensors(path: Path) -> Contents:
    try:
        data = path.read_bytes()
        found = safetensors.deserialize(data)  # checks every offset
        length = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except Exception as error:  # safetensors has an error of its own, which is no OSError
        raise torch_files.damaged(path, error) from error
    tensors = {}
    for name, entry in found:
        dtype = DTYPES.get(entry["dtype"])
        if dtype is None:
            tensors[name] = f"is {entry['dtype']}"
        else:
            tensors[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return Contents(tensors, about.get(CARD))


def _state_dict(path: Path, root: Any, reader: torch_files.Reader) -> Contents:
    """The arrays of a state dict, or of the one inside what a training program saved."""
    card = root.get("card") if isinstance(root, dict) else None
    for name in INSIDE:
        if isinstance(root, dict) and isinstance(root.get(name), dict):
            root = root[name]
            break
    if not isinstance(root, dict):
        what = f"holds no state dict but a {getattr(root, 'name', type(root).__name__)}"
        raise HistoError(path, "weights-format", what, "save model.state_dict()")
    tensors: dict[str, np.ndarray | str] = {}
    for name, value in root.items():
        try:
            array = pickled.tensor(value, reader)
            tensors[str(name)] = "is no tensor" if array is None else array
        except ValueError as error:
            tensors[str(name)] = str(error)
    return Contents(tensors, card if isinstance(card, str) else None)
