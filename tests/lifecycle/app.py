"""The app that the workers of these tests serve; the query says how it answers.

``bytes``, ``chunks``: of the body, which describes itself; ``pause``: seconds between the chunks.
Its ``version`` is when the call began, by a clock that all processes of a machine share
(``time.monotonic_ns``). ``says``: Cache-Control. ``more``: further response fields, as
``name:value``. ``length=0``: no Content-Length.
``wait=start|body|background``: say so on standard output, and wait for SIGUSR1 before the
start, after the first chunk, or where the request is the cache's own.

``/control/state`` tells what the process holds, ``/control/pid`` which one it is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, parse_qsl

import asgi_cache
from tests.driver import BODY, START
from tests.security.harness import Told, resident_bytes, user_of, written

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPTIONS: Final = "LIFECYCLE_OPTIONS"
WORKER: Final = "LIFECYCLE_WORKER"
STREAM_CHUNK: Final = bytes(65536)


class App:
    """Counts its calls."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._serials = count(1)
        self._gate = asyncio.Event()
        self.calls = 0
        self.cache: asgi_cache.Cache | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/control/state":
            await self._answer(send, json.dumps(self._state()).encode())
        elif scope["path"] == "/control/pid":
            await self._answer(send, b"%d" % os.getpid())
        elif scope["path"].endswith("/stream"):
            self.calls += 1
            await _stream(send, int(parse_qs(scope["query_string"].decode())["bytes"][0]))
        else:
            self.calls += 1
            await self._page(scope, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._gate.set)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, send: Send, body: bytes) -> None:
        lines = [(b"content-length", b"%d" % len(body))]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": body})

    async def _wait(self) -> None:
        print("reached", flush=True)
        await self._gate.wait()

    async def _page(self, scope: Scope, send: Send) -> None:
        told = self._told(scope)
        wish = dict(parse_qsl(told.query))
        background = told.value("user-agent") == "asgi-cache"
        if wish.get("wait") == "start" or (background and wish.get("wait") == "background"):
            await self._wait()
        body = written(told, int(wish.get("bytes", "100")))
        lines = [(b"cache-control", wish.get("says", "public, max-age=60").encode())]
        if "more" in wish:
            name, _, value = wish["more"].partition(":")
            lines.append((name.encode(), value.encode()))
        if wish.get("length") != "0":
            lines.append((b"content-length", b"%d" % len(body)))
        await send({"type": START, "status": 200, "headers": lines})
        size = -(-len(body) // int(wish.get("chunks", "1")))
        for at in range(0, len(body), size):
            more = at + size < len(body)
            await send({"type": BODY, "body": body[at : at + size], "more_body": more})
            if at == 0 and wish.get("wait") == "body":
                await self._wait()
            await asyncio.sleep(float(wish.get("pause", "0")))

    def _told(self, scope: Scope) -> Told:
        fields = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        return Told(
            serial=next(self._serials),
            worker=self._worker,
            method=scope["method"],
            scheme=scope["scheme"],
            root_path=scope["root_path"],
            path=scope["path"],
            raw_path=None,
            query=scope["query_string"].decode("latin-1"),
            fields=fields,
            user=user_of(fields),
            version=time.monotonic_ns(),
            length=0,
        )

    def _state(self) -> dict[str, Any]:
        gc.collect()
        cache = self.cache
        assert cache is not None
        here = asyncio.current_task()
        names = sorted(repr(task.get_coro()) for task in asyncio.all_tasks() if task is not here)
        return {
            "calls": self.calls,
            "package": asgi_cache.__file__,
            "tasks": names,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "resident": resident_bytes(),
            "filling": cache.filling_bytes,
            "near": cache.health().near,
            "metrics": cache.metrics.by_label(),
        }


async def _stream(send: Send, size: int) -> None:
    lines = [
        (b"cache-control", b"public, max-age=60"),
        (b"content-type", b"application/octet-stream"),
    ]
    await send({"type": START, "status": 200, "headers": lines})
    for _ in range(size // len(STREAM_CHUNK)):
        # Each is an object of its own: whoever keeps them is seen.
        await send({"type": BODY, "body": bytes(memoryview(STREAM_CHUNK)), "more_body": True})
    await send({"type": BODY, "body": b""})


def create() -> ASGIApp:
    """What a server is told to serve, as the environment says."""
    app = App(os.environ[WORKER])
    options = json.loads(os.environ[OPTIONS])
    options["paths"] = {"/control/{rest:path}": False, **options.get("paths", {})}
    wrapped = asgi_cache.wrap(app, **options)
    inner = wrapped.app
    assert isinstance(inner, asgi_cache.CacheMiddleware)
    app.cache = inner.cache
    return wrapped
