"""Cases O03, O04: a worker that is told to end (SIGTERM) while it fills and revalidates."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.client import asked
from tests.lifecycle.processes import LATE_SECONDS, PATIENT, Worker, cache_of, running

if TYPE_CHECKING:
    from tests.lifecycle.client import Answer
    from tests.lifecycle.conftest import Keys

FILLS = 50
LOOKS_SECONDS = 0.3
"""What uvicorn takes to end with nothing to wait for: it looks every 0.1 s."""
COOKIE = [("Cookie", "user=ann")]


async def looks_seconds() -> float:
    """That on this machine as busy as it is now, twice over where it is slow."""
    worker = Worker("idle")
    with running(worker):
        began = time.monotonic()
        await asyncio.to_thread(worker.end)
        await asyncio.to_thread(worker.ended)
        return max(LOOKS_SECONDS, 2 * (time.monotonic() - began))


def urls(name: str, number: int, wish: str) -> list[str]:
    return [f"/{name}/{index}?{wish}" for index in range(number)]


async def begun(worker: Worker, targets: list[str], times: int = 1) -> list[asyncio.Task[Answer]]:
    """Requests for *targets*, each of which has reached the app; further ones wait for them."""
    first = [asyncio.create_task(asked(worker.port, target, COOKIE)) for target in targets]
    await asyncio.to_thread(worker.reached, len(targets))
    others = [asked(worker.port, target, COOKIE) for target in targets for _ in range(times - 1)]
    return first + [asyncio.create_task(other) for other in others]


@pytest.mark.parametrize("name", ["plain", "ruled"])
@pytest.mark.parametrize("wait", ["start", "body"])
async def test_o03_sigterm_with_fifty_fills_in_flight(
    redis_url: str, namespace: str, keys: Keys, name: str, wait: str
) -> None:
    """All are answered and stored, and no lease is left; a ruled path's runs are anonymous."""
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT}
    options |= {"paths": {"/ruled/{x}": 60}, "cookies": "ignore", "collapse_timeout": 30}
    one, two = Worker("one", **options), Worker("two", **options)
    targets = urls(name, FILLS, f"wait={wait}&bytes=3000&chunks=3")
    with running(one, two):
        requests = await begun(one, targets)
        assert len(keys.leases()) == FILLS
        await asyncio.to_thread(one.end)
        one.open()
        answers = await asyncio.gather(*requests)
        answered = time.monotonic()
        await asyncio.to_thread(one.ended)
        took = time.monotonic() - answered
        print(f"O03 {name}, {wait}: {FILLS} answers, ended {took:.2f} s after the last")
        assert took < 1 + await looks_seconds()
        assert keys.leases() == []
        assert len(keys.records()) == FILLS
        for target, answer in zip(targets, answers, strict=True):
            assert target.startswith(answer.told.path)
            again = await asked(two.port, target, COOKIE)
            assert again.is_hit
            assert again.told == answer.told
        one.check_log()


@pytest.mark.parametrize("name", ["plain", "ruled"])
@pytest.mark.parametrize("wait", ["start", "body"])
async def test_o03_what_is_cancelled_at_the_end_gives_its_leases_back(
    redis_url: str, namespace: str, keys: Keys, name: str, wait: str
) -> None:
    """The server waits no longer and cancels; other workers need not wait for what is gone."""
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT}
    options |= {"paths": {"/ruled/{x}": 60}, "cookies": "ignore", "collapse_timeout": 30}
    worker = Worker("one", graceful=0, **options)
    with running(worker):
        requests = await begun(worker, urls(name, FILLS, f"wait={wait}&chunks=3"))
        assert len(keys.leases()) == FILLS
        began = time.monotonic()
        await asyncio.to_thread(worker.end)
        await asyncio.to_thread(worker.ended)
        took = time.monotonic() - began
        left = keys.leases()
        print(f"O03 {name}, {wait}: cancelled, ended after {took:.2f} s, {len(left)} leases left")
        assert left == []
        assert keys.records() == []
        assert took < 1 + await looks_seconds()
        for answer in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, EOFError | OSError)
            else:
                assert answer.status == 500


async def test_o03_those_who_wait_for_a_fill_are_answered_too(
    redis_url: str, namespace: str, keys: Keys
) -> None:
    worker = Worker(store=redis_url, namespace=namespace, cookies="ignore", **PATIENT)
    targets = urls("page", 10, "wait=body&chunks=3")
    with running(worker):
        requests = await begun(worker, targets, 5)
        async with asyncio.timeout(LATE_SECONDS):
            while len((await asyncio.to_thread(worker.state))["tasks"]) < len(requests):
                pass
        await asyncio.to_thread(worker.end)
        worker.open()
        answers = await asyncio.gather(*requests)
        await asyncio.to_thread(worker.ended)
        assert len({answer.told.serial for answer in answers}) == len(targets)
        assert keys.leases() == []
        worker.check_log()


@pytest.mark.parametrize("name", ["plain", "ruled"])
@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_o04_sigterm_during_revalidations(
    redis_url: str, namespace: str, keys: Keys, name: str, kind: str
) -> None:
    """They are nobody's requests: the exit is not delayed by more than a second."""
    options: dict[str, Any] = {"store": redis_url if kind == "redis" else "memory://", **PATIENT}
    options |= {"paths": {"/ruled/{x}": {"ttl": 60}}, "cookies": "ignore", "collapse_timeout": 30}
    worker = Worker(namespace=namespace, **options)
    # A page that is stale from the first has no lease; a purge makes one stale that would have.
    seconds = 60 if kind == "redis" else 0
    wish = f"wait=background&says=public,max-age={seconds},stale-while-revalidate=600"
    targets = urls(name, 20, wish)
    with running(worker):
        for target in targets:
            await asked(worker.port, target)
        if kind == "redis":
            async with cache_of(redis_url, namespace) as cache:
                await cache.purge_all(soft=True)
        stale = [await asked(worker.port, target) for target in targets]
        assert all(answer.is_hit for answer in stale)
        await asyncio.to_thread(worker.reached, len(targets))
        if kind == "redis":
            assert len(keys.leases()) == len(targets)
        began = time.monotonic()
        await asyncio.to_thread(worker.end)
        await asyncio.to_thread(worker.ended)
        took = time.monotonic() - began
        print(f"O04 {name}, {kind}: {len(targets)} revalidations, ended after {took:.2f} s")
        assert took < 1 + await looks_seconds()
        assert keys.leases() == []
        worker.check_log()
