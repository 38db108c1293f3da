"""Joined round trips and bodies that lie apart, on a real Redis behind a relay."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio

from asgi_cache.errors import StoreError, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, Budget, GuardedStore, RedisStore
from asgi_cache.stores.bodies import APART_BYTES, body_place
from asgi_cache.stores.deadlines import NoAnswer
from asgi_cache.stores.lookups import (
    MEMO_BYTES,
    MOST_NAMES,
    MOST_UNREADABLE,
    LookUps,
    Memo,
    Unreadable,
)
from asgi_cache.stores.places import Places
from tests.stores.records import stored_response
from tests.stores.wire import Relay, answer_handshake, read_command, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asgi_cache.model import Stamp, StoredResponse
    from asgi_cache.stores.line import Line
    from tests.servers import RedisServer

TARGET, KEY = b"shop.example/", b"https\0shop.example/"
LIFE = 3600.0
LARGE = bytes(range(256)) * 1024
"""Over the size from which on a body lies apart, and not the same anywhere twice in a row."""


def response(body: bytes = b"{}") -> StoredResponse:
    return stored_response(time.time() + 60, body=body)


async def held(store: Any, key: bytes = KEY) -> Any:
    (record,), _ = await store.read(TARGET, key, RESPONSE_SLOT, [b"n"])
    return record


def line_of(store: RedisStore) -> Line:
    line = store._connections.joining().line
    assert line is not None
    return line


class Counting(Relay):
    """Counts pieces and commands, too, and may change what comes back."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.commands: list[list[bytes]] = []
        self.pieces = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = asyncio.StreamReader()
        parsing = asyncio.create_task(self._parse(ours))
        read = reader.read

        async def counted(n: int = -1) -> bytes:
            data = await read(n)
            self.pieces += bool(data)
            ours.feed_data(data)
            return data

        reader.read = counted  # type: ignore[method-assign]
        try:
            await super().__call__(reader, writer)
        finally:
            parsing.cancel()
            await asyncio.gather(parsing, return_exceptions=True)

    async def _parse(self, reader: asyncio.StreamReader) -> None:
        while True:
            self.commands.append(await read_command(reader))

    def forget(self) -> None:
        self.pieces = self.trips = 0
        self.commands.clear()

    def named(self, name: bytes) -> list[list[bytes]]:
        return [command for command in self.commands if command[0] == name]


@asynccontextmanager
async def relayed(
    server: RedisServer, namespace: str, **options: Any
) -> AsyncIterator[tuple[Counting, RedisStore]]:
    """A store that is connected, and the relay before its Redis."""
    relay = Counting(server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace, **options)
        await held(store)
        relay.forget()
        yield relay, store
        await store.aclose()


# ------------------------------------------------------------------ one turn, one piece


async def test_what_one_turn_has_to_say_leaves_in_one_piece(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        one, two = response(b"1"), response(b"2")
        await asyncio.gather(
            *(held(store, b"%d" % number) for number in range(20)),
            store.settle([b"n", b"e"], LIFE),
            store.write(TARGET, b"one", {0: one}, ()),
            store.leases.take(TARGET, b"place", b"token", LIFE),
            store.ping(),
        )
        assert relay.pieces == relay.trips == 1
        found = await asyncio.gather(held(store, b"one"), held(store, b"two"))
        assert list(found) == [one, None]
        assert relay.pieces == 2
        await store.write(TARGET, b"two", {0: two}, ())
        assert await held(store, b"two") == two
        assert relay.connections == 1


async def test_who_asks_the_same_in_a_turn_shares_one_question_and_one_value(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        record = response()
        await store.write(TARGET, KEY, {0: record}, ())
        relay.forget()
        names = [b"n", b"e", b"t" + TARGET]
        answers = await asyncio.gather(
            *(store.read(TARGET, KEY, RESPONSE_SLOT, names) for _ in range(32)),
            *(store.read(TARGET, KEY, (0, 1), [b"n", b"gg"]) for _ in range(8)),
        )
        assert len(relay.named(b"GETRANGE")) == 2
        (mget,) = relay.named(b"MGET")
        assert len(mget) == 1 + 4
        assert {id(records[0]) for records, _ in answers} == {id(answers[0][0][0])}
        assert answers[0][0][0] == record
        assert [len(stamps) for _, stamps in answers] == [3] * 32 + [2] * 8


async def test_many_stamps_are_asked_for_in_several_commands(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        names = [b"g%d" % number for number in range(2 * MOST_NAMES + 1)]
        made = await store.settle(names, LIFE)
        relay.forget()
        _, stamps = await store.read(TARGET, KEY, (), names)
        assert list(stamps) == list(made)
        assert [len(command) - 1 for command in relay.named(b"MGET")] == [256, 256, 1]
        assert relay.trips == 1


async def test_who_settles_the_same_in_a_turn_shares_its_nonce(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        settled = await asyncio.gather(
            *(store.settle([b"n", b"g%d" % (number % 3)], LIFE) for number in range(30))
        )
        assert len(relay.named(b"SET")) == 4
        nonces = [command[2] for command in relay.named(b"SET")]
        assert len(set(nonces)) == 4
        assert len({stamps[0] for stamps in settled}) == 1
        assert len({stamps[1] for stamps in settled}) == 3
        _, (stamp,) = await store.read(TARGET, KEY, (), [b"n"])
        assert stamp == settled[0][0]


async def test_a_lone_request_waits_for_no_timer(redis_server: RedisServer, namespace: str) -> None:
    """Its bytes have left when the loop has gone round, before anything can have come."""
    async with relayed(redis_server, namespace) as (_, store):
        line = line_of(store)
        reading = asyncio.ensure_future(held(store))
        await asyncio.sleep(0)  # it runs
        await asyncio.sleep(0)  # its turn is over
        assert len(line._expected) == 1
        assert line.transport.get_write_buffer_size() == 0
        assert await reading is None


async def test_the_next_turn_does_not_wait_for_the_replies_of_this_one(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        relay.answering.clear()
        first = asyncio.ensure_future(held(store, b"1"))
        await until(lambda: relay.pieces == 1)
        second = asyncio.ensure_future(held(store, b"2"))
        await until(lambda: relay.pieces == 2)
        assert not first.done()
        relay.answering.set()
        assert [await first, await second] == [None, None]


async def test_what_is_asked_is_sent_after_it_was_asked(
    redis_server: RedisServer, namespace: str
) -> None:
    """A question that is under way answers nobody who comes later, nor does anything decoded."""
    async with relayed(redis_server, namespace) as (relay, store):
        one, two = response(b"1"), response(b"2")
        await store.write(TARGET, KEY, {0: one}, ())
        assert await held(store) == one
        relay.answering.clear()
        relay.forget()
        before = asyncio.ensure_future(held(store))
        await until(lambda: relay.pieces == 1)
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            other = RedisStore(client, namespace)
            await other.write(TARGET, KEY, {0: two}, ())
            await other.aclose()
        after = asyncio.ensure_future(held(store))
        await until(lambda: relay.pieces == 2)
        relay.answering.set()
        assert await before == one
        assert await after == two


class Decoding:
    """An origin that says which bytes it was asked to decode."""

    def __init__(self) -> None:
        self.decoded_bytes: list[bytes | None] = []

    def now(self) -> float:
        return time.time()

    def decoded(self, data: bytes | None, key: bytes, place: bytes) -> StoredResponse | None:
        self.decoded_bytes.append(data)
        return None if data is None else response(key + data[:16])

    def stamp(self, data: bytes | None) -> Stamp | None:
        return None

    def unavailable(self, operation: str, error: Exception) -> Exception:
        return error


async def test_the_memo_gives_nothing_for_other_bytes_another_key_or_another_place() -> None:
    memo, places = Memo(), Places("here")

    async def asks(data: bytes | None, key: bytes = KEY, target: bytes = TARGET) -> list[object]:
        origin = Decoding()
        turn = LookUps(asyncio.get_running_loop(), origin, places, memo, b"1")
        found = turn.ask((target, key, (0,), ()))
        assert len(turn.commands()) == 1
        turn.done([data])
        return [(await found).records[0], *origin.decoded_bytes]

    (first, decoded) = await asks(b"bytes")
    assert decoded == b"bytes"
    assert await asks(bytes(bytearray(b"bytes"))) == [first]
    assert (await asks(b"byte"))[1:] == [b"byte"]
    assert (await asks(b"bytes"))[1:] == [b"bytes"]  # the last one is what is remembered
    assert await asks(None) == [None, None]
    assert await asks(b"") == [None]
    assert (await asks(b"bytes", KEY + b" "))[1:] == [b"bytes"]
    assert (await asks(b"bytes", KEY, TARGET + b" "))[1:] == [b"bytes"]
    memo.put(places.record(TARGET, KEY, 0), b"bytes", KEY + b" ", response())
    assert (await asks(b"bytes"))[1:] == [b"bytes"]


async def test_the_memo_is_bounded_in_bytes() -> None:
    memo, record = Memo(), response()
    for number in range(100):
        memo.put(b"%d" % number, bytes(60_000), KEY, record)
    assert sum(len(data) for data, _, _ in memo.entries.values()) == memo._bytes <= MEMO_BYTES
    assert b"99" in memo.entries
    assert b"0" not in memo.entries
    memo.put(b"99", bytes(70_000), KEY, record)
    assert b"99" not in memo.entries


def test_what_is_no_record_is_counted_once_for_each_value() -> None:
    found = Unreadable()
    assert [found.is_new(b"place", data) for data in (b"a", b"a", b"b", None, None)] == [
        *(True, False, True, True, False),
    ]
    assert found.is_new(b"other", b"b")
    found.forget([b"other", b"unknown"])
    assert found.is_new(b"other", b"b")
    assert not found.is_new(b"place", None)
    for number in range(2 * MOST_UNREADABLE):
        found.is_new(b"%d" % number, b"")
    assert len(found._hashes) <= MOST_UNREADABLE


# ------------------------------------------------------------------ cancelled


async def test_who_is_cancelled_disturbs_nobody(redis_server: RedisServer, namespace: str) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        records = {b"%d" % number: response(b"%d" % number) for number in range(8)}
        for key, record in records.items():
            await store.write(TARGET, key, {0: record}, ())
        relay.answering.clear()
        relay.forget()
        sharing = [asyncio.ensure_future(held(store, b"0")) for _ in range(3)]
        others = {key: asyncio.ensure_future(held(store, key)) for key in records}
        await until(lambda: relay.pieces == 1)
        later = {key: asyncio.ensure_future(held(store, key)) for key in records}
        await until(lambda: relay.pieces == 2)
        for task in (sharing[1], others.pop(b"3"), later.pop(b"0")):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        relay.answering.set()
        assert await sharing[0] == await sharing[2] == records[b"0"]
        for tasks in (others, later):
            assert {key: await task for key, task in tasks.items()} == {
                key: records[key] for key in tasks
            }
        assert (relay.connections, store.corrupt_records) == (1, 0)


async def test_who_is_cancelled_before_the_turn_is_over_disturbs_nobody(
    redis_server: RedisServer, namespace: str
) -> None:
    """The others rely on what it would have settled, and so it is settled."""
    async with relayed(redis_server, namespace) as (relay, store):
        settling = [asyncio.ensure_future(store.settle([b"n"], LIFE)) for _ in range(3)]
        await asyncio.sleep(0)
        settling[0].cancel()
        assert await settling[1] == await settling[2]
        with pytest.raises(asyncio.CancelledError):
            await settling[0]
        assert len(relay.named(b"SET")) == 1
        assert relay.trips == 1


# ------------------------------------------------------------------ in doubt


@pytest.mark.parametrize(
    "said",
    [
        b"$5\r\nwrong\r\n$5\r\nwrong\r\n$5\r\nwrong\r\n",  # more than was asked for
        b"$1\r\nab",
        b"$3\r\nabc\r\n*2\r\n$-1\r\n$-1\r\n",
        b"*1\r\n$-1\r\n$0\r\n\r\n",
        b">2\r\n$4\r\npush\r\n$1\r\nx\r\n",
        b"_\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\xff\0",
    ],
)
async def test_x08_a_doubtful_reply_ends_the_connection_and_all_that_waits_on_it(
    said: bytes,
) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            if not await answer_handshake(await read_command(reader), writer):
                writer.write(said)

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        for attempt in (1, 2):
            waiting = [asyncio.ensure_future(held(store, b"%d" % number)) for number in range(5)]
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(error) for error in ended} == {StoreUnavailable}
            assert connections == attempt
        await store.aclose()


async def test_x04_an_end_in_the_middle_of_a_reply_is_an_end(
    redis_server: RedisServer, namespace: str
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command = await read_command(reader)
            if not await answer_handshake(command, writer):
                writer.write(b"$100\r\nabc")
                writers.append(writer)
                return

    async with serving(handler) as url:
        store = RedisStore(url, namespace)
        ended = await asyncio.gather(
            *(held(store, b"%d" % number) for number in range(5)), return_exceptions=True
        )
        assert {type(error) for error in ended} == {StoreUnavailable}
        assert len(writers) == 1
        await store.aclose()


async def test_x03_one_deadline_ends_what_waits_and_the_next_has_a_new_connection(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        guarded = GuardedStore(store, timeout=0.05, request_timeout=0.08)
        relay.answering.clear()
        began = time.monotonic()
        ended = await asyncio.gather(
            *(held(guarded.for_request()) for _ in range(3)), return_exceptions=True
        )
        assert time.monotonic() - began >= 0.05
        assert [type(error) for error in ended] == [NoAnswer] * 3
        relay.answering.set()
        assert "no answer within 0.05 s" in str(guarded.breaker.last_error)
        assert await held(store) is None
        assert relay.connections == 2


async def test_the_second_look_up_of_a_request_gets_what_the_first_left(
    redis_server: RedisServer, namespace: str
) -> None:
    """And ends alone: others of its turn still have their time."""
    async with relayed(redis_server, namespace) as (relay, store):
        guarded = GuardedStore(store, timeout=5.0, request_timeout=5.0)
        relay.answering.clear()
        poor = guarded.within(Budget(0.02))
        rich = asyncio.ensure_future(held(guarded.for_request()))
        with pytest.raises(NoAnswer, match=r"within 0\.02 s"):
            await held(poor)
        assert not rich.done()
        relay.answering.set()
        assert await rich is None
        assert relay.connections == 1


async def test_a_deadline_that_passed_while_the_loop_was_blocked_reads_what_came(
    redis_server: RedisServer, namespace: str
) -> None:
    """No relay: it would be blocked as well."""
    store = RedisStore(redis_server.url, namespace)
    guarded = GuardedStore(store, timeout=0.03)
    record = response()
    await guarded.write(TARGET, KEY, {0: record}, ())
    await held(store)
    reading = asyncio.ensure_future(held(guarded.for_request()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - somebody's blocking call is what this is about
    assert await reading == record
    assert not guarded.breaker.troubled
    await store.aclose()


async def test_connections_that_do_not_come_about_cost_no_more_than_the_deadline() -> None:
    connected = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connected.wait()
        while True:
            command = await read_command(reader)
            if not await answer_handshake(command, writer):
                writer.write(b"$0\r\n\r\n" if command[0] == b"GETRANGE" else b"*1\r\n$-1\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, "shop")
        guarded = GuardedStore(store, timeout=0.03)
        with pytest.raises(NoAnswer):
            await held(guarded.for_request())
        connected.set()
        # What waited too long is not sent when there is a connection at last.
        assert await held(store) is None
        await store.aclose()


async def test_o05_what_was_asked_before_a_fork_is_not_sent_by_the_child(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (relay, store):
        reading = asyncio.ensure_future(held(store))
        await asyncio.sleep(0)
        joining = store._connections.joining()
        joining._pid -= 1  # as it looks from a child
        with pytest.raises(StoreUnavailable, match="fork"):
            await reading
        assert relay.pieces == 0


# ------------------------------------------------------------------ bodies that lie apart


def body_key(store: RedisStore, key: bytes = KEY) -> bytes:
    return body_place(store.record_place(TARGET, key, 0))


async def test_a_large_body_lies_apart_and_ends_with_its_head(
    redis_server: RedisServer, namespace: str
) -> None:
    async with (
        relayed(redis_server, namespace) as (_, store),
        redis.asyncio.Redis.from_url(redis_server.url) as client,
    ):
        place, apart = store.record_place(TARGET, KEY, 0), body_key(store)
        small, large = response(bytes(APART_BYTES)), response(LARGE)
        await store.write(TARGET, KEY, {0: small}, ())
        assert await client.exists(apart) == 0
        await store.write(TARGET, KEY, {0: large}, ())
        assert await client.strlen(apart) == len(LARGE)
        assert await client.strlen(place) < 2000
        assert 0 < await client.pttl(place) < await client.pttl(apart) < 62_000
        assert await held(store) == large
        # Overwritten or removed, nothing of it is left.
        await store.write(TARGET, KEY, {0: small}, ())
        assert await client.exists(apart) == 0
        await store.write(TARGET, KEY, {0: large}, ())
        await store.write(TARGET, KEY, {0: replace(large, discard_at=1.0)}, ())
        assert await client.exists(apart, place) == 0
        await store.write(TARGET, KEY, {0: large}, ())
        await store.remove(TARGET, KEY, 0)
        assert await client.exists(apart, place) == 0


@pytest.mark.parametrize("secrets", [(), ("a secret",)], ids=["checked", "sealed"])
async def test_a_body_that_is_not_the_heads_is_a_miss(
    redis_server: RedisServer, namespace: str, secrets: tuple[str, ...]
) -> None:
    async with (
        relayed(redis_server, namespace, secrets=secrets) as (_, store),
        redis.asyncio.Redis.from_url(redis_server.url) as client,
    ):
        record, apart = response(LARGE), body_key(store)
        await store.write(TARGET, b"other", {0: response(LARGE[::-1])}, ())
        others = await client.get(body_key(store, b"other"))
        assert isinstance(others, bytes)
        flipped = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
        wrong = (b"x", LARGE[:-1], LARGE + b"x", flipped, others)
        for number, body in enumerate(wrong, 1):
            await store.write(TARGET, KEY, {0: record}, ())
            await client.set(apart, body, px=60_000)
            assert await held(store) is None
            assert store.corrupt_records == number
        await client.delete(apart)
        await client.rpush(apart, b"x")
        assert await held(store) is None
        await client.delete(apart)
        assert await held(store) is None
        assert store.corrupt_records == len(wrong) + 1
        await store.write(TARGET, KEY, {0: record}, ())
        assert await held(store) == record


async def test_a_large_body_holds_up_no_small_one(
    redis_server: RedisServer, namespace: str
) -> None:
    """While the server is not even asked for it, small ones are answered."""
    asked, released = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", redis_server.port)

        async def back() -> None:
            while data := await from_server.read(2**16):
                writer.write(data)

        backwards = asyncio.create_task(back())
        try:
            while data := await reader.read(2**16):
                if b"GETRANGE" in data and b":b\r\n" in data:
                    asked.set()
                    await released.wait()
                to_server.write(data)
        finally:
            backwards.cancel()
            to_server.close()
            await asyncio.gather(backwards, return_exceptions=True)

    async with serving(handler) as url:
        store = RedisStore(url, namespace)
        guarded = GuardedStore(store, timeout=5.0)
        small, large = response(), response(LARGE)
        await guarded.write(TARGET, b"small", {0: small}, ())
        await guarded.write(TARGET, b"large", {0: large}, ())
        reading = asyncio.ensure_future(held(guarded.for_request(), b"large"))
        await asked.wait()
        for _ in range(10):
            assert await held(guarded.for_request(), b"small") == small
        assert not reading.done()
        released.set()
        assert await reading == large
        await store.aclose()


def holds_body(relay: Counting) -> bool:
    return any(command[1].endswith(b":b") for command in relay.named(b"GETRANGE"))


async def test_the_deadline_of_a_body_grows_with_its_size(
    redis_server: RedisServer, namespace: str
) -> None:
    """Three megabytes add 0.3 s; the request's budget is spent on the head alone."""
    relay = Counting(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace)
        guarded = GuardedStore(store, timeout=0.1, request_timeout=0.15)
        large = response(bytes(3_000_000))
        await store.write(TARGET, KEY, {0: large}, ())
        await held(store)
        relay.forget()
        reading = asyncio.ensure_future(held(guarded.for_request()))
        await until(lambda: holds_body(relay))
        relay.answering.clear()
        began = time.monotonic()
        with pytest.raises(NoAnswer, match=r"body: no answer within 0\.4 s"):
            await reading
        assert time.monotonic() - began > 0.2
        relay.answering.set()
        await store.aclose()


async def test_a_leased_write_of_a_large_body_is_all_or_nothing(
    redis_server: RedisServer, namespace: str
) -> None:
    async with relayed(redis_server, namespace) as (_, store):
        one, two = response(LARGE), response(LARGE[::-1])
        place = b"p" * 32
        assert await store.leases.take(TARGET, place, b"token", LIFE)
        assert await store.write_leased(TARGET, KEY, {0: one}, (), place, b"token")
        assert await held(store) == one
        assert not await store.write_leased(TARGET, KEY, {0: two}, (), place, b"token")
        assert await held(store) == one


async def test_a_record_with_its_body_is_bounded(redis_server: RedisServer, namespace: str) -> None:
    async with relayed(redis_server, namespace) as (_, store):
        await store.write(TARGET, KEY, {0: response(LARGE)}, ())
        small = RedisStore(redis_server.url, namespace, max_record_bytes=len(LARGE) - 1)
        assert await held(small) is None
        await small.write(TARGET, KEY, {0: response(LARGE)}, ())
        assert await held(store) is None
        await small.aclose()


async def test_errors_of_a_server_that_does_not_read_reach_all_who_asked(
    redis_server: RedisServer, namespace: str
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if not await answer_handshake(await read_command(reader), writer):
                writer.write(b"-NOPERM no permissions to access a key\r\n")

    async with serving(handler) as url:
        store = RedisStore(url, namespace)
        ended = await asyncio.gather(
            *(held(store, b"%d" % number) for number in range(3)), return_exceptions=True
        )
        assert all(isinstance(error, StoreError) for error in ended)
        await store.aclose()
