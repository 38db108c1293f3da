"""A process that forks while its cache fills and revalidates: ``forking <store> <namespace>``.

The child has none of the parent's tasks; it must not wait for them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from typing import TYPE_CHECKING

import asgi_cache
from tests.driver import BODY, START, Exchange, Recorder, drive
from tests.stores.wire import until

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

STALE = "/stale"
SLOW = "/slow"
HALF = "/half"
HALF_BYTES = 1000


class Forking:
    """One app, in the parent and in the child."""

    def __init__(self, store: str, namespace: str) -> None:
        lines = [("cache-control", "max-age=0, stale-while-revalidate=600")]
        self.page = Recorder(lines, before=self._wait)
        self.app = asgi_cache.CacheMiddleware(
            self._serve,
            store=store,
            namespace=namespace,
            collapse_timeout=1,
            store_timeout=5,
            request_store_timeout=10,
        )
        self.gate: asyncio.Event | None = None
        self._waiting = 0
        self._filling: list[asyncio.Task[Exchange]] = []

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != HALF:
            await self.page(scope, receive, send)
            return
        body = b"-" * HALF_BYTES
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": BODY, "body": body, "more_body": True})
        if self.gate is not None:
            self._waiting += 1
            await self.gate.wait()
        await send({"type": BODY, "body": body})

    async def _wait(self, scope: Scope) -> None:
        background = (b"user-agent", b"asgi-cache") in scope["headers"]
        if self.gate is not None and (background or scope["path"] == SLOW):
            self._waiting += 1
            await self.gate.wait()

    def _is_quiet(self) -> bool:
        return not self.app._revalidations._tasks

    async def begin(self) -> None:
        """Two fills, one of which has half of its body, and a revalidation under way."""
        await drive(self.app, STALE)
        self.gate = asyncio.Event()
        assert (await drive(self.app, STALE)).hit
        self._filling = [asyncio.create_task(drive(self.app, path)) for path in (SLOW, HALF)]
        await until(lambda: self._waiting == 3)
        assert self.app.cache.filling_bytes == HALF_BYTES

    async def child(self) -> None:
        """All again, in a loop of its own."""
        self.gate = None
        assert self.app.cache.filling_bytes == 0
        calls = self.page.calls
        assert (await drive(self.app, STALE)).hit
        await until(lambda: self.page.calls == calls + 1 and self._is_quiet())
        assert (await drive(self.app, SLOW)).status == 200
        assert self.page.calls == calls + 2
        assert len((await drive(self.app, HALF)).body) == 2 * HALF_BYTES
        assert self.app.cache.filling_bytes == 0
        for inherited in self._filling:  # as when the child ends: their shares are the parent's
            inherited.get_coro().close()
        assert self.app.cache.filling_bytes == 0
        await self.app.cache.aclose()

    async def end(self) -> None:
        """What was under way in the parent ends there as if nothing had been."""
        assert self.gate is not None
        self.gate.set()
        slow, half = await asyncio.gather(*self._filling)
        assert (slow.status, slow.told["path"]) == (200, SLOW)
        assert len(half.body) == 2 * HALF_BYTES
        assert self.app.cache.filling_bytes == 0
        await until(self._is_quiet)
        assert (await drive(self.app, STALE)).hit
        await until(self._is_quiet)
        await self.app.cache.aclose()


def main(store: str, namespace: str) -> None:
    """Fork in the middle; exit 0 where parent and child are content."""
    forking = Forking(store, namespace)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(forking.begin())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(forking.child())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # not closing the loop, as its selector is the parent's, too
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    loop.run_until_complete(forking.end())
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
