"""Makes the next batches in the background while the devices work on this one."""

import atexit
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from histo_jax.errors import HistoError

TIMEOUT = 600.0  # seconds without a batch before a stall is called one
_TICK = 0.2  # seconds between looks at the other side
_GOODBYE = 30.0  # seconds a closing feed waits for its thread


class Feed(Iterator[Any]):
    """Iterates over `place(batch)` for the batches of a producer that runs in a thread.

    What the producer raises is raised to the consumer, in turn. `close`, or leaving the `with`
    block, stops the thread.
    """

    def __init__(self, batches: Iterable, place: Callable[[Any], Any], depth: int, timeout: float):
        self._batches, self._place, self._timeout = batches, place, timeout
        self._queue: queue.Queue = queue.Queue(depth)
        self._stop = threading.Event()
        self._stage = "reading the first batch"
        self._thread = threading.Thread(target=self._produce, name="feed", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread inside TensorFlow at exit can crash the process

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> Any:
        if self._stop.is_set():
            raise StopIteration
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                batch, error = self._queue.get(timeout=_TICK)
                break
            except queue.Empty:
                if time.monotonic() > deadline:
                    self._stop.set()
                    atexit.unregister(self.close)  # the thread hangs: nobody waits for it
                    what = f"no batch for {self._timeout:g} s while {self._stage}"
                    remedy = "is the disk or file system answering?"
                    raise HistoError("data feed", "stalled", what, remedy) from None
        if error is None:
            return batch
        self.close()
        raise error

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the producer and waits, not for ever, for it to finish what it has begun."""
        self._stop.set()
        atexit.unregister(self.close)
        self._thread.join(_GOODBYE)

    def _produce(self) -> None:
        iterator = iter(self._batches)
        try:
            while not self._stop.is_set():
                try:
                    batch = next(iterator)
                    self._stage = "placing a batch on the devices"
                    item = (self._place(batch), None)
                    self._stage = "reading a batch"
                except BaseException as error:  # StopIteration too: it ends the consumer's loop
                    self._put((None, error))
                    return
                self._put(item)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    def _put(self, item: tuple[Any, BaseException | None]) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_TICK)
            except queue.Full:
                continue


def feed(
    batches: Iterable, place: Callable[[Any], Any], depth: int = 2, timeout: float = TIMEOUT
) -> Feed:
    """Starts making batches in the background; iterate over the result.

    Args:
      batches: host batches.
      place: puts one on the devices, called in the thread.
      depth: batches made ahead, beside the one in hand.
      timeout: seconds without a batch before a `HistoError` says which stage hangs.
    """
    return Feed(batches, place, depth, timeout)
