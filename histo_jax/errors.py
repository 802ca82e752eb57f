"""The one error a user sees: which path, what is wrong, what to do."""

import os
import sys
from collections.abc import Callable

DIVERGED = 3  # exit status of a training that came to nothing: a result, where grids are run


class HistoError(Exception):
    """A fault a user can mend, told in one line.

    Attributes:
      path: the file, folder or config field at fault.
      reason: short code, stable across releases, e.g. `"truncated"`; counted in summaries.
      what: what is wrong, one clause.
      remedy: what to do about it, one clause; may be empty.
    """

    def __init__(self, path: object, reason: str, what: str, remedy: str = ""):
        super().__init__(path, reason, what, remedy)  # all four, so that the error pickles
        self.path, self.reason, self.what, self.remedy = str(path), reason, what, remedy

    def __str__(self) -> str:
        line = f"{self.path}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")
        return line.replace("\n", "\\n")  # a file name may hold a line break; the error may not


class Resume(Exception):
    """The run stopped early but is safe to continue: exit status 75."""


def run(main: Callable[[], int | None], debug: bool = False) -> int:
    """Runs `main`, turns a `HistoError` into one line on stderr, returns the exit status."""
    try:
        return main() or 0
    except HistoError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return DIVERGED if error.reason in ("nan", "collapse") else 1
    except Resume as stop:
        print(stop, file=sys.stderr)
        return os.EX_TEMPFAIL  # 75: "run the same command again"
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
