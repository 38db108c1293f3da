"""Case O05: workers that are killed (SIGKILL), the leader of a fill among them.

``KILL_SECONDS`` makes the long run of the kill loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.conftest import keys_without_end
from tests.figures.telling import tell
from tests.lifecycle.client import HOST, Client, asked
from tests.lifecycle.processes import PATIENT, Worker, cache_of, running
from tests.machine import Stopwatch
from tests.security.harness import read

if TYPE_CHECKING:
    import asgi_cache
    from tests.lifecycle.client import Answer
    from tests.lifecycle.conftest import Keys

KILL_SECONDS: Final = float(os.environ.get("KILL_SECONDS", "4"))
WORKERS: Final = 4
NEAR: Final = ("0", "1")
"""Those that have a near tier."""
CLIENTS: Final = 8
PAGES: Final = 40
LEASE_SECONDS: Final = 2.0
"""``collapse_timeout`` of the loop: how long a lease lives."""
SLACK_SECONDS: Final = 1.0
LIVES: Final = (0, 2, 30)
"""Seconds that pages are fresh: some for longer than a near tier may be behind."""
NEAR_SECONDS: Final = 2.0
"""So much later than a purge has returned a worker with a near tier hears of it at the worst."""


async def test_o05_the_leaders_worker_is_killed(redis_url: str, namespace: str, keys: Keys) -> None:
    """With the defaults the next one answers within 5 s and what its app takes."""
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace}
    one, two = Worker("one", **options), Worker("two", **options)
    target = "/page?wait=start&bytes=5000"
    with running(one, two):
        leading = asyncio.create_task(asked(one.port, target))
        await asyncio.to_thread(one.reached)
        (lease,) = keys.leases()
        watch = Stopwatch()
        waiting = [asyncio.create_task(asked(two.port, target)) for _ in range(10)]
        two.open()
        one.kill()
        assert 0 < keys.lives([lease])[0] <= 5000
        answers = await asyncio.gather(*waiting)
        took, watch = watch.seconds, Stopwatch()
        others = [asked(two.port, f"/other/{number}?bytes=5000") for number in range(10)]
        await asyncio.gather(*others)
        own = watch.seconds
        print(
            f"O05 the leader's worker is killed: its followers have answers after {took:.2f} s, "
            f"of which {own:.3f} are what ten misses take"
        )
        tell("killed", "leader", seconds_to_answer=max(0.0, took - own))
        assert took < 5 + SLACK_SECONDS
        assert {answer.told.worker for answer in answers} == {"two"}
        await keys.released()
        assert isinstance((await asyncio.gather(leading, return_exceptions=True))[0], Exception)
        two.check_log()


class Loop:
    """Clients of workers that are killed; what they got."""

    def __init__(self, workers: list[Worker], cache: asgi_cache.Cache) -> None:
        self.workers = workers
        self.cache = cache
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.over = False
        self.away: set[Worker] = set()
        """Killed, and not yet there again."""
        self._purged: dict[str, list[tuple[int, float]]] = {}
        """When the purges of a target began, and when each had returned (seconds)."""

    async def start(self, worker: Worker) -> None:
        """Have a killed one serve again."""
        await asyncio.to_thread(worker.start)
        await asyncio.to_thread(worker.wait)
        self.away.discard(worker)

    async def client(self, seed: int) -> None:
        """Ask until the end; a connection that breaks is an answer only of a killed worker."""
        draw = random.Random(seed)
        while not self.over:
            worker = draw.choice([one for one in self.workers if one not in self.away])
            kills = worker.kills
            async with Client(worker.port) as client:
                try:
                    for _ in range(draw.randrange(1, 20)):
                        await self._one(client, draw, worker)
                except (OSError, EOFError) as error:
                    if kills == worker.kills and worker not in self.away:
                        self.wrong.append(f"{worker.name}: {error!r}")
                    self.counts["broken off"] += 1

    async def _one(self, client: Client, draw: random.Random, worker: Worker) -> None:
        page = draw.randrange(PAGES)
        target = f"/page/{page}?bytes={page * 500}&chunks={1 + page % 4}&length={page % 2}"
        target += f"&says=public,max-age={LIVES[page % 3]}"
        purges = self._purged.setdefault(target, [])
        heard = time.monotonic() - (NEAR_SECONDS if worker.name in NEAR else 0.0)
        least = max((began for began, ended in purges if ended <= heard), default=0)
        answer = await client.ask(target)
        self.counts["hits" if answer.is_hit else "other answers"] += 1
        self._judge(target, answer, least)
        if draw.random() < 0.01:
            began = time.monotonic_ns()
            await self.cache.purge(f"http://{HOST}{target}")
            purges.append((began, time.monotonic()))
            self.counts["purges"] += 1

    def _judge(self, target: str, answer: Answer, least: int) -> None:
        try:
            told = read(answer.body)
        except (AssertionError, ValueError) as error:
            self.wrong.append(f"{target}: {error!r}")
            return
        if answer.status != 200 or f"{told.path}?{told.query}" != target:
            self.wrong.append(f"{target}: {answer.status}, {told}")
        if told.version < least:
            self.wrong.append(f"{target}: made before a purge that had returned: {told}")


async def test_o05_kill_loop(redis_url: str, namespace: str, keys: Keys) -> None:
    """A random one of four, of which two have a near tier, is killed each second and started again.

    Without a near tier a purge holds as soon as it has returned.
    """
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT}
    options["collapse_timeout"] = LEASE_SECONDS
    far = {**options, "near_bytes": 0}
    workers = [
        Worker(str(number), **(options if str(number) in NEAR else far))
        for number in range(WORKERS)
    ]
    draw = random.Random(5)
    longest = 0
    with running(*workers):
        async with cache_of(redis_url, namespace) as cache:
            loop = Loop(workers, cache)
            clients = [asyncio.create_task(loop.client(seed)) for seed in range(CLIENTS)]
            kills = 0
            starting: set[asyncio.Task[None]] = set()
            began = time.monotonic()
            while time.monotonic() - began < KILL_SECONDS:
                await asyncio.sleep(1)
                killed = draw.choice([worker for worker in workers if worker not in loop.away])
                loop.away.add(killed)
                await asyncio.to_thread(killed.kill)
                kills += 1
                longest = max(longest, *keys.lives(keys.leases()), 0)
                starting.add(asyncio.create_task(loop.start(killed)))
                while len(loop.away) == WORKERS - 1:  # one always serves
                    await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
                    starting = {task for task in starting if not task.done()}
            await asyncio.gather(*starting)
            loop.over = True
            await asyncio.gather(*clients)
        answers = loop.counts["hits"] + loop.counts["other answers"]
        figures = ", ".join(f"{number} {name}" for name, number in sorted(loop.counts.items()))
        print(f"O05 {kills} kills in {KILL_SECONDS:g} s: {figures}, {len(loop.wrong)} wrong")
        print(f"O05 the longest life of a lease that was seen: {longest} ms")
        tell("killed", "loop", kills=kills, answers=answers, wrong=len(loop.wrong))
        for worker in workers:
            worker.check_log()  # which says why, where something is wrong
        assert loop.wrong == []
        assert loop.counts["hits"] > 100 * kills
        assert longest <= LEASE_SECONDS * 1000
        await keys.released(LEASE_SECONDS + SLACK_SECONDS)
        assert keys_without_end(redis_url) == []
