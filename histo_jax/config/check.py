"""Values no run can use, and what differs between two runs."""

import dataclasses
from typing import Any

from histo_jax.config.schema import Data
from histo_jax.errors import HistoError


def check(config: Any, prefix: str = "config.") -> None:
    """Refuses values no run can use; names the field and the valid ones."""
    for item in dataclasses.fields(config):
        path, value = f"{prefix}{item.name}", getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            check(value, f"{path}.")
        elif value is not None:
            wanted = _wanted(value, **{k: v for k, v in item.metadata.items() if k != "about"})
            if wanted:
                raise HistoError(path, "config", f"is {value!r}", wanted)
    if isinstance(config, Data):
        _check_datasets(f"{prefix}datasets", config.datasets)
        _check_where(f"{prefix}where", config.where)


def _wanted(value: Any, known: tuple, least: Any, above: Any, most: Any, empty: bool) -> str | None:
    """What a value should be, where it isn't."""
    if known and value not in known:
        return "known: " + ", ".join(known)
    if isinstance(value, tuple):
        return None if value or empty else "name at least one"
    low = (least is not None and value < least) or (above is not None and value <= above)
    if not low and (most is None or value <= most):
        return None
    start = f"above {above}" if least is None else f"{least} or more"
    return f"must be {start}" + ("" if most is None else f" and at most {most}")


def _check_datasets(path: str, value: str | tuple) -> None:
    for entry in [(value, None)] if isinstance(value, str) else value:
        match entry:
            case [str(name), None | int() | float() as weight]:
                if 0 < len(name) < 256 and name.isprintable() and not isinstance(weight, bool):
                    continue
        what = f"holds {entry!r}, wants pairs of a name and a weight or None"
        example = "(('histo_wsi/a', None), ('histo_wsi/b', None))"
        raise HistoError(path, "config", what, f"e.g. {example}")


def _check_where(path: str, value: tuple) -> None:
    for entry in value:
        match entry:
            case [("organ" | "stain" | "magnification" | "id"), str()]:
                continue
        what = f"holds {entry!r}, wants pairs of organ, stain, magnification or id and a value"
        raise HistoError(path, "config", what, "e.g. (('organ', 'breast'),)")


def field(config: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def differences(new: dict, old: dict, prefix: str = "") -> list[str]:
    """Dotted names of the fields in which two configs, as nested dicts, differ."""
    changed = []
    for name in sorted({*new, *old}):
        a, b = new.get(name), old.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            changed += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            changed.append(f"{prefix}{name}")
    return changed
