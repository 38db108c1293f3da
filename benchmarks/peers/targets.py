"""What is measured, what each target must prove to be, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from benchmarks.traffic import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

COOKIE: Final = (("Cookie", "session=5f2b7c1d9e; theme=dark"),)
PAGES: Final = 64
"""Different URLs, asked in turn."""
BARE: Final = "bare app"
"""The target that the others are compared with."""


@dataclass(frozen=True)
class Target:
    """One row of the report."""

    name: str
    what: str
    app: str
    """The server that is asked, by its name in :data:`benchmarks.peers.apps.APPS`; of a proxy the
    one behind it."""
    expects: Literal["app", "hit", "pass", "store"] = "hit"
    """Every request is to be answered by the app, from a cache, or through a cache by the app;
    or by the app and then stored."""
    asks_redis: bool = False
    field: tuple[str, str] | None = None
    """A response field by which a hit names itself, and what it holds then."""
    kind: str = "pages"
    peer: str = ""
    """Whose distribution it is; empty: ours."""
    proxy: str = ""
    """The program in front of the app."""

    @property
    def ours(self) -> bool:
        """Whether asgi_cache has a part in it."""
        return self.app in ("memory", "near", "redis")

    def requests(self, size: int, run: str, count: int) -> Sequence[Request]:
        """What is asked, with bodies of *size* bytes; *count* and *run* where each URL is new."""
        if self.kind == "misses":
            return [Request(f"/misses/{size}/{run}-{n}", COOKIE) for n in range(count)]
        return [Request(f"/{self.kind}/{size}/{n}", COOKIE) for n in range(PAGES)]


_OURS: Final = ("cache-status", "; hit")
_OF_STARLETTE_CACHES: Final = ("x-cache", "hit")
_OF_PROXY: Final = ("x-cache", "HIT")
TARGETS: Final = (
    Target(BARE, "no cache; sends the body only", "bare", "app"),
    Target("bare app, lines of a hit", "no cache; the lines that a hit has", "lines", "app"),
    Target("memory", "asgi_cache in memory", "memory", field=_OURS),
    Target("near", "asgi_cache on Redis, with a near tier", "near", field=_OURS),
    Target("redis", "asgi_cache on Redis alone", "redis", asks_redis=True, field=_OURS),
    Target("plain GET", "no cache; one redis-py GET a request", "get", "app", asks_redis=True),
    Target(
        "pass-through",
        "asgi_cache in memory, a response that it may not store",
        "memory",
        "pass",
        kind="private",
    ),
    Target(
        "stored miss",
        "asgi_cache on Redis, each request a new URL",
        "redis",
        "store",
        asks_redis=True,
        kind="misses",
    ),
    Target(
        "starlette-caches memory",
        "starlette-caches, aiocache in memory",
        "starlette-caches memory",
        field=_OF_STARLETTE_CACHES,
        peer="starlette-caches",
    ),
    Target(
        "starlette-caches redis",
        "starlette-caches, aiocache on Redis",
        "starlette-caches redis",
        asks_redis=True,
        field=_OF_STARLETTE_CACHES,
        peer="starlette-caches",
    ),
    Target(
        "hishel redis",
        "hishel's ASGI middleware on Redis, by URL alone",
        "hishel redis",
        asks_redis=True,
        peer="hishel",
    ),
    Target(
        "fastapi-cache2 redis",
        "fastapi-cache2's decorator on Redis",
        "fastapi-cache2 redis",
        asks_redis=True,
        peer="fastapi-cache2",
    ),
    Target("litestar memory", "Litestar's response cache", "litestar memory", peer="litestar"),
    Target(
        "litestar redis",
        "Litestar's response cache on Redis",
        "litestar redis",
        asks_redis=True,
        peer="litestar",
    ),
    Target("nginx", "nginx proxy_cache before the app", "bare", field=_OF_PROXY, proxy="nginx"),
    Target("varnish", "Varnish before the app", "bare", field=_OF_PROXY, proxy="varnishd"),
)
NAMES: Final = tuple(target.name for target in TARGETS)


@dataclass(frozen=True)
class Cell:
    """One combination of conditions."""

    server: str = "uvicorn"
    workers: int = 1
    connections: int = 32
    size: int = 1024

    def in_words(self) -> str:
        """For a title."""
        many = "" if self.workers == 1 else "s"
        size = f"{self.size // 1024} KB" if self.size >= 1024 else f"{self.size} bytes"
        return (
            f"{self.server}, {self.workers} worker{many}, {self.connections} connections, "
            f"bodies of {size}"
        )


def cells(main: Cell, *, matrix: bool) -> list[Cell]:
    """The main cell, and with *matrix* all others after it."""
    found = [main]
    if matrix:
        found += [
            cell
            for server in ("uvicorn", "granian")
            for workers in (1, 2)
            for connections in (1, 32, 256)
            for size in (1024, 65536)
            if (cell := Cell(server, workers, connections, size)) != main
        ]
    return found
