"""The commands that make a report again, from the options it holds."""

import json
import re
import shlex
from typing import Any

from histo_jax.config import Config, EvalConfig, differences
from histo_jax.training.card import as_dict

# Recipes whose other fields have their defaults, and the fields they set all the same.
PRETRAIN, PRETRAIN_SETS = "configs/simclr_r18.py", ("augment.crop_min", "augment.jitter")
PROBE, PROBE_SETS = "configs/probe.py", ("shift",)


def pretrain(config: dict, workdir: str) -> str:
    """`train.py` with the options of a card."""
    flags = _flags(config, Config(), PRETRAIN_SETS)
    return _lines("train.py", ["--config", PRETRAIN], ["--workdir", workdir], *flags)


def evaluate(config: dict, sources: list[str]) -> str:
    """`eval.py` with the options of a report; without a source the floors alone."""
    of = [["--checkpoint", source.removeprefix("ssl=")] for source in sources]
    flags = _flags(config, EvalConfig(), PROBE_SETS)
    return _lines("eval.py", ["--config", PROBE], *(of or [["--out", "floors"]]), *flags)


def _lines(program: str, *parts: list[str]) -> str:
    """One command over several lines, as a shell takes it."""
    return " \\\n  ".join([f"python {program}", *map(shlex.join, parts)])


def _flags(config: dict, default: Any, always: tuple[str, ...]) -> list[list[str]]:
    known = as_dict(default)
    # Options of another version are not this version's flags.
    changed = [p for p in differences(config, known) if _has(config, p) and _has(known, p)]
    paths = sorted({*changed, *(p for p in always if _has(config, p))})
    return [[f"--config.{path}={_value(_at(config, path))}"] for path in paths]


def _at(config: dict, path: str) -> Any:
    for name in path.split("."):
        config = config[name]
    return config


def _has(config: dict, path: str) -> bool:
    try:
        _at(config, path)
    except (KeyError, TypeError):
        return False
    return True


def _value(value: Any) -> str:
    # A flag's None, true and 1 are no text, unless they are quoted.
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][\w./ -]*", value)
    special = plain and (value == "None" or value.lower() in ("true", "false"))
    return value if plain and not special else _literal(value)


def _literal(value: Any) -> str:
    """As Python, with double quotes: a shell's single quotes go around it."""
    if isinstance(value, list):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def options(config: dict, prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and values of a nested config."""
    pairs = []
    for name, value in config.items():
        if isinstance(value, dict):
            pairs += options(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", json.dumps(value, ensure_ascii=False)))
    return pairs
