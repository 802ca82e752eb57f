"""Writes files as torch does, without torch: a stand-in for its pickled names and storages."""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

KINDS = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
}


class Global:
    """A name to be written where pickle would look an object up."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Storage:
    def __init__(self, key: str, array: np.ndarray):
        self.key, self.array = key, array


class Made:
    """What a pickle makes by calling `function(*args)`, with items and a state put into it."""

    def __init__(self, function: Any, *args: Any):
        self.function, self.args = function, args


class Pickler(pickle._Pickler):
    """Python's own pickler, so that names of absent modules can be written."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            kind = Global("torch", KINDS[value.array.dtype])
            return ("storage", kind, value.key, "cpu", value.array.size, *self.view)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Made):
            self.save(value.function)
            self.save(value.args)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any, view: tuple = ()) -> bytes:
    file = io.BytesIO()
    pickler = Pickler(file, protocol=2)
    pickler.view = view
    pickler.dump(value)
    return file.getvalue()


class Torch:
    """A file in the making: `tensor` for the values, then `write` or `write_old`."""

    def __init__(self):
        self.storages: list[Storage] = []

    def tensor(self, array: np.ndarray, size=None, stride=None, offset: int = 0) -> Made:
        """An array as torch pickles it; shape, strides and offset may be said to be others."""
        array = np.ascontiguousarray(array)
        storage = Storage(str(len(self.storages)), array.reshape(-1))
        self.storages.append(storage)
        size = array.shape if size is None else size
        steps = tuple(s // array.itemsize for s in array.strides) if stride is None else stride
        rebuild = Global("torch._utils", "_rebuild_tensor_v2")
        return Made(rebuild, storage, offset, size, steps, False, collections.OrderedDict())

    def parameter(self, array: np.ndarray) -> Made:
        rebuild = Global("torch._utils", "_rebuild_parameter")
        return Made(rebuild, self.tensor(array), True, collections.OrderedDict())

    def write(self, path: Path, root: Any) -> Path:
        """The zip archive that torch writes since 1.6."""
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled(root))
            archive.writestr("archive/byteorder", "little")
            for storage in self.storages:
                archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
            archive.writestr("archive/version", "3\n")
        return path

    def write_old(self, path: Path, root: Any) -> Path:
        """The row of pickles of torch before 1.6."""
        keys = [storage.key for storage in self.storages]
        sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
        parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(sizes)]
        parts += [pickled(root, view=(None,)), pickled(keys)]
        for storage in self.storages:
            parts += [storage.array.size.to_bytes(8, "little"), storage.array.tobytes()]
        path.write_bytes(b"".join(parts))
        return path


def write(path: Path, arrays: dict[str, np.ndarray], inside=None, old: bool = False) -> Path:
    """A state dict; `inside(state_dict)` wraps it as a training program would."""
    torch = Torch()
    state = collections.OrderedDict((k, torch.tensor(v)) for k, v in arrays.items())
    root = inside(state) if inside else state
    return torch.write_old(path, root) if old else torch.write(path, root)
