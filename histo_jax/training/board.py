"""TensorBoard's view of a run, written without TensorFlow."""

import time
from pathlib import Path


class Board:
    """Events in `<workdir>/tensorboard/`: every number of `metrics.jsonl` and `timing.jsonl` once.

    The files are a view of those two: what an earlier run left is removed and written again from
    `lines`, `{"step": …, name: number, …}` and maybe `time` in Unix seconds. Each line is on its
    way to disk when `add` returns; no thread is left to wait for.
    """

    def __init__(self, folder: Path, lines: list[dict]):
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = EventsWriter(str(folder / "events"))
        for line in lines:
            self._write(line)
        self._writer.flush()

    def add(self, line: dict) -> None:
        """Writes one line."""
        self._write(line)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, line: dict) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = {k: v for k, v in line.items() if k not in ("step", "time")}
        values = [Summary.Value(tag=name, simple_value=x) for name, x in numbers.items()]
        when = line.get("time", time.time())
        self._writer.write_event(
            Event(wall_time=when, step=line["step"], summary=Summary(value=values))
        )
