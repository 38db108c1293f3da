"""What becomes of requests when Redis is away, hangs, is slow, or answers nonsense (cases X..).

``FAIL_OVERS`` makes the long run of those in which it is lost and comes back.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from asgi_cache import CacheMiddleware, RedisStore
from asgi_cache.stores import probing
from asgi_cache.stores.breaker import LIMIT
from tests.driver import drive
from tests.faults.conftest import warm
from tests.faults.load import BUDGET, Report, after, load
from tests.faults.proxy import FaultProxy, full_backlog, proxied
from tests.figures.telling import tell
from tests.machine import Stopwatch
from tests.servers import RedisServer, free_port
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.conftest import Site

FAIL_OVERS = int(os.environ.get("FAIL_OVERS", "1"))
RATE = 500
ROUNDS = 10
START_UP = 0.25
RECOVERY = 2.0
"""Seconds until there are hits again."""


def is_away(app: CacheMiddleware) -> bool:
    return not app.cache.health().available


async def fail_until_away(app: CacheMiddleware) -> None:
    for _ in range(50):
        if is_away(app):
            return
        assert (await drive(app)).status == 200
    raise AssertionError("the breaker does not open")


async def seconds_to_hit(app: CacheMiddleware, target: str = "/page") -> float:
    """From now until there is a hit; every answer before is right, too."""
    watch = Stopwatch()
    while not (exchange := await drive(app, target)).hit:
        assert exchange.status == 200
        assert watch.seconds < 10
        await asyncio.sleep(0.01)
    return watch.seconds


async def start_up(app: CacheMiddleware) -> float:
    """Seconds of a lifespan's start."""
    watch = Stopwatch()
    started = asyncio.Event()

    async def receive() -> Any:
        if not started.is_set():
            return {"type": "lifespan.startup"}
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            started.set()

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    outer = CacheMiddleware(inner, cache=app.cache)
    running = asyncio.create_task(outer({"type": "lifespan", "state": {}}, receive, send))
    await started.wait()
    took = watch.seconds
    await running
    return took


# ------------------------------------------------------------------ away


@pytest.mark.parametrize("how", ["refused", "no answer to SYN"])
async def test_x01_down_at_start(site: Site, how: str) -> None:
    with full_backlog() as silent:
        url = silent if how != "refused" else f"redis://127.0.0.1:{free_port()}/0"
        watch = Stopwatch()
        async with site(url) as app:
            took = watch.seconds + await start_up(app)
            report = await load(app, rate=RATE, until=after(0.5))
            report.say(f"X01 {how}: start-up {took * 1000:.1f} ms")
            tell("lost", how, start_up_ms=took * 1000, errors=report.errors)
            assert took < START_UP
            report.check_budget()
            assert is_away(app)


async def test_x02_killed_under_load(site: Site, server: RedisServer) -> None:
    async with site(server.url) as app:
        longest, errors = 0.0, 0
        for lost in range(1, FAIL_OVERS + 1):
            await warm(app)
            loading = asyncio.create_task(load(app, rate=RATE, until=after(1.2)))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.kill)
            report = await loading
            report.say("X02")
            errors += report.errors
            report.check_budget()
            assert report.hits > 0
            assert is_away(app)
            await asyncio.to_thread(server.start)
            longest = max(longest, await seconds_to_hit(app))
            tell("lost", "killed", times_lost=lost, errors=errors, seconds_to_hit=longest)
            assert longest < RECOVERY


# ------------------------------------------------------------------ hung and slow


async def slows_down(
    app: CacheMiddleware, name: str, fault: Callable[[], Awaitable[None] | None]
) -> None:
    """Under load *fault* happens: nobody waits longer than the budget, then nobody waits."""
    await warm(app)
    loading = asyncio.create_task(load(app, rate=RATE, until=lambda: is_away(app)))
    await asyncio.sleep(0.1)
    done = fault()
    if done is not None:
        await done
    report = await loading
    report.say(f"{name} until the breaker opens")
    report.check_budget()
    assert report.hits > 0
    # Less than 1 ms at p99, the best of some rounds. Another process on the machine takes some
    # milliseconds from a request in a hundred whatever it does: at p95 that is not seen.
    rounds: list[tuple[float, float]] = []
    while not rounds or (len(rounds) < ROUNDS and min(rounds)[0] > 0.001):
        rounds.append(await added_once_open(app, name))
    p99, p95 = (min(values) for values in zip(*rounds, strict=True))
    print(f"{name} once it is open: {p99 * 1000:.2f} ms added at p99, {p95 * 1000:.2f} at p95")
    if name == "X03":
        figures = {"added_ms": report.most_added * 1000, "errors": report.errors}
        tell("hanging", "stopped", **figures, p99_once_open_ms=max(0.0, p99 * 1000))
    assert min(p99, p95) <= 0.001
    assert is_away(app)


async def added_once_open(app: CacheMiddleware, name: str) -> tuple[float, float]:
    """Seconds at p99 and p95 beyond those of the bare app, one request after the other."""
    cached, bare = Report(), Report()
    for _ in range(200):
        for report, asked in ((bare, app.app), (cached, app)):
            began = time.perf_counter()
            exchange = await drive(asked, "/page")
            report.seconds.append(time.perf_counter() - began)
            report.statuses[exchange.status] += 1
            await asyncio.sleep(0)
    cached.say(f"{name} once it is open")
    assert set(cached.statuses) == {200}
    p99, p95 = (cached.quantile(q) - bare.quantile(q) for q in (0.99, 0.95))
    return p99, p95


async def test_x03_hung(site: Site, server: RedisServer) -> None:
    async with site(server.url) as app:
        await slows_down(app, "X03", server.pause)
        server.resume()
        took = await seconds_to_hit(app)
        print(f"X03 hits again {took:.2f} s after it goes on")
        assert took < RECOVERY


async def test_x04_slow(site: Site, proxy: FaultProxy) -> None:
    def fault() -> None:
        proxy.delay = 0.2

    async with site(proxy.url) as app:
        await slows_down(app, "X04", fault)
        # An answer that comes late is an answer all the same, but not one to wait for.
        await asyncio.sleep(1.5)
        assert is_away(app)
        proxy.delay = 0.0
        assert await seconds_to_hit(app) < RECOVERY


async def test_x05_dropped_packets(site: Site, proxy: FaultProxy) -> None:
    async with site(proxy.url) as app:
        await slows_down(app, "X05 packets", proxy.flowing.clear)
        proxy.flowing.set()
        assert await seconds_to_hit(app) < RECOVERY


async def test_x05_blackhole_including_connect(site: Site, proxy: FaultProxy) -> None:
    async with site(proxy.url) as app:
        await warm(app)
        await proxy.refuse()
        with full_backlog(proxy.port):
            report = await load(app, rate=RATE, until=lambda: is_away(app))
            report.say("X05 connect until the breaker opens")
            report.check_budget()
            assert (await drive(app)).status == 200
        await proxy.listen()
        assert await seconds_to_hit(app) < RECOVERY


async def test_x05_a_trickle(site: Site, proxy: FaultProxy) -> None:
    def fault() -> None:
        proxy.trickle = 0.01

    async with site(proxy.url) as app:
        await slows_down(app, "X05 trickle", fault)


# ------------------------------------------------------------------ nonsense


NONSENSE = {
    "garbage": b"\x00\xff\x13\x37garbage\r\n\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "too-long": b"$1000000\r\nshort\r\n",
    "too-short": b"$3\r\nabcdefgh\r\n",
    "negative": b"$-7\r\n",
    "not-a-number": b"$x\r\nab\r\n",
    "huge": b"$999999999999\r\n",
    "nested": b"*1\r\n" * 200,
    "another-type": b":12\r\n",
    "two-replies": b"$2\r\nab\r\n$2\r\ncd\r\n",
    "a-record-of-nobody": b"$8\r\n\x93\x01\x02\x03abcd\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("command", [b"GETRANGE", b"MGET", b"SET"])
@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
async def test_x08_nonsense(
    site: Site,
    proxy: FaultProxy,
    reply: bytes,
    command: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "INTERVAL", 0.1)
    async with site(proxy.url) as app:
        await warm(app)
        proxy.answer = lambda asked: reply if asked[0] == command else None
        report = Report()
        for number in range(LIMIT + 1):
            for target in ("/page", f"/other/{number}"):
                watch, began = Stopwatch(), time.perf_counter()
                exchange = await drive(app, target)
                report.count(time.perf_counter() - began, exchange.status, watch)
                assert exchange.complete
                assert exchange.told["path"] == target
        report.check_budget()
        proxy.answer = None
        assert await seconds_to_hit(app) < RECOVERY


# ------------------------------------------------------------------ refusals

WRITES = (b"SET", b"SETRANGE", b"PEXPIRE", b"UNLINK", b"MULTI", b"EXEC")
REFUSALS = {
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "MISCONF": b"-MISCONF Redis is configured to save RDB snapshots, but cannot.\r\n",
    "NOREPLICAS": b"-NOREPLICAS Not enough good replicas to write.\r\n",
}


@pytest.mark.parametrize("said", REFUSALS.values(), ids=REFUSALS)
async def test_x09_writes_are_refused_and_hits_go_on(
    site: Site, proxy: FaultProxy, said: bytes
) -> None:
    async with site(proxy.url) as app:
        await warm(app, "/page", "/other")
        proxy.answer = lambda asked: said if asked[0] in WRITES else None
        for number in range(3 * LIMIT):
            missed = await drive(app, f"/{number}")
            assert (missed.status, missed.hit) == (200, False)
            assert (await drive(app)).status == 200
            assert (await drive(app, "/page")).hit
        assert not is_away(app)
        # What cannot be invalidated is not served; everything else is.
        stale = await drive(app, "/page")
        assert (await drive(app, "/page", method="POST")).status == 200
        assert app.cache.health().waiting == 1
        assert (await drive(app, "/page")).serial > stale.serial
        assert (await drive(app, "/other")).hit
        proxy.answer = None
        await until(lambda: app.cache.health().waiting == 0)
        assert (await drive(app, "/page")).serial > stale.serial
        assert await seconds_to_hit(app) < RECOVERY


async def test_x10_read_only(site: Site, server: RedisServer) -> None:
    """The master becomes a replica; then its address leads to the new master."""
    with RedisServer() as promoted, redis.Redis.from_url(server.url) as admin:
        async with proxied(server.port) as proxy, site(proxy.url) as app:
            await warm(app, "/page", "/other")
            await asyncio.to_thread(admin.execute_command, "REPLICAOF", "127.0.0.1", "1")
            for number in range(2 * LIMIT):
                assert (await drive(app, f"/{number}")).status == 200
                assert (await drive(app, "/page")).hit
            assert not is_away(app)
            assert (await drive(app, "/page", method="DELETE")).status == 200
            assert not (await drive(app, "/page")).hit
            assert (await drive(app, "/other")).hit
            proxy.upstream = promoted.port
            await until(lambda: app.cache.health().waiting == 0)
            assert await seconds_to_hit(app) < RECOVERY
    assert promoted.port != server.port


@pytest.mark.parametrize("said", ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"])
async def test_x11_it_answers_that_it_cannot_answer(
    site: Site, proxy: FaultProxy, said: str
) -> None:
    """Misses, and no storm: it is left alone until it can."""
    async with site(proxy.url) as app:
        await warm(app)
        proxy.answer = lambda _: f"-{said} try again later\r\n".encode()
        await fail_until_away(app)
        before, connected = len(proxy.asked), len(proxy.accepted)
        report = await load(app, rate=RATE, until=after(0.5))
        report.say(f"X11 {said}")
        report.check_budget()
        assert report.hits == 0
        assert len(proxy.accepted) - connected <= 1
        assert len(proxy.asked) - before <= 10  # what a new connection and a probe send
        proxy.answer = None
        assert await seconds_to_hit(app, "/page") < RECOVERY


def denied(admin: Any, how: str) -> None:
    if how == "NOAUTH":
        admin.config_set("requirepass", "s3cret")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    elif how == "WRONGPASS":
        admin.execute_command("ACL", "SETUSER", "shop", "resetpass", ">another")
        admin.execute_command("CLIENT", "KILL", "USER", "shop")
    else:
        admin.execute_command("ACL", "SETUSER", "shop", "-@all", "+ping", "+time", "+client")


@pytest.mark.parametrize("how", ["NOAUTH", "WRONGPASS", "NOPERM"])
async def test_x12_permission_is_taken_away(
    site: Site, server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin: Any
    with redis.Redis.from_url(server.url) as admin:
        grant = ("on", "resetpass", ">passw0rd", "~*", "&*", "+@all")
        admin.execute_command("ACL", "SETUSER", "shop", *grant)
        user = "" if how == "NOAUTH" else "shop:passw0rd@"
        async with site(f"redis://{user}127.0.0.1:{server.port}/0") as app:
            await warm(app)
            await asyncio.to_thread(denied, admin, how)
            await fail_until_away(app)
            report = await load(app, rate=200, until=after(1.5))
            report.say(f"X12 {how}")
            report.check_budget()
            health = app.cache.health()
            assert (health.available, health.breaker) == (False, "open")
            assert health.last_error is not None
            print(f"X12 {how}: {health.last_error}")
            assert "passw0rd" not in health.last_error + caplog.text
            # One line, that names the cause and says what follows from it.
            (line,) = caplog.records
            assert re.search(r"does not answer \(.*(Authentic|NoPermission)", line.getMessage())
            admin.config_set("requirepass", "")
            admin.execute_command("ACL", "SETUSER", "shop", *grant)
            assert await seconds_to_hit(app) < RECOVERY


# ------------------------------------------------------------------ too many


@pytest.mark.parametrize("delay", [0.0, 0.02])
async def test_x13_one_connection_for_two_hundred(
    site: Site, proxy: FaultProxy, namespace: str, delay: float
) -> None:
    store = RedisStore(proxy.url, namespace, max_connections=1)
    async with site(store) as app:
        await warm(app)
        proxy.delay = delay
        report = Report()

        async def one() -> None:
            began = time.perf_counter()
            exchange = await drive(app, "/page")
            report.seconds.append(time.perf_counter() - began)
            report.statuses[exchange.status] += 1
            report.hits += exchange.hit

        async def lag() -> None:
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                report.lag = max(report.lag, time.perf_counter() - began - 0.001)

        watching = asyncio.create_task(lag())
        await asyncio.gather(*(one() for _ in range(200)))
        watching.cancel()
        report.say(f"X13 with {delay * 2000:.0f} ms a round trip")
        report.check_budget()
        assert report.hits > 0
        assert len(proxy.accepted) <= 3


async def test_x13_the_server_takes_no_more_clients(site: Site, server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as admin:
        async with site(server.url) as app:
            await warm(app)
            admin.config_set("maxclients", 1)
            await app.cache.aclose()
            report = await load(app, rate=RATE, until=lambda: is_away(app))
            report.say("X13 maxclients")
            report.check_budget()
            admin.config_set("maxclients", 100)
            assert await seconds_to_hit(app) < RECOVERY


def test_the_budget_is_the_settings() -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None: ...

    assert CacheMiddleware(nothing).settings.request_store_timeout == BUDGET
