"""Files that are whole or absent: atomic writes, digest, lock, journal; and whose code this is."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from histo_jax.errors import HistoError


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under `path` only when complete and on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    random = os.urandom(4).hex()  # processes of two machines may share a pid
    temporary = path.with_name(f".{path.name}.tmp.{random}")
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise HistoError(path, "write-failed", f"cannot write: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes indented JSON atomically."""
    with atomic(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text in UTF-8 atomically."""
    with atomic(path) as file:
        file.write(text.encode())


def write_csv(path: str | os.PathLike, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Writes a table in UTF-8 atomically, row by row as they come."""
    with atomic(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        out = csv.writer(text, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)
        text.detach()


def read_json(path: str | os.PathLike, remedy: str = "") -> Any:
    """Reads JSON; raises `HistoError` with `remedy` where the file is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise HistoError(path, "missing", "no such file", remedy) from error
    except (ValueError, OSError) as error:
        raise HistoError(path, "damaged", f"not readable as JSON: {error}", remedy) from error


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is what a server answered: a web page, or an error in XML."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<?xml"))


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def append_line(path: str | os.PathLike, value: Any) -> None:
    """Appends one JSON line and waits until it is on disk."""
    with open(path, "ab") as file:
        file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: str | os.PathLike) -> list[Any]:
    """Reads JSON lines; a last line torn by a kill is left out. Missing file: no lines."""
    lines = []
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        return lines
    for line in text.split(b"\n"):
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


@contextlib.contextmanager
def open_csv(path: str | os.PathLike, **options: Any) -> Iterator[csv.DictReader]:
    """The rows of a CSV file in UTF-8, with or without its mark; `options` are DictReader's.

    Raises:
      HistoError: it is not readable as such, also where a row inside the block is not.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield csv.DictReader(file, **options)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = f"not readable as CSV in UTF-8: {error}"
        raise HistoError(path, "table", what, "save it as CSV, UTF-8") from error


@contextlib.contextmanager
def lock(path: str | os.PathLike) -> Iterator[TextIO]:
    """Holds `path` for this process; the kernel lets go when the process dies, however it dies.

    Yields the open file: a child that inherits it holds the lock as well.

    Raises:
      HistoError: another process holds it (the line names its host and pid), or the folder
        can't be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(path, "a+")
    except OSError as error:
        raise HistoError(path, "write-failed", f"cannot write: {error.strerror}") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise HistoError(
                path, "locked", f"in use by {holder}", "wait for it, or stop it"
            ) from error
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield file


@contextlib.contextmanager
def hold(folder: str | os.PathLike, name: str = "*") -> Iterator[None]:
    """Holds a folder's lock, and sweeps what a killed process left there half written of `name`.

    Raises:
      HistoError: as `lock`.
    """
    with lock(Path(folder) / ".lock"):
        sweep(folder, name)
        yield


def sweep(folder: str | os.PathLike, name: str) -> None:
    """Removes what killed processes left half written of `name`; for who holds its lock."""
    for leftover in Path(folder).glob(f".{name}.tmp.*"):
        leftover.unlink(missing_ok=True)


def git_commit() -> str | None:
    """The checkout's commit, with `+` where it has changes; None where this is no checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # git would go on looking, in the folders around it
        return None
    try:
        ask = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+"]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
