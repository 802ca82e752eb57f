"""What a compiled program sends between devices, read from its text."""

import collections
import re

BYTES = {"pred": 1, "u8": 1, "s32": 4, "u32": 4, "f32": 4, "bf16": 2, "f64": 8, "s64": 8}
KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
LINE = re.compile(rf"= (.*?) ({KINDS})(?:-start)?\(([^)]*)\)")
SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


def instructions(text: str) -> list[tuple[str, int, str]]:
    """Kind, bytes and line of every exchange: of the global array, in or out, that is whole."""
    found = []
    shapes = dict(re.findall(r"^\s*(?:ROOT )?(%[\w.-]+) = (.*?) [\w-]+\(", text, re.MULTILINE))
    for line in text.splitlines():
        match = LINE.search(line)
        if match:
            result, kind, operands = match.groups()
            given = " ".join(shapes.get(name, name) for name in operands.split(", "))
            found.append((kind, max(size(result), size(given)), line.strip()))
    return found


def collectives(text: str) -> dict[str, int]:
    """Bytes by kind of exchange."""
    total: collections.Counter = collections.Counter()
    for kind, nbytes, _ in instructions(text):
        total[kind] += nbytes
    return dict(total)


def size(shapes: str) -> int:
    """Bytes of all shapes in a piece of HLO."""
    total = 0
    for kind, dimensions in SHAPE.findall(shapes):
        count = 1
        for number in filter(None, dimensions.split(",")):
            count *= int(number)
        total += count * BYTES[kind]
    return total
