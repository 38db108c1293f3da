"""What the benchmarks' command lines have in common: what they need, and how they end."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load import BrokenError
from benchmarks.processes import MODULES, MissingError, NotAHitError, driver_of, require, seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress


def finish(run: Callable[[], None]) -> int:
    """The exit status of *run*: 2 where something is missing, 1 where a measurement is no good.

    Either is said in one line on stderr.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run()
    except MissingError as error:
        print(f"missing: {error}", file=sys.stderr)
        return 2
    except (BrokenError, NotAHitError, OSError, HTTPException) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def filled_database(url: str) -> Iterator[str]:
    """The URL of a database with the catalogue's rows: *url*, or a SQLite file for now."""
    require([*MODULES, "matplotlib", driver_of(url) if url else "aiosqlite"])
    with tempfile.TemporaryDirectory(prefix="bench-database-") as directory:
        chosen = url or f"sqlite+aiosqlite:///{Path(directory, 'catalogue.db')}"
        seed(chosen)
        yield chosen


def progress_bar() -> Progress:
    """A bar for a terminal; in a pipe nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
