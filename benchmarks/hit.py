"""What each kind of hit costs: ``python -m benchmarks.hit [--quick]``, microseconds and calls.

No server and no socket but Redis's: the app is called as a server calls it, with a ``send`` that
does nothing but keep the message. Beside the cache stand the bare app and the same app in a
middleware that only passes on, which is the least that any middleware costs. Rounds are
interleaved, so that a machine that slows down slows all; the spread is between the quartiles.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from benchmarks.commandstats import commands
from benchmarks.placement import Placement, pinned
from benchmarks.processes import NotAHitError, redis_at, require
from benchmarks.report import command_line, machine, positive, write
from benchmarks.running import finish
from benchmarks.subjects import BROWSER, Subject, subjects

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from redis import Redis
    from starlette.types import ASGIApp, Message, Scope

STORES: Final = ("memory", "near", "redis")
COUNTED: Final = 20
"""Hits over which Python's calls are counted."""
FAR_SHARE: Final = 10
"""A hit on Redis waits for it: so many times fewer are measured in a round."""
COMMANDS_ALLOWED: Final = 0.01
TRIES: Final = 3
"""Of a round near: where the machine stood still, the lease has ended and Redis was asked."""
SECONDS_TO_BE_NEAR: Final = 1.0


class DisturbedError(NotAHitError):
    """A round near that Redis had a part in."""


@dataclass(frozen=True)
class Cost:
    """Of one call, over one round."""

    us: float
    cpu_us: float
    """Processor time of this process."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_line("hit", str(__doc__), "7 rounds of 2,000 calls: some seconds")
    parser.add_argument("--count", type=positive, help="calls a round; default 10000, quick 2000")
    parser.add_argument(
        "--without", action="append", default=[], choices=STORES, help="may be repeated"
    )
    options = parser.parse_args(argv)
    return finish(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write."""
    require(["uvloop", "matplotlib"])
    import uvloop
    from redis import Redis

    # The app that takes long to revalidate is given up after a minute, which is no news here.
    logging.getLogger("asgi_cache").addHandler(logging.NullHandler())

    rounds = options.rounds or (7 if options.quick else 31)
    count = options.count or (2_000 if options.quick else 10_000)
    about = {
        "benchmark": "hit",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": rounds,
        "count": count,
        "quick": options.quick,
    }
    placement = Placement.here()
    with contextlib.ExitStack() as stack:
        with pinned(placement.redis if placement else None):
            url = stack.enter_context(redis_at(options.redis))
        redis = stack.enter_context(contextlib.closing(Redis.from_url(url)))
        stack.enter_context(pinned(placement.server if placement else None))
        measured = [one for one in subjects(url) if one.store not in options.without]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows = runner.run(measure_all(measured, redis, rounds, count))
    content = {**about, "rows": rows}
    show(content)
    from benchmarks.charts import hit_chart

    print("written:", write(options.out, "hit", content))
    print("written:", hit_chart(options.out, content, in_words(content)))


async def measure_all(
    measured: Sequence[Subject], redis: Redis, rounds: int, count: int
) -> list[dict[str, Any]]:
    """A row for each, in the order given, which begins with the bare app."""
    try:
        return await _rows(measured, redis, rounds, count)
    finally:
        for subject in measured:
            if subject.cache is not None:
                await subject.cache.aclose()


async def _rows(
    measured: Sequence[Subject], redis: Redis, rounds: int, count: int
) -> list[dict[str, Any]]:
    costs: list[list[Cost]] = [[] for _ in measured]
    for number in range(rounds + 1):
        for subject, of_subject in zip(measured, costs, strict=True):
            cost = await measure(subject, redis, count)
            if number:  # the first round only warms up
                of_subject.append(cost)
    rows: list[dict[str, Any]] = []
    for subject, of_subject in zip(measured, costs, strict=True):
        times = [cost.us for cost in of_subject]
        # Inclusive: of few rounds no quartile lies beyond what was seen.
        low, median, high = (
            statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
        )
        python, c = await count_calls(subject)
        rows.append(
            {
                "name": subject.name,
                "store": subject.store,
                "us": {"median": median, "least": low, "greatest": high},
                "cpu_us": statistics.median(cost.cpu_us for cost in of_subject),
                "over_bare": median - (rows[0]["us"]["median"] if rows else median),
                "python_calls": python,
                "c_calls": c,
                "rounds": [asdict(cost) for cost in of_subject],
            }
        )
    return rows


async def receive() -> Message:
    """The request has no content."""
    return {"type": "http.request", "body": b"", "more_body": False}


def scope_of(subject: Subject) -> Scope:
    """The request that *subject* is asked."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "root_path": "",
        "path": "/products/1",
        "raw_path": b"/products/1",
        "query_string": b"",
        "headers": subject.headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
        "state": {},
    }


async def measure(subject: Subject, redis: Redis, count: int) -> Cost:
    """What a call costs over *count* calls, in the first round that was not disturbed."""
    for _ in range(TRIES - 1):
        try:
            return await measure_once(subject, redis, count)
        except DisturbedError as error:
            print("measured again:", error, file=sys.stderr)
    return await measure_once(subject, redis, count)


async def measure_once(subject: Subject, redis: Redis, count: int) -> Cost:
    """What a call costs over *count* calls; :class:`NotAHitError` where they were not hits."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent[:] = (*sent[-1:], message)

    scope = scope_of(subject)
    app, origin = subject.app, subject.origin
    if subject.store in ("near", "redis"):
        count = max(1, count // FAR_SHARE)
    # A whole response, which a range does not fill; perhaps a stale hit that revalidates; a hit.
    for asked_for in ({**scope, "headers": BROWSER}, scope, scope):
        await app(asked_for, receive, send)
        await asyncio.sleep(0)
    if subject.store == "near":
        await be_near(app, scope, redis)
    calls, (asked, _) = origin.calls, commands(redis)
    cpu = time.process_time()
    began = time.perf_counter()
    for _ in range(count):
        await app(scope, receive, send)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    prove(subject, sent[0], count, origin.calls - calls, commands(redis)[0] - asked)
    return Cost(seconds / count * 1e6, cpu / count * 1e6)


async def be_near(app: ASGIApp, scope: Scope, redis: Redis) -> None:
    """Ask until Redis is not: what was measured before left the loop no time for the lease."""

    async def send(_: Message) -> None:
        return None

    end = time.monotonic() + SECONDS_TO_BE_NEAR
    before = None
    while before != (before := commands(redis)) and time.monotonic() < end:
        await asyncio.sleep(0.01)
        await app(scope, receive, send)


def prove(subject: Subject, start: Message, count: int, calls: int, asked: int) -> None:
    """:class:`NotAHitError` where it was not what was to be measured."""
    status = dict(start["headers"]).get(b"cache-status", b"")
    if start["status"] != subject.status or (b"; hit" in status) is not subject.hits:
        raise NotAHitError(f"{subject.name}: not what was to be measured: {start}")
    if calls != (0 if subject.hits else count):
        raise NotAHitError(f"{subject.name}: {calls} calls of the app in {count} requests")
    if subject.store == "redis" and asked < count:
        raise NotAHitError(
            f"{subject.name}: Redis had {asked} commands in {count} requests that were to ask it"
        )
    if subject.store != "redis" and asked > max(1, COMMANDS_ALLOWED * count):
        raise (DisturbedError if subject.store == "near" else NotAHitError)(
            f"{subject.name}: Redis had {asked} commands in {count} requests that were to be "
            "answered without it"
        )


async def count_calls(subject: Subject) -> tuple[float, float]:
    """How many functions of Python, and how many of C, are called for one hit."""
    seen = {"call": 0, "c_call": 0}

    def profile(_: object, event: str, argument: object) -> None:
        if event in seen:
            seen[event] += 1

    async def send(_: Message) -> None:
        return None

    scope = scope_of(subject)
    await subject.app(scope, receive, send)
    sys.setprofile(profile)
    try:
        for _ in range(COUNTED):
            await subject.app(scope, receive, send)
    finally:
        sys.setprofile(None)
    return seen["call"] / COUNTED, seen["c_call"] / COUNTED


def in_words(content: dict[str, Any]) -> str:
    """The conditions."""
    at = content["machine"]
    return (
        f"{at['cores']} cores, Python {at['python']}, uvloop, {content['rounds']} interleaved "
        f"rounds of {content['count']:,} calls (a {FAR_SHARE}th of that with a Redis); median "
        f"(quartiles)"
    )


def show(content: dict[str, Any]) -> None:
    """The table."""
    print(in_words(content))
    print(f"{'microseconds':32}{'median':>9}{'quartiles':>18}{'over bare':>11}", end="")
    print(f"{'processor':>11}{'calls: Python':>15}{'C':>7}")
    for row in content["rows"]:
        us = row["us"]
        spread = f"{us['least']:.2f} - {us['greatest']:.2f}"
        print(f"{row['name']:32}{us['median']:9.2f}{spread:>18}{row['over_bare']:11.2f}", end="")
        print(f"{row['cpu_us']:11.2f}{row['python_calls']:15.0f}{row['c_calls']:7.0f}")


if __name__ == "__main__":
    sys.exit(main())
