"""What JAX compiled is kept between starts."""

import os
import platform
import re
import zlib
from pathlib import Path

import jax


def keep() -> None:
    """Lets JAX keep what it compiled, here if not where JAX_COMPILATION_CACHE_DIR says."""
    if jax.config.jax_compilation_cache_dir:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # By kind of CPU: what is compiled for one may not run on another that shares the home.
    known = re.search(r"^flags.*", _text("/proc/cpuinfo"), re.MULTILINE)
    kind = f"{platform.machine()}-{zlib.crc32((known[0] if known else '').encode()):08x}"
    folder = Path(home, "histo_jax", "jax", kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that can't be written: compiled anew at every start
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
