"""One worker process: two sites, their clients, and a report in JSON as its last line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asgi_cache
from tests.security.checker.app import App
from tests.security.checker.board import Board
from tests.security.checker.clients import Clients, Site
from tests.security.checker.judge import COLLAPSE_SECONDS
from tests.security.checker.pages import PATHS, SITES

MAX_BODY_BYTES = 200_000
PARENT_SECONDS = 1.0
SETTLING_SECONDS = 1.0
"""What is still under way at the end has so long to end by itself, and as long when closed."""


async def work(config: dict[str, Any]) -> dict[str, Any]:
    """Run clients until all are to end; the report."""
    worker, seed = config["worker"], config["seed"]
    board = Board(Path(config["board"]), config["workers"])
    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(complain)
    sites = []
    for name in SITES:
        cache = asgi_cache.Cache(
            store=config["redis"],
            namespace=f"checker-{name}",
            paths=PATHS,
            collapse_timeout=COLLAPSE_SECONDS,
            max_body_bytes=MAX_BODY_BYTES,
        )
        app = App(name, worker, board, seed)
        sites.append(Site(app, cache, asgi_cache.wrap(app, cache=cache)))
    clients = Clients(sites, worker, board, seed)
    await clients.run(config["clients"])
    # Revalidations may still be under way, and releases of leases.
    await asyncio.sleep(SETTLING_SECONDS)
    left: list[str] = []
    metrics: dict[str, int] = {}
    for site in sites:
        left += [f"{site.cache.filling_bytes} bytes of fills"] * (site.cache.filling_bytes != 0)
        for label, number in site.cache.metrics.by_label().items():
            metrics[label] = metrics.get(label, 0) + number
        try:
            await site.cache.aclose()
        except asgi_cache.CacheError as error:
            complaints.append(f"close: {error!r}")
    await asyncio.sleep(SETTLING_SECONDS)
    left += [repr(task) for task in _others()]
    places = {one["place"]: one["place"].split(" ") for one in clients.shown}
    events = [
        (at, place, f"worker {worker}: {text}")
        for at, place, text in clients.events
        if any(_touches(place.split(" "), wanted) for wanted in places.values())
    ]
    board.close()
    return {
        "counts": dict(clients.counts),
        "wrong": dict(clients.wrong),
        "shown": clients.shown,
        "events": events,
        "added": {name: dict(counter) for name, counter in clients.added.items()},
        "at_once": [dict(site.app.at_once) for site in sites],
        "waited_for": sum(site.app.waited_for for site in sites),
        "beyond": sum(site.app.beyond for site in sites),
        "longest_stall_ms": clients.longest_stall // 1_000_000,
        "left": left,
        "complaints": complaints[:20],
        "metrics": metrics,
    }


def _others() -> list[asyncio.Task[Any]]:
    here = asyncio.current_task()
    return [task for task in asyncio.all_tasks() if task is not here]


def _touches(place: list[str], wanted: list[str]) -> bool:
    """Whether what happened at *place* concerns the answer at *wanted*."""
    if place[0] != wanted[0]:
        return False
    return place[1] in ("all", "group") or place[2:4] == wanted[2:4]


def end_with(parent: int) -> None:
    """End this process when *parent* has ended, however that happened."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def main() -> None:
    """The process: its configuration is its one argument."""
    config = json.loads(sys.argv[1])
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    logging.basicConfig(level=logging.ERROR)
    factory = None
    if config["uvloop"]:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        report = runner.run(work(config))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
