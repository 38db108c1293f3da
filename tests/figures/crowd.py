"""One worker process of a crowd: many requests at once for one URL, behind a cache of its own.

It speaks with its parent over its standard streams, a line at a time: ``ready``; told ``go``, it
asks; ``waiting`` once its app is called or all of its requests wait for another worker's; told
``answer``, its app answers. Its last line is a report in JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import asgi_cache
from asgi_cache.collapsing import Flight
from tests.driver import BODY, START, drive
from tests.machine import Stopwatch

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


HOT: Final = "/hot"


class App:
    """It answers when it is let, or after some seconds, and counts its calls."""

    def __init__(self, lines: list[list[str]], seconds: float | None) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self._lines = [(name.encode(), value.encode()) for name, value in lines]
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        hot = scope["path"] == HOT
        self.calls += hot
        serial = f"{os.getpid()} {self.calls}".encode()
        if not hot:
            pass
        elif self._seconds is None:
            await self.gate.wait()
        else:
            await asyncio.sleep(self._seconds)
        await send({"type": START, "status": 200, "headers": self._lines})
        await send({"type": BODY, "body": serial})


async def heard(word: str) -> None:
    """Wait until the parent says *word*."""
    line = await asyncio.to_thread(sys.stdin.readline)
    assert line.strip() == word, line


async def work(config: dict[str, Any]) -> dict[str, Any]:
    """Ask; the report."""
    app = App(config["lines"], config["app_seconds"])
    wrapped = asgi_cache.wrap(
        app, store=config["store"], namespace=config["namespace"], **config["settings"]
    )
    number = config["requests"]
    followers = 0
    all_wait = asyncio.Event()
    follow = Flight.follow

    async def counted(self: Flight, suits: Any, seconds: float) -> Any:
        nonlocal followers
        followers += 1
        if followers == number - 1:  # and one leads
            all_wait.set()
        return await follow(self, suits, seconds)

    Flight.follow = counted  # type: ignore[method-assign]
    await drive(wrapped, "/warm")  # connections are there, and everything is imported
    seconds: list[float] = []

    async def one() -> str:
        watch = Stopwatch()
        exchange = await drive(wrapped, HOT)
        seconds.append(watch.seconds)
        assert exchange.complete
        assert exchange.status == 200
        return exchange.body.decode()

    print("ready", flush=True)
    await heard("go")
    tasks = [asyncio.ensure_future(one()) for _ in range(number)]
    if config["app_seconds"] is None:
        await all_wait.wait()
        print("waiting", flush=True)
        await heard("answer")
        app.gate.set()
    bodies = await asyncio.gather(*tasks)
    return {
        "calls": app.calls,
        "bodies": sorted(set(bodies)),
        "answers": len(bodies),
        "seconds": max(seconds),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(json.loads(sys.argv[1])))), flush=True)
