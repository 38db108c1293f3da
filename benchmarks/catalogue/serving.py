"""One server process: an app behind uvicorn (one worker, uvloop, httptools), observed.

What is observed is counted inside the cache, so a hit is not counted and pays nothing for it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

import asgi_cache

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from benchmarks.catalogue.database import Counts

COUNTS_PATH = "/_counts"
PURGE_PATH = "/_purge"
NAMESPACE = "asgi-cache-benchmark"

PATHS: dict[str, Any] = {
    COUNTS_PATH: False,
    "/products": 3600,
    "/products/{id:int}": 3600,
    "/products/{id:int}/stock": 3600,
    "/search": 3600,
    "/users": 3600,
    "/dashboard": 3600,
}
"""An hour, so that nothing expires while it is measured. /about and /me speak for themselves."""

STORE_TIMEOUT = 5.0
"""Seconds. With the default of 0.1 the cache gives an answer up on a machine where server, Redis
and generator share too few cores, and what was measured would be a mixture of hits and misses."""


class Observed:
    """*app*, with its calls counted, and two paths: one tells the counts, one purges the cache."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] == "http":
            if scope["path"] == COUNTS_PATH:
                await answer(send, vars(self._counts))
                self._counts.longest_stall_ms = 0.0
                return
            if scope["path"] == PURGE_PATH:
                await asgi_cache.from_scope(scope).purge_all()
                await answer(send, {})
                return
            self._counts.app_calls += 1
            self._counts.in_flight += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._counts.in_flight -= 1
            return
        await self._app(scope, receive, send)


async def answer(send: Send, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    lines = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def behind_cache(app: ASGIApp, store: str, paths: dict[str, Any]) -> ASGIApp:
    """*app* behind the cache; where *store* is ``none``, *app* itself: nothing is wrapped."""
    if store == "none":
        return app
    return asgi_cache.wrap(
        app,
        store=store,
        namespace=NAMESPACE,
        paths=paths,
        store_timeout=STORE_TIMEOUT,
        request_store_timeout=STORE_TIMEOUT,
    )


class Announcing(uvicorn.Server):
    """A server that says on stdout which port it listens on, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and not self.should_exit:
            print(sockets[0].getsockname()[1], flush=True)


def serve(app: ASGIApp) -> None:
    """Serve *app* on a free loopback port until told to end, or until stdin is closed."""
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=3600,
    )
    threading.Thread(target=end_with_parent, daemon=True).start()
    Announcing(config).run([socket.create_server(("127.0.0.1", 0), backlog=2048)])


def end_with_parent() -> None:
    """End this process when whoever started it has ended, however that happened."""
    # Not sys.stdin, whose lock would be in the way when the process ends of itself.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
