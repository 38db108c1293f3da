"""Requests to an app in this event loop, and what they took."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.driver import drive
from tests.machine import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

BUDGET = 0.150
"""Seconds that the store may cost a request."""
LAG_STEP = 0.005


@dataclass
class Report:
    """What a load found."""

    seconds: list[float] = field(default_factory=list)
    """Of each request, in the order of their ends."""
    statuses: Counter[int] = field(default_factory=Counter)
    hits: int = 0
    added: list[float] = field(default_factory=list)
    """Of each request, without the event loop's lateness, and what others took of the machine."""
    lag: float = 0.0
    """Most seconds that it was late at once."""

    def quantile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    @property
    def most(self) -> float:
        return max(self.seconds)

    @property
    def most_added(self) -> float:
        return max(self.added)

    @property
    def errors(self) -> int:
        return len(self.seconds) - self.statuses[200]

    def say(self, name: str) -> None:
        """Print the figures."""
        print(
            f"{name}: {len(self.seconds)} requests, {dict(self.statuses)}, {self.hits} hits; "
            f"p50 {self.quantile(0.5) * 1000:.2f} ms, p99 {self.quantile(0.99) * 1000:.2f} ms, "
            f"p100 {self.most * 1000:.1f} ms (loop late by up to {self.lag * 1000:.1f} ms)"
            + (f", without that {self.most_added * 1000:.1f} ms" if self.added else "")
        )

    def check_budget(self) -> None:
        """Nobody got an error, and nobody waited longer for the store than is allowed."""
        assert set(self.statuses) == {200}
        added = self.most_added if self.added else self.most - self.lag
        assert added <= BUDGET + 0.03

    def count(self, seconds: float, status: int, watch: Stopwatch, late: float = 0.0) -> None:
        """A request that took *seconds*, *late* of which the event loop was."""
        self.added.append(max(0.0, min(watch.seconds, seconds) - late))
        self.seconds.append(seconds)
        self.statuses[status] += 1


async def load(
    app: ASGIApp,
    *,
    rate: float,
    until: Callable[[], bool],
    targets: Sequence[str] = ("/page",),
    at_most: float = 30.0,
) -> Report:
    """*rate* requests a second, one after the other or not, until *until* says so."""
    report = Report()

    async def one(target: str) -> None:
        watch, before = Stopwatch(), stalled()
        began = time.perf_counter()
        exchange = await drive(app, target)
        took = time.perf_counter() - began
        report.count(took, exchange.status, watch, stalled() - before)
        report.hits += exchange.hit
        assert exchange.complete
        assert exchange.told["path"] == target

    late, due = 0.0, time.perf_counter()

    def stalled() -> float:
        """Seconds of lateness so far; what is ready may run before the watch sees it."""
        return late + max(0.0, time.perf_counter() - due)

    async def watch() -> None:
        nonlocal late, due
        while True:
            due = time.perf_counter() + LAG_STEP
            await asyncio.sleep(LAG_STEP)
            by = max(0.0, time.perf_counter() - due)
            late += by
            report.lag = max(report.lag, by)

    watching = asyncio.create_task(watch())
    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()
    try:
        while not until():
            assert time.monotonic() - began < at_most
            due = began + len(tasks) / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            tasks.append(asyncio.create_task(one(targets[len(tasks) % len(targets)])))
        await asyncio.gather(*tasks)
    finally:
        watching.cancel()
    return report


def after(seconds: float) -> Callable[[], bool]:
    """True from so many *seconds* on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
