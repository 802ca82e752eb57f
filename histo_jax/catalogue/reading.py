"""Reads datasets.yaml; whatever it may not say is refused."""

import dataclasses
import difflib
import functools
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType

import yaml

from histo_jax.catalogue.entries import CHOICES, GROUPS, Entry
from histo_jax.errors import HistoError

PATH = Path(__file__).with_name("datasets.yaml")
_FILLED = ("homepage", "citation", "get")  # of a template: {project}, {collection} and {id} in them


def find(name: str) -> Entry:
    """The entry of an id.

    Raises:
      HistoError: `no-dataset`.
    """
    known = load()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        remedy = f"did you mean {near[0]}?" if near else "python -m histo_jax.catalogue lists them"
        raise HistoError("catalogue", "no-dataset", f"knows no dataset {name!r}", remedy)
    return known[name]


@functools.cache
def load(path: Path = PATH) -> Mapping[str, Entry]:
    """All entries by id, in the order of the file.

    Raises:
      HistoError: `catalogue`: no YAML, or a field that is unknown, missing or of the wrong type.
    """
    tree, node = _parse(path)
    if not isinstance(tree, dict) or not {"datasets"} <= set(tree) <= {"datasets", "templates"}:
        raise HistoError(path, "catalogue", "needs `datasets`, and may have `templates`")
    (rows,) = (value for key, value in node.value if key.value == "datasets")
    entries: dict[str, Entry] = {}
    for row, at in zip(tree["datasets"], rows.value, strict=True):
        where = f"{path}, line {at.start_mark.line + 1}"
        if not isinstance(row, dict):
            raise HistoError(where, "catalogue", f"{row!r} is no entry")
        where += f", {row.get('id')}"
        entry = _made(Entry, _filled(where, row, tree.get("templates") or {}), where)
        _check(entry, where)
        if entry.id in entries:
            raise HistoError(where, "catalogue", "this id comes twice")
        entries[entry.id] = entry
    return entries


def _parse(path: Path) -> tuple[typing.Any, yaml.Node]:
    """The document and its nodes, which know their lines."""
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _no_key_twice(path, node)
        return None if node is None else loader.construct_document(node), node
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = f"not readable as YAML: {' '.join(str(error).split())}"
        raise HistoError(path, "catalogue", what) from error


def _no_key_twice(path: Path, node: yaml.Node | None) -> None:
    """YAML would take the last of them without a word."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                where = f"{path}, line {key.start_mark.line + 1}"
                raise HistoError(where, "catalogue", f"{key.value} comes twice")
            seen.add(key.value)
            _no_key_twice(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _no_key_twice(path, value)


def _filled(where: str, row: dict, templates: dict) -> dict:
    """A row with what its template says; its own words come first."""
    row = dict(row)
    name = row.pop("template", None)
    if name is None:
        return row
    if name not in templates:
        known = ", ".join(templates) or "none"
        raise HistoError(where, "catalogue", f"no template {name!r}", f"known: {known}")
    project = str(row.get("project", ""))
    words = {"project": project, "collection": project.lower(), "id": str(row.get("id"))}

    def fill(value: typing.Any) -> typing.Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        for key, word in words.items():
            value = value.replace(f"{{{key}}}", word)
        return value

    given = {k: fill(v) if k in _FILLED else v for k, v in templates[name].items()}
    return given | row


def _made(kind: type, value: typing.Any, where: str) -> typing.Any:
    """`value` as a `kind`: a dataclass, tuple, mapping, optional or plain type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if NoneType in inner:
        return None if value is None else _made(inner[0], value, where)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_made(inner[0], item, where) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {_made(inner[0], k, where): _made(inner[1], v, where) for k, v in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        wanted = {tuple: "list", Mapping: "mapping"}.get(origin) or kind.__name__.lower()
        raise HistoError(where, "catalogue", f"{value!r} is no {wanted}")
    return value


def _dataclass(kind: type, value: dict, where: str) -> typing.Any:
    fields, hints = {f.name: f for f in dataclasses.fields(kind)}, _hints(kind)
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
            raise HistoError(where, "catalogue", f"unknown field {name!r}", remedy)
    nothing = dataclasses.MISSING
    for name, field in fields.items():
        if name not in value and field.default is nothing and field.default_factory is nothing:
            raise HistoError(where, "catalogue", f"lacks the field {name}")
    return kind(**{k: _made(hints[k], v, f"{where}, {k}") for k, v in value.items()})


_hints = functools.cache(typing.get_type_hints)


def _check(entry: Entry, where: str) -> None:
    """What types don't say."""
    for name, known in CHOICES.items():
        value = getattr(entry if hasattr(entry, name) else entry.layout, name)
        if value not in known:
            what = f"{name} is {value!r}"
            raise HistoError(where, "catalogue", what, f"known: {', '.join(filter(None, known))}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", entry.id):
        raise HistoError(where, "catalogue", "an id is of a-z, 0-9 and _")
    if bool(entry.tissue) != (entry.kind in ("slides", "outlined")):
        raise HistoError(where, "catalogue", "slides have a tissue rule, other kinds have none")
    try:
        groups = set(re.compile(entry.layout.names).groupindex)
    except re.error as error:
        raise HistoError(where, "catalogue", f"names: {error}") from error
    if not groups <= set(GROUPS):
        what = f"names: groups {', '.join(sorted(groups - set(GROUPS)))}"
        raise HistoError(where, "catalogue", what, f"known: {', '.join(GROUPS)}")
