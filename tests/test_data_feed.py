import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from prepared_sets import refused

from histo_jax.data.feed import feed


def feeds():
    return [t for t in threading.enumerate() if t.name == "feed"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not feeds()
    yield
    deadline = time.monotonic() + 5
    while feeds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not feeds()


def test_gives_every_batch_in_order_on_the_device():
    batches = ({"x": np.full(3, i)} for i in range(20))
    made = list(feed(batches, jax.device_put))
    assert [int(b["x"][0]) for b in made] == list(range(20))
    assert isinstance(made[0]["x"], jax.Array)


def test_works_ahead_by_depth_and_no_further():
    made = []

    def producer():
        for i in range(100):
            made.append(i)
            yield i

    with feed(producer(), lambda x: x, depth=2) as stream:
        assert next(stream) == 0
        time.sleep(0.3)
        assert len(made) == 4  # one taken, two waiting, one in the hand of the producer
    assert len(made) < 10


@pytest.mark.parametrize("stage", ["read", "place"])
def test_an_exception_comes_in_its_turn_and_ends_the_feed(stage):
    def producer():
        yield from (0, 1)
        if stage == "read":
            raise KeyError("from the producer")
        yield 2

    def place(x):
        if x == 2:
            raise KeyError("from place")
        return x

    stream = feed(producer(), place)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(KeyError, match="from"):
        next(stream)
    assert list(stream) == []


def test_end_and_empty():
    assert list(feed(iter(()), lambda x: x)) == []
    stream = feed(iter([1]), lambda x: x)
    assert list(stream) == [1]
    assert list(stream) == []


def test_close_stops_a_producer_that_waits_and_closes_its_generator():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    stream = feed(endless(), lambda x: x)
    next(stream)
    stream.close()
    stream.close()
    assert closed.is_set() and not feeds()
    assert list(stream) == []


def test_watchdog_names_the_stage_that_hangs():
    wake = threading.Event()

    def stalls():
        yield 0
        wake.wait(30)

    stream = feed(stalls(), lambda x: x, timeout=0.5)
    assert next(stream) == 0
    with refused("stalled", "no batch for 0.5 s while reading a batch"):
        next(stream)
    wake.set()

    release = threading.Event()
    stream = feed(iter([1]), lambda x: release.wait(30), timeout=0.5)
    with refused("stalled", "while placing a batch on the devices"):
        next(stream)
    release.set()


def test_a_program_that_leaves_in_the_middle_ends_cleanly():
    program = (
        "import itertools, sys, time\n"
        "from histo_jax.data.feed import feed\n"
        "stream = feed((time.sleep(0.01) for _ in itertools.count()), lambda x: x)\n"
        "next(stream)\n"
        "sys.exit(75)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (75, b"")


def test_a_slow_start_is_no_stall_and_the_first_stage_has_a_name():
    wake = threading.Event()
    stream = feed((wake.wait(30) for _ in range(1)), lambda x: x, timeout=0.4)
    with refused("stalled", "while reading the first batch"):
        next(stream)
    wake.set()
