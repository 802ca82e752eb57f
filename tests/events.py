"""Reads TensorBoard's event files back."""

import struct
from pathlib import Path

from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event


def masked(data: bytes) -> int:
    """The checksum of a TFRecord."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read(folder: Path) -> list[tuple[int, float, dict[str, float]]]:
    """Step, wall time and numbers of every event of a folder, in order."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            body = data[12 : 12 + length]
            assert data[8:12] == struct.pack("<I", masked(data[:8]))
            assert data[12 + length : 16 + length] == struct.pack("<I", masked(body))
            data = data[16 + length :]
            event = Event.FromString(body)
            if event.HasField("summary"):
                numbers = {v.tag: v.simple_value for v in event.summary.value}
                found.append((event.step, event.wall_time, numbers))
    return found


def assert_view_of(workdir: Path, lines: list[dict]) -> None:
    """The events are the lines of `metrics.jsonl`, each once, with the speed beside."""
    events = read(workdir / "tensorboard")
    assert [step for step, _, _ in events] == [line["step"] for line in lines]
    for (_, _, numbers), line in zip(events, lines, strict=True):
        assert numbers.pop("images_per_s") > 0
        wanted = {k: struct.unpack("f", struct.pack("f", v))[0] for k, v in line.items()}
        assert {"step": line["step"], **numbers} == wanted
    times = [when for _, when, _ in events]
    assert times == sorted(times)
