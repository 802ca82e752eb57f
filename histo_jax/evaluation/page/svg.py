"""matplotlib figures as inline SVG whose colours and type are the page's, light or dark.

Figures are drawn in stand-in colours, which become the page's CSS variables. Nothing a user named
is drawn: names stand in the HTML beside, where they are escaped.
"""

import io
import re
from collections.abc import Callable
from typing import Any

INK, LINE, SOFT = "#010101", "#020202", "#030303"
COLOURS = tuple(f"#0500{i:02x}" for i in range(8))  # the page's --c0 … --c7
MARKERS = ("o", "s", "^", "D")  # a second sign beside colour, in turn
SIGNS = ("●", "■", "▲", "◆")  # the same in text
CSS = {INK: "currentColor", LINE: "var(--line)", SOFT: "var(--soft)"} | {
    colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)
}
STYLE = {
    "svg.fonttype": "none", "font.size": 10.5, "axes.titlesize": 11, "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": SOFT, "axes.titlecolor": INK, "axes.edgecolor": LINE,
    "xtick.color": SOFT, "ytick.color": SOFT, "grid.color": LINE, "grid.linewidth": 0.6,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "text.parse_math": False,
    "axes.spines.right": False, "xtick.major.size": 0, "ytick.major.size": 0,
    "lines.linewidth": 1.6, "figure.facecolor": "none", "axes.facecolor": "none",
    "savefig.facecolor": "none",
}  # fmt: skip


def draw(name: str, label: str, size: tuple[float, float], paint: Callable[[Any], None]) -> str:
    """One figure as the text of an `<svg>` element.

    Args:
      name: letters and digits; starts every id, so that figures of one page don't share any.
      label: what it shows, for those who don't see it.
      size: inches, 72 units each.
      paint: draws into the axes it is given, in the colours of this file.
    """
    return draw_panels(name, label, size, lambda figure: paint(figure.add_subplot()))


def draw_panels(
    name: str, label: str, size: tuple[float, float], paint: Callable[[Any], None]
) -> str:
    """The same with axes that `paint` puts into the figure it is given."""
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue(), name, label)


def _inline(svg: str, name: str, label: str) -> str:
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="[^"]+"', body)[0]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    body = re.sub(r" font-family: [^;\"]*;", "", body)  # the page's
    body = re.sub(r"\n?<defs>\s*</defs>|\n?<g id=\"[^\"]*\"/>", "", body)
    # A hundredth of a point is enough; what stands between tags is text, and stays.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)
    for stand_in, value in CSS.items():
        body = body.replace(stand_in, value)
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", ">\n<")
    return (
        f'<svg {box} role="img" aria-label="{label}" stroke-linejoin="round" '
        f'stroke-linecap="butt">{body}'
    )
