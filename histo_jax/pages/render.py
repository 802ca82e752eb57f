"""From a template and what it is given to one file."""

import functools
import os
from pathlib import Path
from typing import Any

import jinja2

from histo_jax.files import atomic

TEMPLATES = Path(__file__).with_name("templates")


def write(path: str | os.PathLike, template: str, **context: Any) -> Path:
    """Writes `templates/<template>` rendered with `context` to `path`, whole or not at all.

    Everything in `context` is escaped, unless the template marks it `| safe`. A name the template
    uses and `context` lacks is an error, never an empty place.

    Raises:
      HistoError: `path` can't be written.
    """
    html = _environment().get_template(template).render(context)
    with atomic(path) as file:
        # A file name may hold bytes that are no text; the page must not fail over one.
        file.write(html.encode("utf-8", "replace"))
    return Path(path)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
