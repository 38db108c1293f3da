"""Engines as an application would make them, and how many statements went through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

POOL_SIZES: Final = {"sqlite": 2, "postgresql": 8}
"""Connections kept, where uncached requests were fastest on two cores; a SQLite connection is a
thread."""

_PRAGMAS: Final = ("PRAGMA mmap_size = 268435456", "PRAGMA cache_size = -65536")


@dataclass
class Counts:
    """What happened in this process since it started, and what goes on."""

    app_calls: int = 0
    """Requests that reached the application."""
    in_flight: int = 0
    """Of these, those that it has not finished with."""
    statements: int = 0
    """SQL statements executed."""
    longest_stall_ms: float = 0.0
    """For how long at most the event loop let a due task wait, since this was last told."""


def open_engine(url: str, counts: Counts, **options: Any) -> AsyncEngine:
    """An engine with a pool; *options* as for SQLAlchemy's ``create_async_engine``."""
    engine = create_async_engine(url, **(options or pool_options(url)))
    observe(engine.sync_engine, counts)
    return engine


def pool_options(url: str) -> dict[str, Any]:
    """A pool of the right size for the kind of database."""
    size = POOL_SIZES[make_url(url).get_backend_name()]
    return {"pool_size": size, "max_overflow": 0, "pool_timeout": 120}


def observe(engine: Engine, counts: Counts) -> None:
    """Count the statements of *engine*, and set up SQLite's new connections."""

    def count(*_: Any) -> None:
        counts.statements += 1

    def prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    event.listen(engine, "before_cursor_execute", count)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", prepare)


def blocking_url(url: str) -> str:
    """The URL of the same database for a driver that blocks.

    The one that Python brings for SQLite, psycopg for PostgreSQL.
    """
    parsed = make_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)
