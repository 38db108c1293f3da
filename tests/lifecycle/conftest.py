"""What lies in Redis under one test's namespace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import redis

from tests.machine import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE: Final = b":l:"


class Keys:
    """The keys of one namespace."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def all(self) -> list[bytes]:
        """Every key."""
        return list(self._client.scan_iter(f"{self._namespace}:*", count=1000))

    def leases(self) -> list[bytes]:
        """Those of fills under way."""
        return [key for key in self.all() if LEASE in key]

    async def released(self, seconds: float = 1.0) -> None:
        """Return when there is no lease; it is given back after the last byte of a response."""
        watch = Stopwatch()
        while leases := self.leases():  # Redis tells nobody
            assert watch.seconds < seconds, leases
            await asyncio.sleep(0.02)

    def records(self) -> list[bytes]:
        """Those of stored responses."""
        return [key for key in self.all() if key.rpartition(b":")[2].isdigit()]

    def lives(self, keys: list[bytes]) -> list[int]:
        """Milliseconds left of each; -1: without an end, -2: gone."""
        return [int(self._client.pttl(key)) for key in keys]


@pytest.fixture
def keys(redis_url: str, namespace: str) -> Iterator[Keys]:
    with redis.Redis.from_url(redis_url) as client:
        yield Keys(client, namespace)
