"""What a Redis was asked, by its own count: ``INFO commandstats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

_NO_REQUESTS: Final = ("info", "client", "hello", "ping")
"""Commands that no request makes: they connect, keep alive, or look, as this does."""


def commands(redis: Redis) -> tuple[int, int]:
    """How many commands were executed for requests so far, and how many of these were SETs."""
    stats: Mapping[str, Mapping[str, int]] = redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): of["calls"] for name, of in stats.items()}
    asked = sum(n for name, n in calls.items() if name.partition("|")[0] not in _NO_REQUESTS)
    return asked, calls.get("set", 0)
