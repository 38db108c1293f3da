from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis.asyncio

from asgi_cache.errors import ConfigurationError, StoreRefused, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, RedisStore
from asgi_cache.stores.server_clock import ServerClock
from tests.servers import RedisServer, free_port
from tests.stores.records import stored_response
from tests.stores.wire import Relay, answer_handshake, read_command, serving, until

if TYPE_CHECKING:
    from asgi_cache.stores.line import Line

TARGET, KEY = b"shop.example/", b"https\0shop.example/"
LIFE = 3600.0


async def held(store: RedisStore, key: bytes = KEY) -> Any:
    (record,), _ = await store.read(TARGET, key, RESPONSE_SLOT, ())
    return record


def line_of(store: RedisStore) -> Line:
    """The connection of this loop's joined round trips."""
    line = store._connections.joining().line
    assert line is not None
    return line


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("http://127.0.0.1", "must begin with"),
        ("redis:/", None),
        ("127.0.0.1:6379", "must begin with"),
        ("s3cret@127.0.0.1", "must begin with"),
        ("redis://:s3cret@127.0.0.1:port", "no usable URL"),
        ("redis://:s3cret@127.0.0.1:s3cret/1", "no usable URL"),
        ("redis://:s3cret@127.0.0.1:99999", "no usable URL"),
        ("redis://:s3cret@[::1", "no usable URL"),
        ("redis://:s3cret@127.0.0.1/shop", "database 'shop'"),
        ("redis://127.0.0.1/0?colour=red", "colour"),
        ("redis://127.0.0.1/0?db=x", "no usable URL"),
        ("redis://127.0.0.1/0?decode_responses=True", "decode_responses"),
        (redis.asyncio.Redis(decode_responses=True), "decode_responses"),
        (redis.Redis(), "redis.asyncio"),
        (None, "NoneType"),
    ],
)
def test_o11_wrong_servers_are_refused_without_their_password(server: Any, said: str) -> None:
    if said is None:
        RedisStore(server, "shop")  # the default host and port
        return
    with pytest.raises(ConfigurationError, match=said) as caught:
        RedisStore(server, "shop")
    assert "s3cret" not in str(caught.value)


async def test_unix_sockets(redis_server: RedisServer, namespace: str) -> None:
    store = RedisStore(redis_server.unix_url, namespace)
    assert await held(store) is None
    assert "redis.sock" in repr(store)
    await store.aclose()


async def test_nobody_there_is_unavailable_at_once() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}", "shop")
    with pytest.raises(StoreUnavailable, match="read: ConnectionError: "):
        await held(store)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_a_server_that_says_nothing_is_said_to(scheme: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as url:
        store = RedisStore(url.replace("redis:", f"{scheme}:"), "a", connect_timeout=0.1)
        with pytest.raises(StoreUnavailable, match=r"TimeoutError: \S"):
            await held(store)
        await store.aclose()


async def test_x02_a_server_that_ends_is_unavailable_and_found_again(namespace: str) -> None:
    server = RedisServer()
    server.start()
    store = RedisStore(server.url, namespace)
    record = stored_response(time.time() + 60)
    await store.write(TARGET, KEY, {0: record}, ())
    server.kill()
    for operation in (
        lambda: held(store),
        lambda: store.write(TARGET, KEY, {0: record}, ()),
        lambda: store.remove(TARGET, KEY, 0),
        lambda: store.settle([b"n"], LIFE),
        lambda: store.replace([b"n"], [b"n"], LIFE),
    ):
        with pytest.raises(StoreUnavailable):
            await operation()
    server.start()
    assert await held(store) is None
    await store.aclose()
    server.stop()


async def test_an_idle_connection_that_the_server_closed_costs_nothing(
    redis_server: RedisServer, namespace: str
) -> None:
    store = RedisStore(redis_server.url, namespace)
    await held(store)
    line = line_of(store)
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.client_kill("{}:{}".format(*line.transport.get_extra_info("sockname")))
    await until(lambda: line.is_over)
    assert await held(store) is None
    await store.aclose()


async def test_x12_a_wrong_password_is_unavailable_and_not_told(redis_url: str) -> None:
    store = RedisStore(redis_url.replace("//", "//nobody:s3cret@"), "shop")
    with pytest.raises(StoreUnavailable, match="AuthenticationError") as caught:
        await held(store)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_password_that_the_server_repeats_is_not_told() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            *_, last = await read_command(reader)
            writer.write(b"-ERR unknown command, with args beginning with: %b\r\n" % last)

    async with serving(handler) as url:
        store = RedisStore(url.replace("//", "//:s3cret@"), "shop")
        with pytest.raises(StoreUnavailable, match=r"\*\*\*") as caught:
            await held(store)
        assert "s3cret" not in str(caught.value)


Operation = Callable[[RedisStore], Awaitable[object]]


@pytest.mark.parametrize(
    "operation",
    [
        lambda store: store.settle([b"n"], LIFE),
        lambda store: store.replace([b"n"], [], LIFE),
        lambda store: store.replace([b"n"], [b"e"], LIFE),
    ],
)
@pytest.mark.parametrize("own_client", [False, True], ids=["url", "retrying client"])
async def test_i09_nonces_are_sent_once_whatever_happens(
    operation: Operation, own_client: bool
) -> None:
    """The server takes the commands and is gone, so nobody knows whether they were executed."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if await answer_handshake(command, writer):
                continue
            if command[0] == b"PING":
                writer.write(b"+PONG\r\n")
                continue
            seen.append(command[2])
            if command[0] == b"SET":
                return

    async with serving(handler) as url:
        # A client of redis-py's own making sends a command again after a lost connection.
        client = redis.asyncio.Redis.from_url(url, protocol=2)
        store = RedisStore(client if own_client else url, "shop")
        with pytest.raises(StoreUnavailable):
            await operation(store)
        assert len(seen) == 1
        await store.aclose()
        await client.aclose()


async def test_a_cancelled_reads_reply_is_given_to_nobody(
    redis_server: RedisServer, namespace: str
) -> None:
    """It comes late, and must not be the answer to the next one."""
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace)
        one, two = (stored_response(time.time() + 60, body=body) for body in (b"1", b"2"))
        await store.write(TARGET, b"one", {0: one}, ())
        await store.write(TARGET, b"two", {0: two}, ())
        assert relay.connections == 1
        relay.answering.clear()
        relay.asked.clear()
        reading = asyncio.create_task(held(store, b"one"))
        await relay.asked.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        following = asyncio.create_task(held(store, b"two"))
        await asyncio.sleep(0)
        relay.answering.set()
        assert await following == two
        assert await held(store, b"one") == one
        assert store.corrupt_records == 0
        assert relay.connections == 1
        await store.aclose()


async def test_a_cancelled_purge_costs_its_connection(
    redis_server: RedisServer, namespace: str
) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace)
        await store.replace([b"n"], (), LIFE)
        assert relay.connections == 1
        relay.answering.clear()
        relay.asked.clear()
        purging = asyncio.create_task(store.replace([b"n"], (), LIFE))
        await relay.asked.wait()
        purging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await purging
        relay.answering.set()
        await store.replace([b"n"], (), LIFE)
        assert relay.connections == 2
        own = store._connections._of_this_loop().pooled
        assert own._all == set(own._idle)
        await store.aclose()


async def test_replies_nobody_asked_for_are_not_read(redis_server: RedisServer) -> None:
    writers: list[asyncio.StreamWriter] = []
    relay = Relay(redis_server.port)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await relay(reader, writer)

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        for unasked in (b"$5\r\nwrong\r\n", b"$5\r\nwr", b"+OK\r\n"):
            await held(store)
            line, connections = line_of(store), relay.connections
            writers[-1].write(unasked)
            await until(lambda line=line: line.is_over)  # type: ignore[misc]
            assert await held(store) is None
            assert store.corrupt_records == 0
            assert relay.connections == connections + 1
        await store.replace([b"n"], (), LIFE)
        (connection,) = store._connections._of_this_loop().pooled._idle
        writers[-1].write(b"+OK\r\n")
        await until(lambda: bool(connection._reader._buffer))
        connections = relay.connections
        await store.replace([b"n"], (), LIFE)
        assert relay.connections == connections + 1
        await store.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*1\r\n$1\r\na\r\n",
        b"what?\r\n",
        b"$99999999999999999999\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"",
    ],
)
async def test_x08_an_impossible_reply_is_unavailable_and_costs_the_connection(
    answer: bytes,
) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            if not await answer_handshake(await read_command(reader), writer):
                writer.write(answer)
                if not answer:
                    return

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        for attempt in (1, 2):
            with pytest.raises(StoreUnavailable):
                await store.read(TARGET, KEY, RESPONSE_SLOT, [b"n"])
            assert connections == attempt
        await store.aclose()


@pytest.mark.parametrize(
    "mget",
    [b"*1\r\n$-1\r\n", b"*2\r\n:1\r\n$-1\r\n", b"$2\r\nab\r\n", b"*-1\r\n", b"*2\r\n*0\r\n$-1\r\n"],
)
async def test_x08_stamps_of_another_shape_are_unavailable(mget: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if not await answer_handshake(command, writer):
                writer.write(mget if command[0] == b"MGET" else b"$0\r\n\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        with pytest.raises(StoreUnavailable, match="MGET"):
            await store.read(TARGET, KEY, RESPONSE_SLOT, [b"n", b"e"])
        await store.aclose()


async def test_a_stamp_that_does_not_stay_is_unavailable() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if not await answer_handshake(command, writer):
                writer.write(b"*1\r\n$-1\r\n" if command[0] == b"MGET" else b"+OK\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        with pytest.raises(StoreUnavailable, match="does not stay"):
            await store.settle([b"n"], LIFE)
        await store.aclose()


async def test_x13_the_number_of_connections_is_bounded(redis_server: RedisServer) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, "shop", max_connections=3)
        await asyncio.gather(*(store.replace([b"n"], (), LIFE) for _ in range(50)))
        assert relay.connections == 3
        assert await asyncio.gather(*(held(store) for _ in range(50))) == [None] * 50
        assert relay.connections == 4
        await store.aclose()


async def test_who_is_cancelled_while_waiting_for_a_connection_takes_none(
    redis_server: RedisServer,
) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, "shop", max_connections=1)
        await store.replace([b"n"], (), LIFE)
        relay.answering.clear()
        relay.asked.clear()
        first = asyncio.create_task(store.replace([b"n"], (), LIFE))
        await relay.asked.wait()
        others = [asyncio.create_task(store.replace([b"n"], (), LIFE)) for _ in range(5)]
        await asyncio.sleep(0)
        for other in others[:4]:
            other.cancel()
        relay.answering.set()
        await first
        await others[4]
        assert relay.connections == 1
        await asyncio.gather(*others, return_exceptions=True)
        await store.aclose()


async def test_closing_waits_for_nobody_and_closes_what_is_in_use_later(
    redis_server: RedisServer,
) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, "shop")
        await held(store)
        relay.answering.clear()
        relay.asked.clear()
        reading = asyncio.create_task(held(store))
        await relay.asked.wait()
        await store.aclose()
        relay.answering.set()
        assert await reading is None
        assert not store._connections._by_loop


async def test_a_users_client_is_neither_used_up_nor_closed(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, max_connections=1)
    store = RedisStore(client, "shop")
    await client.ping()
    assert set(await asyncio.gather(held(store), held(store))) == {None}
    own = line_of(store)
    await store.aclose()
    assert own.is_over
    (theirs,) = client.connection_pool._available_connections
    assert theirs.is_connected
    await client.ping()
    await client.aclose()


async def test_a_fake_server_that_is_away_is_unavailable() -> None:
    server = fakeredis.FakeServer()
    store = RedisStore(fakeredis.FakeAsyncRedis(server=server), "shop")
    await held(store)
    server.connected = False
    with pytest.raises(StoreUnavailable):
        await held(store)
    server.connected = True
    assert await held(store) is None
    await store.aclose()


def test_o02_every_event_loop_has_its_own_connections(redis_url: str, namespace: str) -> None:
    store = RedisStore(redis_url, namespace)
    record = stored_response(time.time() + 60)
    both = threading.Barrier(2)
    found: list[bool] = []

    async def use(closes: bool) -> None:
        await store.write(TARGET, KEY, {0: record}, ())
        own = store._connections._of_this_loop()
        both.wait()
        found.extend([await held(store) == record for _ in range(100)])
        both.wait()
        if closes:  # and has the other loop close what is its own
            await store.aclose()
        await until(lambda: own.joining.line is None)

    threads = [
        threading.Thread(target=asyncio.run, args=(use(closes),)) for closes in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200
    assert not store._connections._by_loop


_FORK = """
import asyncio, gc, os, stat, sys
from asgi_cache.stores import RESPONSE_SLOT, RedisStore
from tests.stores.records import stored_response

store = RedisStore(sys.argv[1], sys.argv[2])
record = stored_response(3e9)

async def held():
    (found,), _ = await store.read(b"t", b"k", RESPONSE_SLOT, ())
    return found == record

async def connection():
    return store._connections.joining().line

async def heard(listening):
    await store.leases.take(b"t", b"place", b"token", 9)
    await store.leases.release(b"t", b"place", b"token", b"?")
    return await listening.next(9) == b"?"

async def listens():
    async with await store.leases.listen(b"t", b"place") as listening:
        assert await heard(listening)
    await store.aclose()

async def child_main():
    assert await held() and await held()
    await store.aclose()

loop = asyncio.new_event_loop()
loop.run_until_complete(store.write(b"t", b"k", {0: record}, ()))
ours = loop.run_until_complete(connection())
listening = loop.run_until_complete(store.leases.listen(b"t", b"place"))
ears = listening._ears._connection._writer
descriptors = [one.get_extra_info("socket").fileno() for one in (ours.transport, ears)]
assert all(stat.S_ISSOCK(os.fstat(one).st_mode) for one in descriptors)
child = os.fork()
if child == 0:
    try:
        ours = listening = ears = None
        if sys.argv[3] == "hears first":
            asyncio.run(listens())
        else:
            loop.run_until_complete(child_main())  # even in the very same loop
        assert all(stat.S_ISCHR(os.fstat(one).st_mode) for one in descriptors)
        asyncio.run(child_main())
        asyncio.run(listens())
        gc.collect()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
    os._exit(1)  # not closing the loop, as its selector is the parent's, too
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert all(loop.run_until_complete(held()) for _ in range(3))
assert loop.run_until_complete(connection()) is ours
assert loop.run_until_complete(heard(listening))
assert listening._ears._connection._writer is ears
loop.run_until_complete(store.aclose())
loop.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("first", ["asks first", "hears first"])
def test_a_forked_child_lets_go_of_its_parents_connections(
    redis_server: RedisServer, namespace: str, first: str
) -> None:
    """Whichever it needs first; the parent goes on to use its own."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORK, redis_server.url, namespace, first],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)


def test_a_clock_offset_that_may_still_be_right_is_kept() -> None:
    clock = ServerClock(lambda: 100.0)
    clock.observe(98.0, [[b"200", b"500000"]] * 2)
    assert clock.offset == pytest.approx(101.5)
    assert clock.is_known
    clock.observe(90.0, [[b"200", b"500000"]] * 2)  # between 100.5 and 110.5
    assert clock.offset == pytest.approx(101.5)
    clock.observe(99.0, [[b"900", b"0"], [b"900", b"300000"]])
    assert clock.offset == pytest.approx(800.5)


@pytest.mark.parametrize("wrong", [b"1699999992", b"1700000008", b"1600000000", b"4700000000", b""])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_time_that_was_garbled_on_its_way_is_not_believed(
    namespace: str, wrong: bytes, which: int
) -> None:
    """Eight seconds too early would keep alive for eight seconds what has ended."""
    times = [b"1700000000", b"1700000000"]
    times[which] = wrong
    asked = count()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if command[0] == b"TIME" and (number := next(asked)) < 2:
                said = times[number]
                writer.write(b"*2\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(said), said))
            elif not await answer_handshake(command, writer):
                writer.write(b"$0\r\n\r\n" if command[0] == b"GETRANGE" else b"*1\r\n$-1\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, namespace, clock=lambda: 1_700_000_000.0)
        with contextlib.suppress(StoreUnavailable):
            await held(store)
        assert store.now() == pytest.approx(1_700_000_000, abs=0.1)
        await held(store)  # on another connection, whose times agree
        assert store._connections.server_clock.is_known
        assert store.now() == pytest.approx(1_700_000_000, abs=0.1)
        assert next(asked) > 2
        await store.aclose()


def test_a_loop_that_ended_unclosed_is_forgotten() -> None:
    store = RedisStore(fakeredis.FakeAsyncRedis(), "shop")
    for _ in range(3):
        asyncio.run(held(store))
        assert len(store._connections._by_loop) == 1
    asyncio.run(store.aclose())
    assert not store._connections._by_loop


REFUSALS = {
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "MISCONF": b"-MISCONF Errors writing to the RDB\r\n",
    "NOREPLICAS": b"-NOREPLICAS Not enough good replicas to write.\r\n",
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "NOPERM": b"-NOPERM this user has no permissions to run the 'set' command\r\n",
}
FAILURES = {
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "BUSY": b"-BUSY Redis is busy running a script.\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down\r\n",
    "NOAUTH": b"-NOAUTH Authentication required.\r\n",
    "ERR": b"-ERR anything else\r\n",
}


@pytest.mark.parametrize("said", [*REFUSALS, *FAILURES])
async def test_x09_x11_a_server_that_does_not_write_has_answered(said: str) -> None:
    """What it says to a look-up, and what else it may say, is no answer."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if not await answer_handshake(await read_command(reader), writer):
                writer.write((REFUSALS | FAILURES)[said])

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        for operation in (
            lambda: store.settle([b"n"], LIFE),
            lambda: store.replace([b"n"], (), LIFE),
            lambda: store.write(TARGET, KEY, {0: stored_response(time.time() + 60)}, ()),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await operation()
            assert isinstance(caught.value, StoreRefused) == (said in REFUSALS)
        for reading in (lambda: held(store), store.ping):
            with pytest.raises(StoreUnavailable) as caught:
                await reading()
            assert not isinstance(caught.value, StoreRefused)
        await store.aclose()


async def test_x10_after_readonly_connections_are_made_anew() -> None:
    """Behind one address there is another server by now: idle connections do not see that."""
    servers: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        servers.append(0)
        number = len(servers)
        while True:
            command = await read_command(reader)
            if await answer_handshake(command, writer):
                continue
            if command[0] == b"GETRANGE":
                writer.write(b"$0\r\n\r\n")
            else:
                writer.write(REFUSALS["READONLY"] if number <= 2 else b"+OK\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        await held(store)
        with pytest.raises(StoreRefused):
            await store.replace([b"n"], (), LIFE)
        assert len(servers) == 2
        await store.replace([b"n"], (), LIFE)
        assert len(servers) == 3
        await held(store)
        assert len(servers) == 4
        await store.aclose()


async def test_a_sign_of_life_is_one_round_trip_and_leaves_nothing(
    redis_server: RedisServer, namespace: str
) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace)
        await store.ping()
        relay.trips = 0
        await store.ping()
        assert relay.trips == 1
        await store.aclose()
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        assert await client.keys(f"{namespace}*") == []
