"""Which files of a folder a layout means, and what their paths say."""

import functools
import re
from collections.abc import Iterable

from histo_jax.catalogue.entries import Entry, Layout
from histo_jax.errors import HistoError

_GLOB = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}


@functools.cache
def pattern(glob: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression for `fullmatch`.

    It may begin at any depth. `*` and `?` stop at a slash, `**` does not, `{a,b}` are alternatives,
    `[…]` as usual; upper and lower case are one.
    """
    parts, inside = [], False
    for part in re.findall(r"\*\*/|\*\*|\[[^\]]+\]|.", glob, re.DOTALL):
        if part in _GLOB:
            parts.append(_GLOB[part])
            inside = part == "{" or (inside and part != "}")
        elif part == "," and inside:
            parts.append("|")
        else:
            parts.append(part if len(part) > 1 else re.escape(part))
    return re.compile("(?:.*/)?" + "".join(parts), re.IGNORECASE | re.DOTALL)


def is_meant(layout: Layout, name: str, variant: str | None = None) -> bool:
    """Whether a path inside the folder is an image or slide of the set."""
    wanted = layout.images if variant is None else layout.variants[variant]
    return any_of(wanted, name) and not any_of(layout.leave_out, name)


def any_of(globs: Iterable[str], name: str) -> bool:
    """Whether any of the patterns is of this path."""
    return any(pattern(glob).fullmatch(name) for glob in globs)


def facts(entry: Entry, name: str) -> dict[str, str] | None:
    """Slide, patient, label and split by what the path says; None where `names` is not found.

    Raises:
      HistoError: `layout`: a label or split that the catalogue doesn't know.
    """
    layout = entry.layout
    if not layout.names:
        return {}
    match = re.search(layout.names, name)
    if match is None:
        return None
    known = {key: text for key, text in match.groupdict().items() if text}
    for key in ("slide", "patient"):
        if layout.upper_case and key in known:
            known[key] = known[key].upper()
    for key, meaning in (("label", layout.labels), ("split", layout.splits)):
        if meaning and key in known:
            if known[key] not in meaning:
                what = f"{key} {known[key]!r} in its path is none of {', '.join(meaning)}"
                raise HistoError(name, "layout", what, how(entry))
            known[key] = meaning[known[key]]
    return known


def how(entry: Entry) -> str:
    """The remedy where a folder is not as it should be."""
    return f"python -m histo_jax.catalogue {entry.id} says what must lie where"
