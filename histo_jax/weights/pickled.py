"""What torch pickles, read without torch and without running any of it.

Every name in the pickle becomes an inert stand-in; names a state dict has no need of are refused.
"""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from histo_jax.errors import HistoError

TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
STANDS_IN = re.compile(
    r"torch\._utils\._rebuild_(tensor_v2|parameter)"
    r"|torch\.(\w+Storage|Size|device|b?float\d+|u?int\d+|bool)"
    r"|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)|numpy\.(dtype|ndarray)"
    r"|_codecs\.encode|collections\.(defaultdict|Counter)|pathlib\.\w*Path"
    r"|(builtins|__builtin__)\.(set|dict|list|tuple|int|float|str|bool|bytearray)"
    r"|(pytorch_lightning|lightning|lightning_fabric|argparse|omegaconf)\..+"
)
DTYPES = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}


class Storage(NamedTuple):
    """Where a tensor's numbers are: torch's name of their type, the record's key, how many."""

    kind: str
    key: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * DTYPES[self.kind].itemsize


class Named:
    """Stands for an object of the class or function `name`; `args` are what it was called with.

    What a pickle puts into it is dropped.
    """

    name, args = "", ()

    def __init__(self, *args: Any, **_: Any):
        self.args = args

    def drop(self, *_: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = drop


class Ordered(dict):
    """An OrderedDict; attributes, such as torch's `_metadata`, are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class Unpickler(pickle.Unpickler):
    """Makes dicts, lists, numbers, text and stand-ins, nothing else."""

    def __init__(self, file: BinaryIO, path: Path):
        super().__init__(file)
        self.path, self.storages = path, {}

    def find_class(self, module: str, name: str) -> type:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return Ordered
        if not STANDS_IN.fullmatch(full):
            remedy = "save the state_dict() alone, or safetensors, with the program that made it"
            what = f"its pickle asks for {full[:100]}, which no state dict needs; nothing was run"
            raise HistoError(self.path, "weights-pickle", what, remedy)
        return type("Named", (Named,), {"name": full})

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", type() as kind, str(key), _, int(count), *view) if view in (
                [],
                [None],
            ):
                storage = Storage(getattr(kind, "name", ""), key, count)
                return self.storages.setdefault(key, storage)
        raise pickle.UnpicklingError(f"no storage: {str(pid)[:60]}")


def unpickle(file: BinaryIO, path: Path) -> tuple[Any, dict[str, Storage]]:
    """The next object in `file`, which belongs to `path`, and the storages it uses by key.

    Raises:
      HistoError: it asks for more than a state dict needs, or is no pickle.
    """
    unpickler = Unpickler(file, path)
    try:
        return unpickler.load(), unpickler.storages
    except HistoError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        what = f"its pickle can't be read: {type(error).__name__}: {str(error)[:100]}"
        raise HistoError(path, "weights-damaged", what, "fetch it again") from error


def tensor(value: Any, read: Callable[[Storage], bytes]) -> np.ndarray | None:
    """The array of an unpickled tensor or parameter; None for anything else.

    Raises:
      ValueError: it reaches beyond its storage, or is of a type we don't read.
    """
    if isinstance(value, Named) and value.name == PARAMETER and value.args:
        value = value.args[0]
    if not isinstance(value, Named) or value.name != TENSOR:
        return None
    match value.args:
        case (Storage() as storage, int(offset), tuple(size), tuple(stride), *_):
            pass
        case _:
            raise ValueError("is no tensor as torch writes it")
    numbers = (storage.count, offset, *size, *stride)
    if len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError(f"has the shape {str(size)[:60]} and strides {str(stride)[:60]}")
    if storage.kind not in DTYPES:
        raise ValueError(f"is a {storage.kind or 'tensor of no type'}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or last >= storage.count or 0 in size:
        raise ValueError(f"of shape {size} reaches beyond the {storage.count} numbers it has")
    dtype = DTYPES[storage.kind]
    array = np.frombuffer(read(storage), dtype.newbyteorder("<"))[offset:]
    steps = [step * dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(array, size, steps).astype(dtype)
