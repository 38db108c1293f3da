"""A worker, and then Redis, that is suspended (SIGSTOP) and goes on later (SIGCONT)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conftest import keys_without_end
from tests.lifecycle.client import HOST, Client, asked
from tests.lifecycle.processes import PATIENT, Worker, cache_of, running
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lifecycle.conftest import Keys

PAGES: Final = 20
LEASE_SECONDS: Final = 1.0


def targets_of(way: str) -> list[str]:
    return [f"/{way}/{number}?more=cache-groups:%22{way}%22" for number in range(PAGES)]


@pytest.mark.parametrize("way", ["url", "group", "all"])
async def test_what_was_purged_while_a_worker_was_suspended_is_not_served_by_it(
    redis_url: str, namespace: str, keys: Keys, way: str
) -> None:
    """It stands still for a second: as long as the lease of a fill which that interrupts.

    Another worker makes the page; what the first makes in the end is not stored over it.
    """
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT}
    options["collapse_timeout"] = LEASE_SECONDS
    one, two = Worker("one", **options), Worker("two", **options)
    targets = targets_of(way)
    with running(one, two):
        async with cache_of(redis_url, namespace) as cache:
            before = [(await asked(one.port, target)).told for target in targets]
            interrupted = f"/{way}/interrupted?wait=start&more=cache-groups:%22{way}%22"
            filling = asyncio.create_task(asked(one.port, interrupted))
            await asyncio.to_thread(one.reached)
            async with Client(one.port) as kept:
                assert (await kept.ask(targets[0])).is_hit
                one.signal(signal.SIGSTOP)
                one.open()
                # Sent to it while it stands still, before the purge has begun.
                await kept.send(targets[1])
                await keys.released(LEASE_SECONDS + 1)
                two.open()
                remade = (await asked(two.port, interrupted)).told
                assert remade.worker == "two"
                if way == "all":
                    await cache.purge_all()
                elif way == "group":
                    await cache.purge(group=way)
                else:
                    for target in targets:
                        await cache.purge(f"http://{HOST}{target}")
                one.signal(signal.SIGCONT)
                status, fields = await kept.head()
                assert status == 200
                await kept.body(fields)
            late = (await filling).told
            assert late.worker == "one"
            after = [(await asked(one.port, target)).told for target in targets]
            for old, new in zip(before, after, strict=True):
                assert new.version > remade.version > old.version
            told = (await asked(one.port, interrupted)).told
            assert told != late
            assert way != "url" or told == remade
        await keys.released()
        one.check_log()
        two.check_log()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def test_nothing_but_hits_is_lost_while_redis_is_suspended(
    own_redis: RedisServer, namespace: str
) -> None:
    """Its clients are answered all the time, and what is purged meanwhile comes out nowhere."""
    worker = Worker(store=own_redis.url, namespace=namespace)
    with running(worker):
        async with cache_of(own_redis.url, namespace) as cache, Client(worker.port) as client:
            targets = targets_of("redis")
            before = [(await client.ask(target)).told for target in targets]
            own_redis.pause()
            await asyncio.gather(
                cache.purge(f"http://{HOST}{targets[0]}", on_error="queue"),
                cache.purge(group="redis", on_error="queue"),
            )
            meanwhile = [(await client.ask(target)).told for target in targets]
            for old, new in zip(before, meanwhile, strict=True):
                assert new.version > old.version
            own_redis.resume()
            async with asyncio.timeout(10):
                while cache.health().waiting:  # noqa: ASYNC110 - the journal tells nobody
                    await asyncio.sleep(0.02)
            for target, old in zip(targets, before, strict=True):
                assert (await client.ask(target)).told.version > old.version
        assert keys_without_end(own_redis.url) == []
        worker.check_log()
