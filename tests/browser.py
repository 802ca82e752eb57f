"""Opens a page of ours in a headless browser and says what a reader would trip over."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclasses.dataclass(frozen=True)
class Look:
    """What one view of a page showed.

    Attributes:
      errors: of the console and of scripts.
      requests: every request beside that of the page itself and `data:`.
      broken: images that did not decode.
      images: how many there are.
      overflow: pixels by which the page is wider than its window.
      colour: the background as computed.
      text: what a reader sees.
    """

    errors: list[str]
    requests: list[str]
    broken: int
    images: int
    overflow: int
    colour: str
    text: str


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium, or a skip that says what is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield opened
        opened.close()


def look(
    opened: Any, path: Path, width: int = 1200, scheme: str = "light", shot: Path | None = None
) -> Look:
    """Opens `path` in a window of that width and colour scheme; `shot` keeps a picture of it."""
    window = {"width": width, "height": 900}
    tab = opened.new_page(viewport=window, color_scheme=scheme)
    tab.set_default_timeout(120_000)  # ms: the machine may be busy
    errors, requests = [], []
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    address = path.resolve().as_uri()
    tab.goto(address)
    seen = Look(
        errors=errors,
        requests=[r for r in requests if r != address and not r.startswith("data:")],
        broken=tab.evaluate("[...document.images].filter(i => !i.naturalWidth).length"),
        images=tab.evaluate("document.images.length"),
        overflow=tab.evaluate("document.documentElement.scrollWidth - innerWidth"),
        colour=tab.evaluate("getComputedStyle(document.body).backgroundColor"),
        text=tab.inner_text("body"),
    )
    if shot:
        tab.screenshot(path=shot, full_page=True)
    tab.close()
    return seen


def assert_readable(path: Path) -> Look:
    """On a phone and a desk, in light and dark: whole, quiet, and never too wide."""
    with browser() as opened:
        seen = {(w, s): look(opened, path, w, s) for w in (400, 1200) for s in ("light", "dark")}
    for view, found in seen.items():
        assert not found.errors, (view, found.errors)
        assert not found.requests, (view, found.requests)
        assert not found.broken, (view, found.broken)
        assert found.overflow <= 0, (view, found.overflow)
    assert seen[400, "light"].colour != seen[400, "dark"].colour
    return seen[1200, "light"]
