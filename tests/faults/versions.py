"""A worker process whose app answers with a version that lies in Redis; commands come by stdin.

``get``: one request; the version that it got. ``await V``: hold the page near, say so, then ask
until it has version V at least; when the last request began that still got an older one, by the
clock of the machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from asgi_cache import Cache, CacheMiddleware, TieredStore
from tests.driver import BODY, START, drive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from asgi_cache.stores import Store

PAUSE = 0.001
"""Seconds between two requests of one who waits for a version."""


def version_key(namespace: str) -> str:
    """Where the version lies that apps answer with."""
    return f"version-of:{namespace}"


class Versioned:
    """The app of a worker, behind its cache."""

    def __init__(self, url: str, namespace: str) -> None:
        self.client: Any = Redis.from_url(url)
        self.key = version_key(namespace)
        self.cache = Cache(store=url, namespace=namespace)
        self.app = CacheMiddleware(self._answer, cache=self.cache)
        self.far = 0
        """Requests that were not answered near."""
        tier = self.cache.store
        assert isinstance(tier, TieredStore)
        far_for_request = tier.far_for_request

        def counted() -> Store:
            self.far += 1
            return far_for_request()

        tier.far_for_request = counted

    async def get(self) -> int:
        """The version that one request gets."""
        return int((await drive(self.app, "/page")).body)

    async def warm(self) -> None:
        """Return when the page is answered near."""
        while True:
            before = self.far
            await self.get()
            if self.far == before:
                return
            await asyncio.sleep(PAUSE)

    async def aclose(self) -> None:
        """Close everything."""
        await self.cache.aclose()
        await self.client.aclose()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = await self.client.get(self.key)
        headers = [
            (b"cache-control", b"max-age=600"),
            (b"content-length", b"%d" % len(version)),
        ]
        await send({"type": START, "status": 200, "headers": headers})
        await send({"type": BODY, "body": version})


async def work(url: str, namespace: str) -> None:
    """Carry out what stdin says, until it ends."""
    worker = Versioned(url, namespace)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        match line.split():
            case [b"get"]:
                tell(await worker.get())
            case [b"warm"]:
                await worker.warm()
                tell("warm")
            case [b"await", version]:
                await worker.warm()
                tell("warm")
                last, began = 0.0, time.monotonic()
                while await worker.get() < int(version):
                    await asyncio.sleep(PAUSE)
                    last, began = began, time.monotonic()
                tell(last)
    await worker.aclose()


def tell(what: object) -> None:
    """One line of output."""
    print(json.dumps(what), flush=True)


class Worker:
    """Such a process, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, url: str, namespace: str) -> Worker:
        """A new one."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.versions", url, namespace),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    def say(self, command: str) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())

    async def hear(self) -> Any:
        """What it answers."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return json.loads(await self.process.stdout.readline())

    async def end(self) -> None:
        """Have it end, and wait for that."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        async with asyncio.timeout(30):
            await self.process.wait()


def main(arguments: Sequence[str]) -> None:
    """The process: the URL of a Redis, and a namespace."""
    logging.basicConfig(level=logging.ERROR)  # a busy machine is not what is looked at
    asyncio.run(work(arguments[0], arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
