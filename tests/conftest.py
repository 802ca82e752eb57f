"""The test policy: 8 fake devices, strict dtypes, no silent broadcasting."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="histo-jax-tests-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout, where `train.py` and the builders are."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real tissue, or a skip that says why."""
    folder = os.environ.get("HISTO_REAL_DATA")
    if not folder:
        pytest.skip("HISTO_REAL_DATA is not set: no real tissue on this machine")
    return Path(folder)


@pytest.fixture(scope="module")
def quick_compile():
    """XLA without its optimisations: compiles three times as fast, runs slower, means the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
