"""Crowds over several processes: cases C02 and C03, and a hot URL that nobody may share."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.figures.telling import tell
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
WORKERS = 4
APP_SECONDS = 0.2
SLACK = 0.050
PATIENT = {"store_timeout": 5.0, "request_store_timeout": 10.0, "collapse_timeout": 30.0}
"""Four processes begin at once on a machine that may be busy: what is judged is not its haste."""


async def crowd(workers: int, **config: Any) -> list[dict[str, Any]]:
    """The reports of *workers* processes that ask at the same time."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.figures.crowd", json.dumps(config)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(workers)
    ]

    async def all_say(word: str) -> None:
        for process in processes:
            assert process.stdout is not None
            assert (await process.stdout.readline()).decode().strip() == word

    def tell_all(word: str) -> None:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())

    try:
        async with asyncio.timeout(60):
            await all_say("ready")
            tell_all("go")
            if config["app_seconds"] is None:
                await all_say("waiting")
                tell_all("answer")
            outputs = [await process.communicate() for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


@pytest.mark.parametrize("redis", ["up", "down"])
async def test_c02_c03_a_thousand_misses_of_four_processes(
    redis: str, redis_url: str, namespace: str
) -> None:
    """All 1,000 wait before the one call that there is may answer."""
    url = redis_url if redis == "up" else f"redis://127.0.0.1:{free_port()}/0"
    reports = await crowd(
        WORKERS,
        store=url,
        namespace=namespace,
        requests=250,
        app_seconds=None,
        lines=[["cache-control", "max-age=60"]],
        settings=PATIENT,
    )
    calls = [report["calls"] for report in reports]
    answers = sum(report["answers"] for report in reports)
    if redis == "up":
        tell("misses", "redis up", misses=answers, calls=sum(calls))
        assert sum(calls) == 1
        assert len({body for report in reports for body in report["bodies"]}) == 1
    else:
        tell("misses", "redis down", misses=answers, calls_a_worker_without_redis=max(calls))
        assert calls == [1] * WORKERS
        assert all(len(report["bodies"]) == 1 for report in reports)
    assert answers == 1000


@pytest.mark.flaky(reruns=4)  # what is late may be the machine: the best counts
@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_a_hot_uncacheable_url_queues_nobody(
    store: str, redis_url: str, namespace: str
) -> None:
    """The first time that it is asked for: nobody knows yet that it may not be shared."""
    workers = 1 if store == "memory" else WORKERS
    reports = await crowd(
        workers,
        store="memory://" if store == "memory" else redis_url,
        namespace=namespace,
        requests=100 // workers,
        app_seconds=APP_SECONDS,
        lines=[["cache-control", "no-store"]],
        settings={},
    )
    longest = max(report["seconds"] for report in reports)
    beyond = longest - 2 * APP_SECONDS
    clients = sum(report["answers"] for report in reports)
    tell("uncacheable", store, clients=clients, ms_beyond_twice_the_app_time=beyond * 1000)
    assert sum(report["calls"] for report in reports) == clients == 100
    assert sum(len(report["bodies"]) for report in reports) == 100
    assert beyond <= SLACK
