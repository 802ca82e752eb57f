"""From a recipe and flags to a config, and from a config to the text of `--help`."""

import ast
import dataclasses
import difflib
import importlib.util
import math
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_jax.config.check import check
from histo_jax.errors import HistoError

WIDTH, ABOUT = 96, 40  # columns of `describe`: in all, and where meanings begin


def load(schema: type, recipe: str, flags: Sequence[str] = ()) -> Any:
    """Reads a recipe, applies `--config.field=value` flags, and checks every name and type.

    Args:
      schema: `Config` or `EvalConfig`.
      recipe: `file.py` or `file.py:argument`; the file defines `get_config`.
      flags: what follows on the command line, `--config.a.b=1` or `--config.a.b 1`.

    Raises:
      HistoError: an unknown field (with the nearest known one), a wrong type, a value no run can
        use, no such file.
    """
    values = _recipe_values(recipe)
    for name, text in _pairs(flags):
        where = values
        *parents, last = name.split(".")
        for parent in parents:
            where = where.setdefault(parent, {})
            if not isinstance(where, dict):
                raise HistoError(f"--config.{name}", "config", f"{parent} has no fields")
        where[last] = _literal(text)
    config = from_values(schema, values)
    check(config)
    return config


def from_values(schema: type, values: dict, prefix: str = "", root: type | None = None) -> Any:
    """Builds a frozen dataclass from nested dicts; missing fields keep their default.

    `prefix` and `root` say where in which config `schema` stands, for the messages.
    """
    root = root or schema
    hints = typing.get_type_hints(schema)
    checked = {}
    for name, value in values.items():
        path = f"config.{prefix}{name}"
        if name not in hints:
            raise HistoError(path, "config", "no such field", _did_you_mean(root, prefix, name))
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise HistoError(path, "config", f"wants fields, got {value!r}")
            checked[name] = from_values(hints[name], value, f"{prefix}{name}.", root)
        else:
            checked[name] = _typed(path, value, hints[name])
    return schema(**checked)


def _recipe_values(recipe: str) -> dict:
    file, _, argument = recipe.partition(":")
    if not Path(file).is_file():
        raise HistoError(file, "missing", "no such recipe", "see configs/")
    spec = importlib.util.spec_from_file_location("recipe", file)
    if spec is None:
        raise HistoError(file, "config", "is no Python file", "see configs/")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(argument) if argument else module.get_config()
    except Exception as error:  # a recipe is a program: whatever it raises is about that file
        what = f"the recipe failed: {type(error).__name__}: {error}"
        raise HistoError(recipe, "config", what) from error
    if not hasattr(config, "to_dict"):
        what = f"get_config gave a {type(config).__name__}"
        raise HistoError(recipe, "config", what, "return an ml_collections.ConfigDict")
    return config.to_dict()


def _pairs(flags: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(flags)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--config."):
            raise HistoError(flag, "config", "unknown argument", "options are --config.field=value")
        name, equals, value = flag.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                raise HistoError(flag, "config", "has no value")
            value = rest.pop(0)
        pairs.append((name, value))
    return pairs


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _typed(path: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value == "none" and str not in kinds:  # of augment.jitter it is a value
        value = None
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, (str, float, int)) and tuple in kinds and str not in kinds:
        value = (value,)
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and float in kinds
        and int not in kinds
    ):
        value = float(value)
    if type(value) not in kinds:
        names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
        raise HistoError(path, "config", f"wants {names}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise HistoError(path, "config", f"is {value}", "give a finite number")
    return value


def _did_you_mean(root: type, prefix: str, name: str) -> str:
    paths = list(_field_paths(root))
    for group in (prefix, ""):  # here first, then anywhere
        leaves = {p.rpartition(".")[2]: p for p in reversed(paths) if p.startswith(group)}
        near = difflib.get_close_matches(str(name), leaves, n=1, cutoff=0.6)
        if near:
            return f"did you mean config.{leaves[near[0]]}?"
    here = [p.removeprefix(prefix) for p in paths if p.startswith(prefix)]
    return "known: " + ", ".join(p for p in here if "." not in p)


def _field_paths(schema: type, prefix: str = "") -> typing.Iterator[str]:
    for name, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _field_paths(hint, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def describe(schema: type, prefix: str = "") -> str:
    """Every option with its default and meaning, by group: lines for `--help`."""
    lines, groups = [schema.__doc__.splitlines()[0]], []
    for item in dataclasses.fields(schema):
        if dataclasses.is_dataclass(item.default):
            groups.append(describe(type(item.default), f"{prefix}{item.name}."))
            continue
        default = item.default if item.default not in ("", ()) else "(none)"
        left = f"  {prefix + item.name:24} {default!s:11} "
        about = textwrap.wrap(item.metadata["about"], WIDTH - ABOUT)
        if len(left) > ABOUT:
            lines.append(left.rstrip())
            left = ""
        lines.append(f"{left:{ABOUT}}{about[0]}")
        lines.extend(" " * ABOUT + more for more in about[1:])
    return "\n\n".join(["\n".join(lines), *groups])
