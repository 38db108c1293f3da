"""``python -m tests.faults.purges``: how soon a purge is seen by every worker with a near tier.

Each time every worker holds the page near, a process of its own purges it, and the time is taken
from the return of the purge to the beginning of the last request that a worker still answers with
what is old.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from asgi_cache import Cache
from tests.driver import HOST
from tests.faults.versions import Worker, version_key
from tests.figures.telling import tell
from tests.servers import RedisServer

P99_MS: Final = 50.0
MOST_MS: Final = 150.0


async def purges(url: str, number: int, workers: int) -> dict[str, Any]:
    """The figures of *number* purges over so many *workers*."""
    namespace = f"purges-{uuid.uuid4().hex}"
    took: list[float] = []
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        client: Any = await stack.enter_async_context(Redis.from_url(url))
        await client.set(version_key(namespace), 0, px=3_600_000)
        # One that keeps nothing near: as the command line, or another language.
        purger = Cache(store=url, namespace=namespace, near_bytes=0)
        stack.push_async_callback(purger.aclose)
        crew = [await Worker.start(url, namespace) for _ in range(workers)]
        for worker in crew:
            stack.push_async_callback(worker.end)
        for version in range(1, number + 1):
            for worker in crew:
                worker.say(f"await {version}")
            for worker in crew:
                assert await worker.hear() == "warm"
            await client.set(version_key(namespace), version, px=3_600_000)
            await purger.purge(f"http://{HOST}/page")
            returned = time.monotonic()
            took += [max(0.0, await worker.hear() - returned) for worker in crew]
    took.sort()

    def quantile(share: float) -> float:
        return round(1000 * took[min(len(took) - 1, int(share * len(took)))], 2)

    return {
        "purges": number,
        "workers": workers,
        "seconds": round(time.monotonic() - began, 1),
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
        "max_ms": round(1000 * took[-1], 2),
    }


def main() -> int:
    """Run, print, keep; 1 where the figures are not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.purges", description=__doc__)
    parser.add_argument("--purges", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the figures")
    options = parser.parse_args()
    with RedisServer() as server:
        figures = asyncio.run(purges(server.url, options.purges, options.workers))
    text = json.dumps(figures, indent=2)
    print(text)
    tell("purges seen", "all", **{name: figures[name] for name in ("purges", "p99_ms", "max_ms")})
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if figures["p99_ms"] <= P99_MS and figures["max_ms"] <= MOST_MS else 1


if __name__ == "__main__":
    sys.exit(main())
