"""The process that touches slides: `python -m histo_jax.slides.worker`, JSON lines in and out.

First line in: {"memory_bytes"}; then one job a line: {"path", "mpp", "regions", "rule",
"parts_dir"}.
Out: {"ready"}, then one answer a job: {"part", "seconds"} or {"error", "seconds"}.
A slide may kill this process; `pool` starts another. It dies with the process that started it.
"""

import json
import os
import queue
import resource
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from histo_jax.errors import HistoError
from histo_jax.files import file_digest
from histo_jax.slides.identity import slide_digest
from histo_jax.slides.parts import part_is_current, writing
from histo_jax.slides.reasons import refusal
from histo_jax.slides.source import triage
from histo_jax.slides.tiles import SlideTiles, TileRule, cut, options_digest


def finish(job: dict, cutter: Callable[..., SlideTiles] = cut) -> str:
    """Does one job and returns the path of its part; a finished part is taken as it is."""
    rule, mpp = TileRule(**job["rule"]), job["mpp"]
    path, regions, parts_dir = job["path"], job.get("regions"), job["parts_dir"]
    begin = time.monotonic()
    triage(path)  # before the digest: that would wait for ever on a pipe
    digest, size = slide_digest(path)
    part = Path(parts_dir) / f"{digest[:16]}.zip"
    options = options_digest(rule, mpp, regions and file_digest(regions))
    if part_is_current(part, digest[:16], options, size, path):
        return str(part)
    with writing(part) as file:
        try:
            slide = cutter(path, rule, mpp, regions, take=file.add)
        except OSError as error:  # not the part's
            raise _unreadable(path, error) from error
        if slide.id != part.stem:  # between the two digests
            raise refusal(path, "changed", "changed while it was read")
        file.finish(slide, time.monotonic() - begin)
    return str(part)


def answer(job: dict, cutter: Callable[..., SlideTiles] = cut) -> dict:
    """The line for one job: whatever goes wrong becomes its error."""
    begin = time.monotonic()
    try:
        result = {"part": finish(job, cutter)}
    except HistoError as error:
        result = {"error": error.args}
    except MemoryError:
        result = {"error": refusal(job["path"], "memory", "needs more memory than allowed").args}
    except OSError as error:
        result = {"error": _unreadable(job["path"], error).args}
    except Exception as error:  # one slide must not stop the others
        what = f"{type(error).__name__}: {error}"
        result = {"error": refusal(job["path"], "worker-error", what).args}
    return result | {"seconds": time.monotonic() - begin}


def _unreadable(path: str, error: OSError) -> HistoError:
    return refusal(path, "read-failed", f"cannot be read: {error.strerror}")


def main(cutter: Callable[..., SlideTiles] = cut) -> None:
    """Serves jobs from stdin until it closes."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries that print go to stderr
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines, os.getppid()), daemon=True).start()
    _limit(json.loads(lines.get())["memory_bytes"])
    print(json.dumps({"ready": os.getpid()}), file=replies, flush=True)
    while True:
        reply = answer(json.loads(lines.get()), cutter)
        print(json.dumps(reply), file=replies, flush=True)


def _listen(lines: "queue.SimpleQueue[bytes]", parent: int) -> None:
    """Passes on lines from stdin; ends the process, even amid a read, when the parent is gone."""
    rest = b""
    while os.getppid() == parent:  # a forked child of the parent may hold the pipe open
        if not select.select([0], [], [], 1.0)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            lines.put(line)
    os._exit(0)


def _limit(memory_bytes: int) -> None:
    for what, limit in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))
        except (ValueError, OSError) as error:  # some systems have no such limit
            print(f"no limit set: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
