"""Collapsed requests in one worker: one app call, whoever leads, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import Cache, CacheMiddleware, MemoryStore, Rule, StoreError
from asgi_cache.collapsing import Flight
from tests.driver import BODY, START, Connection, Recorder, SpyStore, drive, http_scope
from tests.revising import Revising

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from tests.conftest import Clock
    from tests.driver import Exchange, Field

FRESH = ("cache-control", "max-age=60")


class Gated:
    """An app that stands at a gate in each call, then answers with its call's number."""

    def __init__(self, *headers: Field, chunks: int = 1, length: bool = False) -> None:
        self.headers = [(str(name).encode(), str(value).encode()) for name, value in headers]
        self.chunks = chunks
        self.length = length
        self.calls = 0
        self.most = 0
        self.inside = 0
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.failure: BaseException | None = None
        self.seen: list[dict[bytes, bytes]] = []
        self.each: Callable[[int], Awaitable[None]] | None = None
        self.status = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        serial = self.calls
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.seen.append(dict(scope["headers"]))
        self.entered.set()
        try:
            if self.each is not None:
                await self.each(serial)
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            body = b"%d;" % serial
            lines = [*self.headers]
            if self.length:
                lines.append((b"content-length", b"%d" % (len(body) * self.chunks)))
            await send({"type": START, "status": self.status, "headers": lines})
            for number in range(self.chunks):
                more = number < self.chunks - 1
                await send({"type": BODY, "body": body, "more_body": more})
        finally:
            self.inside -= 1


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def herd(
    app: Any, gated: Gated, count: int, headers: Sequence[Sequence[Field]] = ((),)
) -> list[Exchange]:
    """*count* requests at once; the gate opens when all that will have come to it."""
    tasks = [
        asyncio.create_task(drive(app, headers=headers[number % len(headers)]))
        for number in range(count)
    ]
    await gated.entered.wait()
    await turns()
    gated.gate.set()
    return await asyncio.wait_for(asyncio.gather(*tasks), 20)


# ------------------------------------------------------------------ one call


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("length", [False, True])
async def test_c01_a_thousand_misses_are_one_call(chunks: int, length: bool) -> None:
    gated = Gated(FRESH, chunks=chunks, length=length)
    app = CacheMiddleware(gated)
    answers = await herd(app, gated, 1000)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;" * chunks}
    assert all(exchange.complete for exchange in answers)
    told = sorted({exchange.cache_status.partition("; ttl")[0] for exchange in answers})
    assert told == ["asgi-cache; fwd=uri-miss; collapsed", "asgi-cache; fwd=uri-miss; stored"]
    counts = app.cache.metrics.by_label()
    assert (counts["collapsed"], counts["decision.uri-miss"], counts["stores"]) == (999, 1000, 1)


async def test_followers_need_not_be_users_without_credentials() -> None:
    gated = Gated()
    app = CacheMiddleware(gated, paths={"/": 60})
    users = [[("cookie", f"user={number}")] for number in range(20)]
    answers = await herd(app, gated, 100, [[], *users])
    assert gated.calls == 1
    assert b"cookie" not in gated.seen[0]
    assert {exchange.body for exchange in answers} == {b"1;"}


async def test_a_followers_own_condition_is_answered() -> None:
    gated = Gated(FRESH, ("etag", '"v1"'))
    app = CacheMiddleware(gated)
    leader = asyncio.create_task(drive(app))
    await gated.entered.wait()
    follower = asyncio.create_task(drive(app, headers=[("if-none-match", '"v1"')]))
    await turns()
    gated.gate.set()
    assert [(await leader).status, (await follower).status] == [200, 304]
    assert gated.calls == 1


async def test_a_condition_that_the_app_sees_leads_nobody() -> None:
    gated = Gated(FRESH, ("etag", '"v1"'))
    app = CacheMiddleware(gated)
    first = asyncio.create_task(drive(app, headers=[("if-none-match", '"v1"')]))
    await gated.entered.wait()
    second = asyncio.create_task(drive(app))
    await turns()
    assert gated.calls == 2
    gated.gate.set()
    await asyncio.gather(first, second)


@pytest.mark.parametrize("options", [{"method": "HEAD"}, {"headers": [("range", "bytes=0-1")]}])
async def test_head_and_range_neither_lead_nor_wait(options: dict[str, Any]) -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    tasks = [asyncio.create_task(drive(app, **options)) for _ in range(3)]
    await turns()
    assert gated.calls == 3
    gated.gate.set()
    await asyncio.gather(*tasks)


async def test_a_stale_response_is_validated_once(clock: Clock) -> None:
    page = Revising(("cache-control", "max-age=10"))
    app = CacheMiddleware(page, store=MemoryStore(1 << 20, clock))
    await drive(app)
    clock.advance(11)
    gate = asyncio.Event()

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before = wait
    tasks = [asyncio.create_task(drive(app)) for _ in range(100)]
    await turns()
    gate.set()
    answers = await asyncio.gather(*tasks)
    assert page.answers == [200, 304]
    assert {exchange.body for exchange in answers} == {b"one"}


# ------------------------------------------------------------------ released, all at once


UNUSABLE: list[tuple[str, list[Field]]] = [
    ("private", [("cache-control", "private, max-age=60")]),
    ("no-store", [("cache-control", "no-store")]),
    ("set-cookie", [FRESH, ("set-cookie", "sid=1")]),
    ("vary", [FRESH, ("vary", "*")]),
    ("no lifetime", []),
    ("too large", [FRESH, ("content-length", str(2 << 20))]),
    ("events", [FRESH, ("content-type", "text/event-stream")]),
    ("no-cache", [("cache-control", "no-cache, max-age=60"), ("etag", '"v"')]),
]


@pytest.mark.parametrize(("name", "headers"), UNUSABLE, ids=[name for name, _ in UNUSABLE])
async def test_l14_unusable_answers_release_all_followers_together(
    name: str, headers: list[Field]
) -> None:
    gated = Gated(*headers)
    app = CacheMiddleware(gated)
    answers = await herd(app, gated, 50)
    assert gated.calls == 50
    assert sorted(int(exchange.body[:-1]) for exchange in answers) == list(range(1, 51))
    assert gated.most == 49
    # The next ones do not queue at all.
    gated.gate.clear()
    tasks = [asyncio.create_task(drive(app)) for _ in range(10)]
    await turns()
    assert gated.inside == 10
    gated.gate.set()
    await asyncio.gather(*tasks)


async def test_l02_set_cookie_is_given_to_no_follower() -> None:
    calls, gate = 0, asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        serial = calls
        await gate.wait()
        lines = [(b"cache-control", b"max-age=60"), (b"set-cookie", b"sid=%d" % serial)]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": b"x"})

    for paths in ({}, {"/": 60}):
        wrapped = CacheMiddleware(app, paths=paths)
        gate.clear()
        tasks = [asyncio.create_task(drive(wrapped)) for _ in range(100)]
        await turns()
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert len({exchange.field("set-cookie") for exchange in answers}) == 100


async def test_followers_of_another_variant_go_at_the_start_of_the_leaders() -> None:
    halfway = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen = dict(scope["headers"])[b"x-v"]
        calls.append(seen)
        await gate.wait()
        lines = [(b"cache-control", b"max-age=60"), (b"vary", b"x-v")]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": seen, "more_body": True})
        if seen == b"a" and len(calls) > 1:
            await halfway.wait()
        await send({"type": BODY, "body": seen})

    calls: list[bytes] = []
    gate = asyncio.Event()
    wrapped = CacheMiddleware(app)
    tasks = {
        value: [asyncio.create_task(drive(wrapped, headers=[("x-v", value)])) for _ in range(5)]
        for value in ("a", "b")
    }
    await turns()
    assert calls == [b"a"]
    gate.set()
    # While the leader is still at it, those who need the other variant have it.
    for task in tasks["b"]:
        assert (await asyncio.wait_for(task, 5)).body == b"bb"
    halfway.set()
    assert {(await task).body for task in tasks["a"]} == {b"aa"}
    assert calls.count(b"a") == 1
    assert 1 <= calls.count(b"b") <= 5


async def test_users_whom_the_answer_is_not_for_run_by_themselves() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    answers = await herd(app, gated, 20, [[], [("cookie", "user=alice")]])
    assert gated.calls == 11
    shared = [exchange.body for exchange in answers if exchange.collapsed]
    assert set(shared) == {b"1;"}


async def test_followers_of_a_private_page_run_once_as_they_came() -> None:
    """Decision 3: released by a refusal, nobody is asked as nobody again."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen = dict(scope["headers"]).get(b"cookie", b"")
        calls.append(seen)
        await gate.wait()
        lines = [(b"cache-control", b"private")]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": seen})

    calls: list[bytes] = []
    gate = asyncio.Event()
    wrapped = CacheMiddleware(app, paths={"/": 60})
    tasks = [
        asyncio.create_task(drive(wrapped, headers=[("cookie", f"user={number}")]))
        for number in range(10)
    ]
    await turns()
    assert calls == [b""]
    gate.set()
    answers = await asyncio.gather(*tasks)
    assert [exchange.body for exchange in answers] == [b"user=%d" % n for n in range(10)]
    assert sorted(calls) == [b"", *(b"user=%d" % number for number in range(10))]


# ------------------------------------------------------------------ leaders that fail or leave


class OwnError(Exception):
    """The app's."""


async def test_c04_the_leaders_exception_is_its_own() -> None:
    gated = Gated(FRESH)
    gated.failure = OwnError("first")
    app = CacheMiddleware(gated)

    async def first_only(serial: int) -> None:
        if serial > 1:
            gated.failure = None

    gated.each = first_only
    tasks = [asyncio.create_task(drive(app)) for _ in range(50)]
    await gated.entered.wait()
    await turns()
    gated.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers].count(OwnError) == 1
    assert gated.calls == 2
    assert gated.most == 1


async def test_c04_an_app_that_always_raises_is_tried_one_at_a_time_then_by_all() -> None:
    gated = Gated(FRESH)
    gated.failure = OwnError("always")
    app = CacheMiddleware(gated)
    answers = await asyncio.wait_for(
        asyncio.gather(*(drive(app) for _ in range(50)), _open(gated), return_exceptions=True),
        20,
    )
    assert [type(one) for one in answers].count(OwnError) == 50
    assert gated.calls == 50


async def _open(gated: Gated) -> None:
    await gated.entered.wait()
    await turns()
    gated.gate.set()


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("chunk", [0, 1, 2, 3])
async def test_c06_the_fill_goes_on_without_its_client(version: str, chunk: int) -> None:
    """The leader's client disconnects; its followers are whole, from the same call."""
    gates = [asyncio.Event() for _ in range(4)]
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        gone = asyncio.ensure_future(_disconnected(receive))
        lines = [(b"cache-control", b"max-age=60")]
        for number, gate in enumerate(gates):
            waiting = asyncio.ensure_future(gate.wait())
            await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if gone.done():
                return  # as Starlette's streams do
            if number == 0:
                await send({"type": START, "status": 200, "headers": lines})
            else:
                more = number < len(gates) - 1
                await send({"type": BODY, "body": b"%d" % number, "more_body": more})
        gone.cancel()

    wrapped = CacheMiddleware(app)
    connection = Connection(http_scope(spec_version=version))
    leader = asyncio.create_task(connection.run(wrapped))
    await turns()
    followers = [asyncio.create_task(drive(wrapped)) for _ in range(10)]
    for number, gate in enumerate(gates):
        await turns()
        if number == chunk:
            connection.disconnect()
            await turns()
        gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*followers), 5)
    assert {exchange.body for exchange in answers} == {b"123"}
    assert all(exchange.complete for exchange in answers)
    assert calls == 1
    await asyncio.wait({leader}, timeout=5)
    assert leader.done()
    leader.exception()
    assert (await drive(wrapped)).hit


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_c06_a_cancelled_leader_is_followed_by_one() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    tasks = [asyncio.create_task(drive(app)) for _ in range(20)]
    await gated.entered.wait()
    await turns()
    tasks[0].cancel()
    await turns()
    assert (gated.calls, gated.inside) == (2, 1)
    gated.gate.set()
    answers = await asyncio.gather(*tasks[1:])
    assert {exchange.body for exchange in answers} == {b"2;"}


async def test_a_request_that_was_left_twice_runs_by_itself() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    tasks = [asyncio.create_task(drive(app)) for _ in range(10)]
    await gated.entered.wait()
    for number in (0, 1):
        await turns()
        tasks[number].cancel()
    await turns()
    assert gated.inside == 8
    gated.gate.set()
    await asyncio.gather(*tasks[2:])


async def test_a_leader_that_is_cut_off_releases_all() -> None:
    """Of a response that began and did not end there is nothing to wait for."""
    gate, calls = asyncio.Event(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        broken = calls == 1
        await gate.wait()
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": BODY, "body": b"half", "more_body": True})
        if broken:
            raise OwnError
        await send({"type": BODY, "body": b"whole"})

    wrapped = CacheMiddleware(app)
    tasks = [asyncio.create_task(drive(wrapped)) for _ in range(10)]
    await turns()
    gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers].count(OwnError) == 1
    assert {one.body for one in answers if not isinstance(one, BaseException)} == {b"halfwhole"}
    assert calls == 10


async def test_c08_a_leader_that_hangs_holds_nobody_for_longer_than_the_timeout() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, collapse_timeout=0.05)
    leader = asyncio.create_task(drive(app))
    await gated.entered.wait()

    async def others(serial: int) -> None:
        if serial > 5:  # all who waited have given up
            gated.gate.set()

    gated.each = others
    answers = await asyncio.wait_for(asyncio.gather(*(drive(app) for _ in range(5))), 5)
    assert {exchange.cache_status for exchange in answers} == {
        "asgi-cache; fwd=uri-miss; collapsed=?0; detail=leader-late"
    }
    assert gated.calls == 6
    assert "stored" in (await leader).cache_status


async def test_d08_more_than_the_most_followers_run_at_once() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, max_followers=10)
    answers = await herd(app, gated, 30)
    assert gated.calls == 20
    assert sum(exchange.collapsed is True for exchange in answers) == 10


@pytest.mark.parametrize("setting", [{"collapse_timeout": 0}, {"max_followers": 0}])
async def test_switched_off_nobody_waits(setting: dict[str, Any]) -> None:
    gated = Gated(FRESH)
    await herd(CacheMiddleware(gated, **setting), gated, 10)
    assert gated.calls == 10


async def test_a_slow_client_of_the_leader_slows_nobody() -> None:
    stuck, chunks = asyncio.Event(), 5

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        for number in range(chunks):
            await gate.wait()
            more = number < chunks - 1
            await send({"type": BODY, "body": b"%d" % number, "more_body": more})

    gate = asyncio.Event()

    async def slow(message: Message) -> None:
        if message.get("body"):
            await stuck.wait()

    wrapped = CacheMiddleware(app)
    connection = Connection(http_scope(), on_send=slow)
    leader = asyncio.create_task(connection.run(wrapped))
    await turns()
    followers = [asyncio.create_task(drive(wrapped)) for _ in range(5)]
    await turns()
    gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*followers), 5)
    assert {exchange.body for exchange in answers} == {b"01234"}
    assert not leader.done()
    stuck.set()
    assert (await asyncio.wait_for(leader, 5)).body == b"01234"


async def test_stale_if_error_stands_in_for_followers_too(clock: Clock) -> None:
    page = Revising(("cache-control", "max-age=10, stale-if-error=60"))
    app = CacheMiddleware(page, store=MemoryStore(1 << 20, clock))
    await drive(app)
    clock.advance(11)
    gate = asyncio.Event()

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before, page.status = wait, 503
    tasks = [asyncio.create_task(drive(app)) for _ in range(20)]
    await turns()
    gate.set()
    answers = await asyncio.gather(*tasks)
    assert page.calls == 2
    assert {(exchange.status, exchange.body) for exchange in answers} == {(200, b"one")}
    assert all("detail=stale-if-error" in exchange.cache_status for exchange in answers)


# ------------------------------------------------------------------ purges


async def test_a_request_after_a_purge_does_not_join_a_fill_from_before_it() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    early = [asyncio.create_task(drive(app)) for _ in range(5)]
    await gated.entered.wait()
    await turns()
    await app.cache.purge("http://shop.example/")
    late = [asyncio.create_task(drive(app)) for _ in range(5)]
    await turns()
    gated.gate.set()
    assert {exchange.body for exchange in await asyncio.gather(*early)} == {b"1;"}
    assert b"1;" not in {exchange.body for exchange in await asyncio.gather(*late)}


@pytest.mark.parametrize("soft", [False, True])
async def test_i05_groups_that_only_the_response_names_are_asked_once_more(soft: bool) -> None:
    gated = Gated(FRESH, ("cache-groups", '"h"'))
    app = CacheMiddleware(gated)
    early = [asyncio.create_task(drive(app)) for _ in range(5)]
    await gated.entered.wait()
    await turns()
    await app.cache.purge(group="h", soft=soft)
    late = [asyncio.create_task(drive(app)) for _ in range(5)]
    await turns()
    gated.gate.set()
    await asyncio.gather(*early)
    assert b"1;" not in {exchange.body for exchange in await asyncio.gather(*late)}


async def test_groups_that_nobody_purged_are_joined() -> None:
    gated = Gated(FRESH, ("cache-groups", '"h", "i"'))
    app = CacheMiddleware(gated)
    answers = await herd(app, gated, 20)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;"}


async def test_i06_two_that_found_a_stamp_missing_are_not_the_same() -> None:
    store = SpyStore()
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=store, paths={"/x": Rule(ttl=60, groups=["g"])})
    leader = asyncio.create_task(drive(app, "/x"))
    await gated.entered.wait()
    await turns()
    await app.cache.purge(group="g")
    for name in [
        place for place in store._values if isinstance(place, bytes) and place[:1] in b"go"
    ]:
        store._values.pop(name)  # evicted
    late = asyncio.create_task(drive(app, "/x"))
    await turns()
    gated.gate.set()
    assert (await leader).body == b"1;"
    assert (await late).body == b"2;"


# ------------------------------------------------------------------ overtaken by a purge


PURGES: dict[str, Callable[[Cache], Awaitable[None]]] = {
    "url": lambda cache: cache.purge("http://shop.example/x"),
    "url-soft": lambda cache: cache.purge("http://shop.example/x", soft=True),
    "queries": lambda cache: cache.purge("http://shop.example/x", all_queries=True),
    "group": lambda cache: cache.purge(group="g"),
    "group-soft": lambda cache: cache.purge(group="g", soft=True),
    "all": lambda cache: cache.purge_all(),
    "all-soft": lambda cache: cache.purge_all(soft=True),
}
GROUPED = {"/x": Rule(ttl=60, groups=["g"])}


async def asking(app: Any, count: int, **options: Any) -> list[asyncio.Task[Exchange]]:
    """*count* requests that have come as far as they will."""
    tasks = [asyncio.create_task(drive(app, "/x", **options)) for _ in range(count)]
    await turns()
    return tasks


@pytest.mark.parametrize("how", PURGES)
async def test_c18_those_of_after_a_purge_make_one_further_call(how: str) -> None:
    gated = Gated()
    app = CacheMiddleware(gated, paths=GROUPED)
    early = await asking(app, 5)
    await PURGES[how](app.cache)
    late = await asking(app, 20)
    assert gated.calls == 1
    gated.gate.set()
    assert {(await task).body for task in early} == {b"1;"}
    answers = [await task for task in late]
    assert {exchange.body for exchange in answers} == {b"2;"}
    assert (gated.calls, gated.most) == (2, 1)
    assert sorted(str(exchange.collapsed) for exchange in answers) == ["False", *["True"] * 19]
    assert (await drive(app, "/x")).hit


@pytest.mark.parametrize("how", PURGES)
async def test_c18_another_turn_carries_the_stamps_of_now(how: str) -> None:
    """Purged again while they wait: all of after the first purge have one call, of after both."""
    gated = Gated()
    app = CacheMiddleware(gated, paths=GROUPED)
    early = await asking(app, 5)
    await PURGES[how](app.cache)
    between = await asking(app, 5)
    await PURGES[how](app.cache)
    late = await asking(app, 5)
    gated.gate.set()
    assert {(await task).body for task in early} == {b"1;"}
    assert {(await task).body for task in [*between, *late]} == {b"2;"}
    assert gated.calls == 2
    exchange = await drive(app, "/x")
    assert (exchange.hit, exchange.body) == (True, b"2;")


@pytest.mark.parametrize("soft", [False, True])
async def test_c18_groups_that_only_the_response_names(soft: bool) -> None:
    gated = Gated(FRESH, ("cache-groups", '"h"'))
    app = CacheMiddleware(gated)
    early = await asking(app, 5)
    await app.cache.purge(group="h", soft=soft)
    late = await asking(app, 5)
    gated.gate.set()
    assert [(await task).body for task in early] == [b"1;", *[b"2;"] * 4]
    assert {(await task).body for task in late} == {b"2;"}
    assert (gated.calls, gated.most) == (2, 1)
    assert (await drive(app, "/x")).hit


async def test_c18_another_turn_asks_about_what_is_stored_by_then() -> None:
    """Nothing was, when they came; a soft purge has left them what the app is asked about."""
    gated = Gated(FRESH, ("etag", '"v"'))
    app = CacheMiddleware(gated)
    early = await asking(app, 2)
    await app.cache.purge_all(soft=True)
    late = await asking(app, 2)
    gated.gate.set()
    assert {(await task).body for task in early} == {b"1;"}
    assert [(await task).cache_status.partition("; ttl")[0] for task in late] == [
        "asgi-cache; fwd=stale; stored; collapsed=?0",
        "asgi-cache; fwd=stale; collapsed",
    ]
    assert [seen.get(b"if-none-match") for seen in gated.seen] == [None, b'"v"']


async def test_c18_another_turn_does_not_ask_about_what_is_gone_by_then() -> None:
    gated = Gated(("cache-control", "max-age=60, stale-if-error=60"), ("etag", '"v"'))
    app = CacheMiddleware(gated)
    gated.gate.set()
    await drive(app, "/x")
    await app.cache.purge_all(soft=True)
    gated.gate.clear()
    early = await asking(app, 2)
    await app.cache.purge_all(soft=True)
    between = await asking(app, 2)
    await app.cache.purge_all()
    gated.gate.set()
    assert {(await task).body for task in early} == {b"2;"}
    assert [(await task).cache_status.partition("; ttl")[0] for task in between] == [
        "asgi-cache; fwd=uri-miss; stored; collapsed=?0",
        "asgi-cache; fwd=uri-miss; collapsed",
    ]
    assert [seen.get(b"if-none-match") for seen in gated.seen] == [None, b'"v"', None]


class PurgedAlways(MemoryStore):
    """A store where a purge comes before each look-up."""

    async def read(self, *arguments: Any) -> Any:
        await self.replace(arguments[3], (), 60.0)
        return await super().read(*arguments)


async def test_c18_whoever_is_overtaken_again_and_again_runs_by_itself() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=PurgedAlways(1 << 20))
    answers = await asyncio.wait_for(herd(app, gated, 10), 10)
    assert all(exchange.complete and exchange.status == 200 for exchange in answers)
    # One leads in the first turn and in each of the two that are retaken; the rest go at once.
    assert (gated.calls, gated.most) == (10, 7)


async def test_c18_all_turns_together_take_no_longer_than_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gated, patience, follow = Gated(FRESH), [], Flight.follow
    app = CacheMiddleware(gated, collapse_timeout=5)

    async def noted(self: Flight, suits: Any, seconds: float) -> Any:
        patience.append(seconds)
        return await follow(self, suits, seconds)

    monkeypatch.setattr(Flight, "follow", noted)
    early = await asking(app, 1)
    await app.cache.purge_all()
    late = await asking(app, 3)
    await asyncio.sleep(0.1)  # time that the second turn does not have any more
    gated.gate.set()
    await asyncio.gather(*early, *late)
    assert gated.calls == 2
    assert len(patience) == 3 + 2
    assert max(patience[3:]) <= max(patience[:3]) - 0.09


async def test_c18_what_needs_another_variant_goes_before_the_leader_has_ended() -> None:
    gated = Gated(FRESH, ("vary", "x-v"), chunks=2)
    app = CacheMiddleware(gated)
    stuck = asyncio.Event()

    async def slow(message: Message) -> None:
        if message["type"] == START:
            await stuck.wait()

    connection = Connection(http_scope("/x", headers=[("x-v", "a")]), on_send=slow)
    leader = asyncio.create_task(connection.run(app))
    await gated.entered.wait()
    await app.cache.purge_all()
    same = await asking(app, 3, headers=[("x-v", "a")])
    other = await asking(app, 3, headers=[("x-v", "b")])
    gated.gate.set()
    answers = [await asyncio.wait_for(task, 5) for task in other]
    assert not leader.done()
    assert [exchange.collapsed for exchange in answers] == [False] * 3
    stuck.set()
    assert len({(await task).body for task in same}) == 1
    assert gated.calls == 5


# ------------------------------------------------------------------ Cache-Status (RFC 9211 §2.6)


def told_of(answers: Sequence[Exchange]) -> list[str]:
    """What Cache-Status says in each of *answers*, without its lifetime."""
    found = [exchange.cache_status.partition("; ttl")[0] for exchange in answers]
    return [one.removeprefix("asgi-cache; ") for one in found]


USER = [("cookie", "user=ann")]
COLLAPSED: list[tuple[str, list[Field], dict[str, Any], Sequence[Sequence[Field]], list[str]]] = [
    (
        "shared",
        [FRESH],
        {},
        [()],
        ["fwd=uri-miss; stored", "fwd=uri-miss; collapsed", "fwd=uri-miss; collapsed"],
    ),
    (
        "not for this one",
        [FRESH],
        {},
        [(), USER],
        [
            "fwd=uri-miss; stored",
            "fwd=uri-miss; collapsed=?0; detail=not-shared",
            "fwd=uri-miss; collapsed",
        ],
    ),
    (
        "not for others",
        [("cache-control", "private")],
        {},
        [()],
        ["fwd=uri-miss; detail=private", *["fwd=uri-miss; collapsed=?0; detail=private"] * 2],
    ),
    (
        "not for others, who are known",
        [("cache-control", "private")],
        {"paths": {"/": 60}},
        [USER],
        ["fwd=bypass; detail=private", *["fwd=bypass; collapsed=?0; detail=private"] * 2],
    ),
    (
        "without a lifetime",
        [],
        {},
        [()],
        [
            "fwd=uri-miss; detail=no-lifetime",
            *["fwd=uri-miss; collapsed=?0; detail=no-lifetime"] * 2,
        ],
    ),
    (
        "another variant",
        [FRESH, ("vary", "x-v")],
        {},
        [[("x-v", "a")], [("x-v", "b")]],
        [
            "fwd=uri-miss; stored",
            "fwd=uri-miss; stored; collapsed=?0",
            "fwd=uri-miss; collapsed",
        ],
    ),
    ("too many", [FRESH], {"max_followers": 0}, [()], ["fwd=uri-miss; stored"] * 3),
    ("switched off", [FRESH], {"collapse_timeout": 0}, [()], ["fwd=uri-miss; stored"] * 3),
]


@pytest.mark.parametrize(
    ("lines", "settings", "headers", "told"),
    [row[1:] for row in COLLAPSED],
    ids=[row[0] for row in COLLAPSED],
)
async def test_what_cache_status_says_of_waiting(
    lines: list[Field],
    settings: dict[str, Any],
    headers: Sequence[Sequence[Field]],
    told: list[str],
) -> None:
    gated = Gated(*lines)
    app = CacheMiddleware(gated, **settings)
    assert told_of(await herd(app, gated, 3, headers)) == told


@pytest.mark.parametrize(
    ("status", "version", "told"),
    [
        (200, "one", ["fwd=stale; fwd-status=304; stored", "fwd=stale; collapsed"]),
        (200, "two", ["fwd=stale; stored", "fwd=stale; collapsed"]),
        (
            503,
            "one",
            [
                "fwd=stale; fwd-status=503; detail=stale-if-error",
                "fwd=stale; collapsed; detail=stale-if-error",
            ],
        ),
    ],
)
async def test_what_cache_status_says_of_waiting_where_something_is_stale(
    clock: Clock, status: int, version: str, told: list[str]
) -> None:
    page = Revising(("cache-control", "max-age=10, stale-if-error=60"))
    app = CacheMiddleware(page, store=MemoryStore(1 << 20, clock))
    await drive(app)
    clock.advance(11)
    gate = asyncio.Event()

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before, page.status, page.version = wait, status, version
    tasks = [asyncio.create_task(drive(app)) for _ in range(2)]
    await turns()
    gate.set()
    assert told_of(await asyncio.gather(*tasks)) == told


async def test_what_cache_status_says_of_who_takes_a_lost_leaders_place() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    tasks = await asking(app, 3)
    tasks[0].cancel()
    await turns()
    gated.gate.set()
    assert told_of([await task for task in tasks[1:]]) == [
        "fwd=uri-miss; stored; collapsed=?0",
        "fwd=uri-miss; collapsed",
    ]


# ------------------------------------------------------------------ without a store


async def test_c03_with_the_store_away_there_is_one_call_all_the_same() -> None:
    store = SpyStore()
    store.failing["read"] = StoreError("away")
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=store)
    answers = await herd(app, gated, 100)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;"}
    assert {exchange.cache_status.partition("; ttl")[0] for exchange in answers} == {
        "asgi-cache; fwd=uri-miss; detail=store-unavailable",
        "asgi-cache; fwd=uri-miss; collapsed",
    }
    assert app.cache.metrics.stores == 0
    assert "write" not in store.operations
    assert app.cache.filling_bytes == 0
    gated.gate.clear()
    gated.entered.clear()
    await herd(app, gated, 5)
    assert gated.calls == 2


async def test_nothing_is_left_behind() -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated)
    tasks = [asyncio.create_task(drive(app, f"/{number % 7}")) for number in range(100)]
    await turns()
    for task in tasks[::3]:
        task.cancel()
    gated.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert app._fetcher._turns._flights._flights == {}
    assert app.cache.filling_bytes == 0


async def test_a_recorder_is_asked_once_for_each_key() -> None:
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder)
    await asyncio.gather(*(drive(app, f"/{number % 10}") for number in range(200)))
    assert recorder.calls == 10
