"""Pages people read: one self-contained HTML file each, without requests and, unless there is
something to pan and zoom in, without scripts.

A page is a template in `templates/` that extends `base.html`, which holds the style for light and
dark, wide and narrow, and print. It sets `contents`, the `(id, title)` of its sections; what it is
given is escaped. `parts.html` has what pages share: cards, figures, tables in a box that scrolls.
"""

from histo_jax.pages.images import data_uri, jpeg, png
from histo_jax.pages.render import write

__all__ = ["data_uri", "jpeg", "png", "write"]
