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
from tests.driver import Exchange, Recorder, drive
from tests.stores.wire import until

if TYPE_CHECKING:
    from starlette.types import Scope

STALE = "/stale"
SLOW = "/slow"


class Forking:
    """One app, in the parent and in the child."""

    def __init__(self, store: str, namespace: str) -> None:
        lines = [("cache-control", "max-age=0, stale-while-revalidate=600")]
        self.page = Recorder(lines, before=self._wait)
        self.app = asgi_cache.CacheMiddleware(
            self.page,
            store=store,
            namespace=namespace,
            collapse_timeout=1,
            store_timeout=5,
            request_store_timeout=10,
        )
        self.gate: asyncio.Event | None = None
        self._waiting = 0
        self._filling: asyncio.Task[Exchange] | None = None

    async def _wait(self, scope: Scope) -> None:
        background = (b"user-agent", b"asgi-cache") in scope["headers"]
        if self.gate is not None and (background or scope["path"] == SLOW):
            self._waiting += 1
            await self.gate.wait()

    def _is_quiet(self) -> bool:
        return not self.app._revalidations._tasks

    async def begin(self) -> None:
        """A fill and a revalidation under way."""
        await drive(self.app, STALE)
        self.gate = asyncio.Event()
        assert (await drive(self.app, STALE)).hit
        self._filling = asyncio.create_task(drive(self.app, SLOW))
        await until(lambda: self._waiting == 2)

    async def child(self) -> None:
        """Both again, in a loop of its own."""
        self.gate = None
        calls = self.page.calls
        assert (await drive(self.app, STALE)).hit
        await until(lambda: self.page.calls == calls + 1 and self._is_quiet())
        assert (await drive(self.app, SLOW)).status == 200
        assert self.page.calls == calls + 2
        await self.app.cache.aclose()

    async def end(self) -> None:
        """What was under way in the parent ends there as if nothing had been."""
        assert self.gate is not None
        assert self._filling is not None
        self.gate.set()
        exchange = await self._filling
        assert (exchange.status, exchange.told["path"]) == (200, SLOW)
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
