"""What goes wrong between the workers and Redis, and when: a schedule from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.security.checker.bodies import instant
from tests.security.checker.relay import FAIR, Weather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.checker.board import Board
    from tests.security.checker.relay import Relay
    from tests.servers import RedisServer

CALM_SECONDS: Final = (0.3, 1.2)
FAULT_SECONDS: Final = (0.1, 0.9)
EVICTED: Final = 400
"""Keys that one eviction takes, at random."""

WEATHERS: Final = {
    "delay": lambda draw: Weather(delay=draw.choice([0.005, 0.02, 0.06, 0.12, 0.3])),
    "cut": lambda draw: Weather(cut=draw.choice([0.005, 0.05, 0.5])),
    "drop": lambda draw: Weather(swallow=draw.choice([0.01, 0.1])),
    "flip": lambda draw: Weather(flip=draw.choice([0.02, 0.3])),
    "junk": lambda draw: Weather(junk=draw.choice([0.02, 0.3])),
    "lose": lambda draw: Weather(lose=draw.choice([0.02, 0.3])),
    "trickle": lambda draw: Weather(trickle=True),
    "freeze": lambda draw: Weather(frozen=True),
    "refuse": lambda draw: Weather(refuses=True, cut=0.1),
    "mixed": lambda draw: Weather(delay=0.01, cut=0.02, flip=0.02, junk=0.02, lose=0.02),
}  # type: dict[str, Callable[[random.Random], Weather]]
OTHERS: Final = ("stop", "flush", "evict", "kill", "disconnect")
KINDS: Final = (*WEATHERS, *OTHERS)


class Faults:
    """The faults of one run."""

    def __init__(
        self, relays: Sequence[Relay], server: RedisServer, board: Board, seed: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.events: list[tuple[int, str, str]] = []
        """What was on when, for histories."""
        self.seconds = 0.0
        """How long faults were on, in total."""
        self._relays = relays
        self._server = server
        self._board = board
        self._draw = random.Random(f"{seed} faults")
        self._left: list[str] = []
        self._number = 0

    async def run(self) -> None:
        """One fault after the other, with calm in between, until cancelled."""
        client = Redis.from_url(self._server.url, socket_timeout=5.0)
        try:
            while True:
                await asyncio.sleep(self._draw.uniform(*CALM_SECONDS))
                if not self._left:
                    self._left = self._draw.sample(KINDS, len(KINDS))
                await self._one(self._left.pop(), client)
        finally:
            self.end()
            await client.aclose()

    def end(self) -> None:
        """Fair weather, and a server that goes on."""
        for relay in self._relays:
            relay.set(FAIR)
        self._server.resume()
        self._board.fault = 0

    async def _one(self, kind: str, client: Redis) -> None:
        draw = self._draw
        self._number += 1
        self._board.fault = self._number
        began = instant()
        self.events.append((began, "-", f"fault {self._number}: {kind}"))
        self.counts[kind] += 1
        seconds = draw.uniform(*FAULT_SECONDS)
        try:
            if kind in WEATHERS:
                # One worker alone sees it, or some, or all.
                hit = draw.sample(self._relays, draw.randint(1, len(self._relays)))
                for relay in hit:
                    relay.set(WEATHERS[kind](draw))
                await asyncio.sleep(seconds)
            elif kind == "stop":
                self._server.pause()
                await asyncio.sleep(seconds)
            else:
                with contextlib.suppress(RedisError, OSError):
                    await self._do(kind, client)
        finally:
            self.end()
            self.events.append((instant(), "-", f"fault {self._number}: {kind} is over"))
            self.seconds += (instant() - began) / 1e9

    async def _do(self, kind: str, client: Redis) -> None:
        if kind == "flush":
            await client.flushall()
        elif kind == "kill":
            for which in ("normal", "pubsub"):
                await client.client_kill_filter(_type=which, skipme=True)
        elif kind == "disconnect":
            for relay in self._relays:
                relay.cut_all()
        else:
            for _ in range(EVICTED):
                key = await client.randomkey()
                if key is not None:
                    await client.delete(key)
