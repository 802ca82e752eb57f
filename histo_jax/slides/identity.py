"""Who a slide is: a digest of its bytes, whatever it is called."""

import hashlib
import os
from pathlib import Path

_MIB = 2**20
# Of DICOM, explicit VR, little endian.
_SERIES = b"\x20\x00\x0e\x00UI"  # SeriesInstanceUID
_CONTAINER = b"\x40\x00\x12\x05LO"  # ContainerIdentifier
_NUMBER = b"\x20\x00\x13\x00IS"  # InstanceNumber


def slide_digest(path: str | os.PathLike) -> tuple[str, int]:
    """sha256 (hex) over size, first MiB and last MiB, and the size in bytes.

    A DICOM slide is its series: all instances of it that lie in the same folder count, each by
    its own digest, so that any one of them names the slide. Other slides of several files
    (MRXS, VMS) go by their main file.
    """
    members = dicom_series(path)
    if not members:
        return _file_digest(path)
    digests = sorted(_file_digest(member) for member in members)
    joined = "\n".join(digest for digest, _ in digests).encode()
    return hashlib.sha256(joined).hexdigest(), sum(size for _, size in digests)


def slide_id(path: str | os.PathLike) -> str:
    """First 16 hex digits of `slide_digest`: equal for copies, links and other names."""
    return slide_digest(path)[0][:16]


def dicom_series(path: str | os.PathLike) -> list[Path]:
    """The files in `path`'s folder that belong to its DICOM series; empty for other formats."""
    series = _series_uid(path)
    if series is None:
        return []
    folder = Path(path).parent
    return sorted(p for p in folder.iterdir() if p.is_file() and _series_uid(p) == series)


def _file_digest(path: str | os.PathLike) -> tuple[str, int]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        digest.update(file.read(_MIB))
        file.seek(max(0, size - _MIB))
        digest.update(file.read(_MIB))
    return digest.hexdigest(), size


def instance_numbers(path: str | os.PathLike) -> list[int]:
    """InstanceNumber of every file of `path`'s DICOM series that has one, sorted."""
    texts = [_element(member, _NUMBER) or b"" for member in dicom_series(path)]
    return sorted(int(text) for text in texts if text.strip().isdigit())


def container(path: str | os.PathLike) -> str:
    """What the archive calls a DICOM slide, its barcode mostly; empty for what is none."""
    return (_element(path, _CONTAINER) or b"").decode("ascii", "replace").strip()


def _series_uid(path: str | os.PathLike) -> bytes | None:
    return _element(path, _SERIES)


def _element(path: str | os.PathLike, tag: bytes) -> bytes | None:
    """The value of the first such element of a DICOM file's first MiB; None for other formats."""
    with open(path, "rb") as file:
        head = file.read(132)
        if head[128:] != b"DICM":
            return None
        head = file.read(_MIB)
    at = head.find(tag)
    if at < 0:
        return None
    start = at + len(tag) + 2
    length = int.from_bytes(head[start - 2 : start], "little")
    return head[start : start + length].rstrip(b"\0 ")
