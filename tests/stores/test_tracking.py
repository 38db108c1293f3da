"""The near tier on a real Redis: any change is pushed; where that cannot be, the tier is off."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

import asgi_cache
from asgi_cache import Cache, MemoryStore, RedisStore, TieredStore
from asgi_cache.errors import StoreRefused, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, GuardedStore, watching
from asgi_cache.stores.bodies import APART_BYTES, body_place
from asgi_cache.stores.capabilities import Changed, Watched
from asgi_cache.stores.watching import LEASE
from tests.faults.relay import relayed
from tests.servers import RedisServer
from tests.stores.records import stored_response
from tests.stores.wire import answer_handshake, read_command, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgi_cache.model import Stamp

TARGET, KEY = b"shop.example/", b"https shop.example/"
STAMP = b"t" + TARGET
NAMES = (b"n", STAMP)
LIFE = 3600.0


def patient(store: RedisStore) -> GuardedStore:
    """Guarded, with deadlines that no busy machine misses."""
    return GuardedStore(store, timeout=30, request_timeout=60)


@asynccontextmanager
async def tier_on(url: str, namespace: str) -> AsyncIterator[TieredStore]:
    """A tier whose channel is alive, with a record and its stamps held near."""
    tier = TieredStore(MemoryStore(2**20), patient(RedisStore(url, namespace)))
    try:
        await tier.settle(NAMES, LIFE)
        await tier.write(TARGET, KEY, {0: stored_response(time.time() + 600)}, NAMES)
        await held(tier)
        yield tier
    finally:
        await tier.aclose()


async def held(tier: TieredStore) -> None:
    """Return when a look-up is answered near; pushes of what was just written may be coming."""
    async with asyncio.timeout(10):
        while True:
            view: Any = tier.for_request()
            await view.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
            if view.may_be_old:
                return


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def tier(redis_url: str, namespace: str) -> AsyncIterator[TieredStore]:
    async with tier_on(redis_url, namespace) as tier:
        yield tier


def places(tier: TieredStore) -> tuple[bytes, bytes]:
    """Where the record and its stamp lie."""
    redis: Any = tier.far.store  # type: ignore[attr-defined]
    assert isinstance(redis, Watched)
    return redis.record_place(TARGET, KEY, 0), redis.stamp_place(STAMP)


CHANGES: dict[str, Callable[[Any, bytes], Awaitable[Any]]] = {
    "set": lambda client, place: client.set(place, b"other", px=60_000),
    "delete": lambda client, place: client.delete(place),
    "unlink": lambda client, place: client.unlink(place),
    "expiry": lambda client, place: client.pexpire(place, 1),
    "rename": lambda client, place: client.rename(place, place + b":gone"),
    "setrange": lambda client, place: client.setrange(place, 0, b"x"),
    "in a transaction": lambda client, place: client.pipeline().delete(place).execute(),
    "script": lambda client, place: client.eval("return redis.call('DEL', KEYS[1])", 1, place),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", [0, 1], ids=["record", "stamp"])
async def test_a_change_by_anybody_is_seen(
    tier: TieredStore, client: Any, change: str, which: int
) -> None:
    place = places(tier)[which]
    cell: Any = [(TARGET, KEY, 0), STAMP][which]
    assert tier.cells.get(cell) is not None
    began = time.perf_counter()
    await CHANGES[change](client, place)
    await until(lambda: tier.cells.get(cell) is None)
    print(f"{change}: {1000 * (time.perf_counter() - began):.2f} ms with the command")
    await client.unlink(place + b":gone")


async def test_how_soon_a_change_is_seen(tier: TieredStore, client: Any) -> None:
    place = places(tier)[0]
    took = []
    for _ in range(100):
        await held(tier)
        await client.pexpire(place, 600_000)
        began = time.perf_counter()
        await until(lambda: tier.cells.get((TARGET, KEY, 0)) is None)
        took.append(1000 * (time.perf_counter() - began))
    print(f"after the reply to the change: median {statistics.median(took):.2f} ms")
    assert statistics.median(took) < 50


async def test_a_body_that_lies_apart_is_what_its_head_says(tier: TieredStore, client: Any) -> None:
    """What becomes of the body's own key changes no response: its head binds it, and is pushed."""

    async def near() -> Any:
        await held(tier)
        return tier.cells.get((TARGET, KEY, 0))

    first, second = (
        stored_response(time.time() + 600, body=os.urandom(APART_BYTES + 1)) for _ in range(2)
    )
    await tier.write(TARGET, KEY, {0: first}, NAMES)
    assert await near() == first
    await client.set(body_place(places(tier)[0]), b"another's", px=60_000)
    await client.pexpire(places(tier)[1], 60_000)
    await until(lambda: tier.cells.get(STAMP) is None)  # told after what happened to the body
    assert tier.cells.get((TARGET, KEY, 0)) == first
    await tier.write(TARGET, KEY, {0: second}, NAMES)
    assert await near() == second


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
async def test_s13_a_flush_is_seen(server: RedisServer, namespace: str, command: str) -> None:
    client: Any
    async with tier_on(server.url, namespace) as tier, Redis.from_url(server.url) as client:
        await client.execute_command(command)
        await until(lambda: tier.cells.get((TARGET, KEY, 0)) is None)
        found, stamps = await tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
        assert (list(found), list(stamps)) == ([None], [None, None])


async def test_s12_an_eviction_is_seen(server: RedisServer, namespace: str) -> None:
    async with tier_on(server.url, namespace) as tier, Redis.from_url(server.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-random")
        await client.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await client.set("filler", b"x", px=60_000)
        await until(lambda: tier.cells.get((TARGET, KEY, 0)) is None)
        await until(lambda: tier.cells.get(STAMP) is None)


async def test_another_namespace_and_database_are_not_pushed(
    tier: TieredStore, client: Any, namespace: str
) -> None:
    for key in (f"{namespace}x:n:1", "other", namespace):
        await client.set(key, b"1", px=1000)
    await client.pexpire(places(tier)[0], 600_000)
    await until(lambda: tier.cells.get((TARGET, KEY, 0)) is None)
    assert tier.cells.get(STAMP) is not None
    assert len(tier.cells._recent) == 1


async def test_x19_the_listener_is_killed_and_then_purged(
    tier: TieredStore, client: Any, redis_url: str, namespace: str
) -> None:
    purger = RedisStore(redis_url, namespace)
    for _ in range(5):
        await held(tier)
        (_,), (_, before) = await tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
        killed = await client.client_kill_filter(_id=await listener(client))
        await purger.replace([STAMP], (), LIFE)
        assert killed == 1
        deadline = time.monotonic() + LEASE + 0.2
        while True:
            _, (_, stamp) = await tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
            if stamp != before:
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
    await purger.aclose()


@pytest.mark.parametrize("found", ["by its address", "by what it says"])
async def test_x16_the_channel_leads_to_a_server_that_has_been_left(
    server: RedisServer, namespace: str, found: str
) -> None:
    """It lives on, answers, and hears of nothing: what is purged on the new one goes near, too."""
    old: Any
    new: Any
    async with (
        relayed(server.port) as relay,
        Redis.from_url(server.url) as old,
        Redis.from_url(relay.url) as ours,
    ):
        with RedisServer() as successor:
            new = Redis.from_url(successor.url)
            await old.config_set("repl-diskless-sync-delay", "0")
            await new.execute_command("REPLICAOF", "127.0.0.1", str(server.port))
            tier = TieredStore(MemoryStore(2**20), patient(RedisStore(ours, namespace)))
            await tier.settle(NAMES, LIFE)
            await tier.write(TARGET, KEY, {0: stored_response(time.time() + 600)}, NAMES)
            await held(tier)
            async with asyncio.timeout(10):
                while await new.dbsize() < len(NAMES) + 1:  # noqa: ASYNC110 - sets no event
                    await asyncio.sleep(0.01)
            await new.execute_command("REPLICAOF", "NO", "ONE")
            if found == "by its address":
                ours.connection_pool.connection_kwargs["port"] = successor.port
                redis: Any = tier.far.store  # type: ignore[attr-defined]
                redis._connections.joining().line.end(ConnectionResetError())
            else:
                relay.upstream = successor.port
                await old.execute_command("REPLICAOF", "127.0.0.1", "1")
                with pytest.raises(StoreRefused):
                    await tier.remove(TARGET, b"another", 0)
            await tier.remove(TARGET, b"another", 0)
            others = RedisStore(successor.url, namespace)
            await others.replace([STAMP], [], LIFE)
            await asyncio.sleep(LEASE)
            await tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
            await held(tier)
            _, stamps = await tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
            assert list(stamps) == await others.settle(NAMES, LIFE)
            await tier.aclose()
            await others.aclose()
            await new.aclose()


async def listener(client: Any) -> str:
    """The id of the youngest connection that tracks."""
    listed = await client.client_list()
    return str(max(int(one["id"]) for one in listed if "t" in one["flags"]))


async def test_it_closes_its_connection(tier: TieredStore, client: Any) -> None:
    ours = await listener(client)
    await tier.aclose()
    async with asyncio.timeout(10):
        while await client.client_list(client_id=[ours]):  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------------- where it is not possible


async def refused(url: str, namespace: str, caplog: pytest.LogCaptureFixture) -> str:
    """Hits go on without a near tier, and one line says why; gives the reason."""
    cache = Cache(store=url, namespace=namespace, store_timeout=30.0, request_store_timeout=60.0)
    await cache.store.settle(NAMES, LIFE)
    for _ in range(5):
        await cache.store.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
        await asyncio.sleep(0.02)
    await until(lambda: cache.health().near_error is not None)
    health = cache.health()
    assert (health.available, health.near) == (True, "off")
    await cache.aclose()
    (line,) = [record.message for record in caplog.records]
    begins = "the near tier (near_bytes) is off, and every look-up asks the store: "
    assert line == f"{begins}{health.near_error}"
    return str(health.near_error)


async def test_a_user_that_may_not_track(
    client: Any, redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    await client.execute_command(
        *("ACL", "SETUSER", namespace, "on", ">pass-word", "~*", "&*", "+@all", "-client|tracking")
    )
    address = redis_url.removeprefix("redis://")
    reason = await refused(f"redis://{namespace}:pass-word@{address}", namespace, caplog)
    assert "NoPermission" in reason
    assert "pass-word" not in reason
    await client.execute_command("ACL", "DELUSER", namespace)


async def test_a_server_that_does_not_know_resp_3(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if await answer_handshake(command, writer):
                continue
            match command[0]:
                case b"HELLO":
                    writer.write(b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n")
                case b"GETRANGE":
                    writer.write(b"$0\r\n\r\n")
                case b"MGET":
                    writer.write(b"*%d\r\n" % (len(command) - 1))
                    writer.write((b"$40\r\n%b\r\n" % bytes(40)) * (len(command) - 1))
                case _:
                    writer.write(b"+OK\r\n")

    async with serving(handler) as url:
        told = await refused(url, namespace, caplog)
        assert "unknown command" in told
        assert "RESP3 is needed" in told


@pytest.mark.parametrize("wrong", ["port", "password", "database"])
async def test_what_ails_the_store_is_not_said_of_the_near_tier_as_well(
    server: RedisServer,
    namespace: str,
    wrong: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "RETRY", 0.01)
    url = {
        "port": "redis://127.0.0.1:1/0",
        "password": server.url.replace("redis://", "redis://nobody:pass-word@"),
        "database": server.url.replace("/0", "/99"),
    }[wrong]
    guarded = patient(RedisStore(url, namespace))
    tier = TieredStore(MemoryStore(2**20), guarded)
    with pytest.raises(StoreUnavailable):
        await tier.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    await until(lambda: tier.watching._failures > 2)
    await tier.aclose()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the store failed"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"-ERR Client tracking can be enabled only with RESP3\r\n", StoreRefused),
        (b"+QUEUED\r\n", StoreUnavailable),
        (b"", StoreUnavailable),
        (b"nonsense\r\n", StoreUnavailable),
    ],
)
async def test_what_a_server_may_say_to_tracking(
    reply: bytes, error: type[Exception], namespace: str
) -> None:
    async with serving(speaking(reply)) as url:
        channel = RedisStore(url, namespace).channel(b"n")
        with pytest.raises(error):
            await channel.open()
        await channel.aclose()
        await channel.aclose()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", [b"a", b"b"]),
        (b">2\r\n$10\r\ninvalidate\r\n_\r\n", None),
        (b"*2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", [b"a"]),
    ],
)
async def test_what_a_push_tells(said: bytes, told: Any, namespace: str) -> None:
    async with serving(speaking(b"+OK\r\n" + said)) as url:
        channel = RedisStore(url, namespace).channel(b"n")
        await channel.open()
        change = await channel.next()
        assert isinstance(change, Changed)
        assert change.places == told
        await channel.aclose()


@pytest.mark.parametrize("said", [b"*1\r\n_\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$3\r\nabc\r\n"])
async def test_what_is_no_stamp_is_none(said: bytes, namespace: str) -> None:
    async with serving(speaking(b"+OK\r\n" + said)) as url:
        channel = RedisStore(url, namespace).channel(b"n")
        await channel.open()
        assert await channel.next() is None
        await channel.aclose()


@pytest.mark.parametrize("said", [b"+OK\r\n", b":1\r\n", b"-ERR x\r\n", b"*2\r\n:1\r\n:2\r\n", b""])
async def test_what_is_no_answer_ends_the_channel(said: bytes, namespace: str) -> None:
    async with serving(speaking(b"+OK\r\n" + said)) as url:
        channel = RedisStore(url, namespace).channel(b"n")
        await channel.open()
        with pytest.raises(StoreUnavailable):
            await channel.next()
        await channel.aclose()


def speaking(reply: bytes) -> Any:
    """A server that lets RESP3 begin, says *reply* to CLIENT TRACKING, and ends."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if command[0] == b"HELLO":
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            elif command[:2] == [b"CLIENT", b"TRACKING"]:
                writer.write(reply)
                await writer.drain()
                return
            else:
                await answer_handshake(command, writer)

    return handler


async def test_asking_a_lost_channel_fails(tier: TieredStore, redis_url: str) -> None:
    channel = RedisStore(redis_url, "other").channel(b"n")
    await channel.open()
    await channel.ask()
    answer: Changed | Stamp | None = await channel.next()
    assert answer is None
    await channel.aclose()
    with pytest.raises(StoreUnavailable):
        await channel.ask()


# ---------------------------------------------------------------------- processes and clients


async def test_a_forked_child_begins_with_nothing(tier: TieredStore, client: Any) -> None:
    """It believes no cell, and the parent's channel goes on as if there were no child."""
    await held(tier)
    ours = await listener(client)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            coroutine = tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
            asked = False
            try:
                coroutine.send(None)
                asked = True
            except RuntimeError:  # no loop runs here: it was about to ask far
                asked = True
            except StopIteration:
                pass
            code = 0 if asked else 2
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await listener(client) == ours
    view: Any = tier.for_request()
    await view.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    assert view.may_be_old
    await client.delete(places(tier)[1])
    await until(lambda: tier.cells.get(STAMP) is None)


def test_a_forked_child_has_a_channel_of_its_own(redis_url: str, namespace: str) -> None:
    """As a server does that forks its workers when the app has been used already."""
    cache = Cache(store=redis_url, namespace=namespace)
    tier = cache.store
    assert isinstance(tier, TieredStore)

    async def use(fork: bool) -> int:
        await tier.settle(NAMES, LIFE)
        await tier.write(TARGET, KEY, {0: stored_response(time.time() + 600)}, NAMES)
        await held(tier)
        child = os.fork() if fork else 0
        if fork and child == 0:  # pragma: no cover - another process
            code = 1
            try:
                asyncio._set_running_loop(None)
                empty = not tier.watching.is_alive
                asyncio.run(use(False))
                code = 0 if empty else 2
            finally:
                os._exit(code)
        if child:
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            await held(tier)
        await cache.aclose()
        return child

    asyncio.run(use(True))


@pytest.mark.parametrize("options", [{}, {"protocol": 3}, {"protocol": 2, "socket_timeout": 0.2}])
async def test_a_client_of_ones_own(redis_url: str, namespace: str, options: Any) -> None:
    client = Redis.from_url(redis_url, **options)
    cache = Cache(store=client, namespace=namespace)
    tier = cache.store
    assert isinstance(tier, TieredStore)
    await tier.settle(NAMES, LIFE)
    await tier.write(TARGET, KEY, {0: stored_response(time.time() + 600)}, NAMES)
    await held(tier)
    await asyncio.sleep(0.6)  # longer than its timeout for replies
    await held(tier)
    assert cache.health().near == "on"
    await cache.aclose()
    await client.aclose()


def test_what_is_composed(redis_url: str) -> None:
    assert isinstance(Cache(store=redis_url).store, TieredStore)
    assert isinstance(Cache(store=redis_url, near_bytes=0).store, GuardedStore)
    assert isinstance(Cache(store=RedisStore(redis_url, "x")).store, TieredStore)
    guarded = GuardedStore(RedisStore(redis_url, "x"))
    assert Cache(store=guarded).store is guarded
    tier = asgi_cache.TieredStore(MemoryStore(1000), guarded)
    cache = Cache(store=tier)
    assert cache.store is tier
    assert cache.leasing is not None
    assert cache.health().near == "off"
    assert Cache(store=redis_url, near_bytes=0).health().near == "none"
    assert Cache().health().near == "none"
