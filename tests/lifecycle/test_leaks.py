"""Case O06 and clients that go away at random (C06): nothing stays behind, nothing short is stored.

``LEAK_REQUESTS`` and ``DISCONNECTS`` make the long runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conftest import keys_without_end
from tests.figures.telling import tell
from tests.lifecycle.processes import LATE_SECONDS, PATIENT, Worker, running
from tests.lifecycle.traffic import Traffic

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Keys

LEAK_REQUESTS: Final = int(os.environ.get("LEAK_REQUESTS", "6000"))
DISCONNECTS: Final = int(os.environ.get("DISCONNECTS", "500"))
WARM_UP: Final = max(3000, LEAK_REQUESTS // 5)
"""Requests until what is bounded is full: memory grows towards that, and then no more."""
CLIENTS: Final = 16
REDIS_CONNECTIONS: Final = 17
"""What a worker opens to Redis at most: 16 for exchanges, one for messages."""
MIB: Final = 2**20


async def quiet(worker: Worker, tasks: list[str]) -> dict[str, Any]:
    """What *worker* holds once it has no more to do than at the beginning, or at the latest."""
    state: dict[str, Any] = {}
    for _ in range(100):
        state = await asyncio.to_thread(worker.state)
        if state["tasks"] == tasks and not state["filling"]:
            break
        await asyncio.sleep(LATE_SECONDS / 1000)
    return state


async def begun(worker: Worker) -> dict[str, Any]:
    """What *worker* holds with its near tier on, if it has one, and nothing under way."""
    await Traffic(worker.port, share=0, pause=0, seed=0).run(1, 1)
    state: dict[str, Any] = {}
    for _ in range(100):
        before, state = state, await asyncio.to_thread(worker.state)
        # The request that was asked may not have returned yet, nor what it leaves to others.
        runs = any("run_asgi" in task for task in state["tasks"])
        if state["near"] != "off" and not runs and state["tasks"] == before.get("tasks"):
            break
        await asyncio.sleep(LATE_SECONDS / 1000)
    return state


def options_of(store: str, namespace: str) -> dict[str, Any]:
    paths = {"/ruled/{page}": 60}
    return {"store": store, "namespace": namespace, "paths": paths, "cookies": "ignore", **PATIENT}


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_o06_many_requests_with_random_cancels_leave_nothing(
    redis_url: str, namespace: str, keys: Keys, kind: str
) -> None:
    """Tasks, descriptors and connections are back where they were, and memory is."""
    store = redis_url if kind == "redis" else "memory://"
    worker = Worker(**options_of(store, namespace))
    requests = LEAK_REQUESTS if kind == "redis" else LEAK_REQUESTS // 10
    with running(worker):
        start = await begun(worker)
        warming = Traffic(worker.port, share=0.1, pause=0, seed=1)
        await warming.run(WARM_UP, CLIENTS)
        warm = await quiet(worker, start["tasks"])
        traffic = Traffic(worker.port, share=0.1, pause=0, seed=2)
        await traffic.run(requests, CLIENTS)
        end = await quiet(worker, start["tasks"])
        grown = (end["resident"] - warm["resident"]) / MIB
        opened = end["descriptors"] - start["descriptors"]
        allowed = REDIS_CONNECTIONS if kind == "redis" else 0
        print(f"O06 {kind}: {requests} requests: {traffic.told()}")
        print(f"O06 {kind}: {opened} descriptors more, {len(end['tasks'])} tasks, {grown:+.2f} MiB")
        tell(
            "leaks",
            kind,
            requests=requests,
            tasks=len(end["tasks"]) - len(start["tasks"]),
            descriptors=max(0, opened - allowed),
            mib=max(0.0, grown),
            wrong=len(traffic.wrong),
        )
        assert traffic.wrong == warming.wrong == []
        assert traffic.counts["hits"] > requests / 4
        assert end["tasks"] == start["tasks"]
        assert end["filling"] == 0
        assert opened <= allowed
        assert grown < 5
        await keys.released()
        worker.check_log()


async def test_c06_clients_that_go_away_at_random(
    redis_url: str, namespace: str, keys: Keys
) -> None:
    """Each next client of the page has it whole; the app is slow, so that they do go in between."""
    worker = Worker(**options_of(redis_url, namespace))
    with running(worker):
        start = await begun(worker)
        traffic = Traffic(worker.port, share=1, pause=0.001, seed=3)
        await traffic.run(DISCONNECTS, CLIENTS)
        end = await quiet(worker, start["tasks"])
        print(f"C06 {DISCONNECTS} disconnects: {traffic.told()}")
        with contextlib.suppress(TimeoutError):
            await keys.released()
        tell(
            "disconnects",
            disconnects=DISCONNECTS,
            wrong=len(traffic.wrong),
            tasks=len(end["tasks"]) - len(start["tasks"]),
            leases=len(keys.leases()),
        )
        assert traffic.wrong == []
        assert end["tasks"] == start["tasks"]
        assert end["filling"] == 0
        assert end["metrics"].get("store_failures", 0) == 0
        assert keys.leases() == []
        assert keys_without_end(redis_url) == []
        worker.check_log()
