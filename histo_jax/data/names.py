"""Names of slides and patients, as they are or as keyed hashes."""

import contextlib
import hashlib
import hmac
import os
import tempfile
from pathlib import Path

KEY = ".pseudonym_key"


class Names:
    """Calls a name what a record may call it: itself, or 16 hex digits that need the key.

    One key a data directory, made at the first use and readable by its owner alone: equal names get
    equal pseudonyms in all its sets, and nobody without the key can test a guess.
    """

    def __init__(self, data_dir: Path, pseudonymise: bool):
        self._key = _key(data_dir / KEY) if pseudonymise else None

    @property
    def hidden(self) -> bool:
        """Whether names are replaced."""
        return self._key is not None

    def __call__(self, name: str) -> str:
        if self._key is None or not name:
            return name
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:16]


def _key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another build was faster
            os.link(temporary, path)
        os.unlink(temporary)
    return path.read_bytes()
