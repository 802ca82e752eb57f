"""What needs TensorFlow, which is kept away from the accelerators: tf.data, its decoder."""

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from histo_jax.data.cores import cores
from histo_jax.errors import HistoError

_OPERATION = re.compile(r"\{\{.*?\}\} ?| \[Op:.*\].*")
_NOISE = re.compile(rb"[IWE]0000 |WARNING: All log messages before absl")


@functools.cache
def load_tensorflow() -> Any:
    """Imports TensorFlow, which takes seconds, and keeps it away from the accelerators.

    Raises:
      HistoError: it can't be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _without_noise():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")  # before any operation: it takes JAX's memory
            tf.constant(0)  # looks for devices now, while nobody has to read of it
    except ImportError as error:
        remedy = "install it, or copy a raw cache here and set data.cache=raw"
        what = f"can't be imported, and decoding needs it: {error}"
        raise HistoError("tensorflow", "no-tensorflow", what, remedy) from error
    return tf


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Keeps back what TensorFlow's C++ logs at import, whatever TF_CPP_MIN_LOG_LEVEL says."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if not _NOISE.match(line):
                    os.write(2, line)


def plain(error: Any) -> str:
    """The first line of TensorFlow's message, without the names of its operations."""
    return _OPERATION.sub("", error.message).strip().partition("\n")[0]


def tensorflow_image(encoded: bytes) -> np.ndarray:
    """`decode_image` by TensorFlow alone."""
    tf = load_tensorflow()
    try:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        raise ValueError(plain(error)) from error


def parallel_map(dataset: Any, function: Callable) -> Any:
    """`dataset.map` on every core, in order, the function taken as it is (no autograph)."""
    function = load_tensorflow().autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=cores(), deterministic=True)


def numpy_batches(dataset: Any) -> Iterator[Any]:
    """Runs a dataset on its own threads, nothing tuned at run time; yields numpy.

    Raises:
      HistoError: TensorFlow fails.
    """
    tf = load_tensorflow()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.threading.private_threadpool_size = cores()
    options.threading.max_intra_op_parallelism = 1
    iterator = dataset.prefetch(1).with_options(options).as_numpy_iterator()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            what = f"failed: {plain(error)}"
            raise HistoError("tf.data pipeline", "pipeline", what, "rerun with --debug") from error
        yield batch
