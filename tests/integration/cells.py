"""The matrix: which framework runs on which server with which store, and what it lacks there."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from typing import Final, NamedTuple

FRAMEWORKS: Final = ("starlette", "fastapi", "litestar", "quart", "django")
SERVERS: Final = ("uvicorn-httptools", "uvicorn-h11", "granian", "hypercorn")
STORES: Final = ("memory", "redis")

LACKS: Final = {
    ("django", "websocket"): "its ASGI handler refuses WebSocket connections",
    ("django", "background"): "it has no tasks that run after a response",
    ("django", "added"): "its middlewares are not ASGI's",
    ("django", "gzip-outside"): "Starlette's GZipMiddleware adds a second Content-Length to an app "
    "that spells field names in capitals, also where there is no cache",
    ("litestar", "added"): "its middlewares are built once for each route",
    ("quart", "added"): "it has no add_middleware",
    ("quart", "one-piece"): "it ends each body with an empty message, so no ETag is generated",
    ("memory", "two-workers"): "each process has a memory of its own",
}
"""Features that tests ask for with ``@pytest.mark.needs``: by framework, server or store."""

PATHSEND: Final = {("starlette", "granian"), ("fastapi", "granian")}
"""Where the server offers ``http.response.pathsend`` and the framework's file response uses it."""


class Cell(NamedTuple):
    """One place in the matrix."""

    framework: str
    server: str
    store: str

    def __str__(self) -> str:
        return "-".join(self)

    def has(self, feature: str) -> bool:
        """Whether a test that needs *feature* can be asked here."""
        return all((part, feature) not in LACKS for part in self)

    @property
    def sends_paths(self) -> bool:
        """Whether files leave by ``http.response.pathsend``."""
        return (self.framework, self.server) in PATHSEND


ALL: Final = [Cell(*names) for names in product(FRAMEWORKS, SERVERS, STORES)]


def chosen(wish: str) -> list[Cell]:
    """The cells that ``--cells`` asks for.

    ``ci``: every framework on uvicorn with both stores, and one framework on each other server;
    ``all``; else a pattern such as ``quart-*`` or ``*-granian-redis``.
    """
    if wish == "ci":
        return [c for c in ALL if c.server == "uvicorn-httptools" or c.framework == "starlette"]
    if wish == "all":
        return list(ALL)
    found = [cell for cell in ALL if fnmatchcase(str(cell), wish)]
    if not found:
        raise ValueError(f"--cells {wish!r}: no such cell; all of them: {' '.join(map(str, ALL))}")
    return found
