"""One fill: chunks pass as they come, the copy is bounded, and only whole responses are stored."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from starlette.routing import Route

from asgi_cache import Cache, CacheMiddleware
from tests.driver import BODY, START, Connection, Recorder, drive, http_scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRESH = (b"cache-control", b"max-age=60")
CHUNK = b"x" * 65_536


def chunks(*contents: bytes, lines: tuple[tuple[bytes, bytes], ...] = (FRESH,)) -> ASGIApp:
    """An app that sends *contents*, one message each."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": list(lines)})
        for index, content in enumerate(contents, 1):
            await send({"type": BODY, "body": content, "more_body": index < len(contents)})

    return app


def outcome(cache: Cache) -> dict[str, int]:
    """What was stored, and what was refused."""
    counts = cache.metrics.by_label()
    return {name: count for name, count in counts.items() if not name.startswith("decision.")}


# ------------------------------------------------------------------ streaming


async def test_the_first_chunk_arrives_before_the_second_is_made() -> None:
    arrived = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": b"one", "more_body": True})
        await arrived.wait()
        await send({"type": BODY, "body": b"two"})

    wrapped = CacheMiddleware(app)
    connection = Connection(
        http_scope(), on_send=lambda message: arrived.set() if message.get("body") else None
    )
    exchange = await asyncio.wait_for(connection.run(wrapped), 5)
    assert exchange.body == b"onetwo"
    assert (await drive(wrapped)).hit


@pytest.mark.parametrize("length", [False, True])
async def test_the_start_arrives_before_the_first_chunk_is_made(length: bool) -> None:
    """With a Content-Length it may be held for the tag: but never where the app awaits more."""
    started = asyncio.Event()
    lines = [FRESH, (b"etag", b'"v1"')] + [(b"content-length", b"3")] * length

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": lines})
        await started.wait()
        await send({"type": BODY, "body": b"one"})

    connection = Connection(http_scope(), on_send=lambda message: started.set())
    exchange = await asyncio.wait_for(connection.run(CacheMiddleware(app)), 5)
    assert exchange.complete


async def test_a_held_start_goes_out_with_the_first_of_several_chunks() -> None:
    arrived = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [FRESH, (b"content-length", b"6")]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": b"one", "more_body": True})
        await arrived.wait()
        await send({"type": BODY, "body": b"two"})

    wrapped = CacheMiddleware(app)
    connection = Connection(
        http_scope(), on_send=lambda message: arrived.set() if message.get("body") else None
    )
    exchange = await asyncio.wait_for(connection.run(wrapped), 5)
    assert exchange.field("etag") is None
    second = await drive(wrapped)
    assert (second.hit, second.field("etag")) == (True, None)


@pytest.mark.parametrize(
    "lines",
    [(FRESH,), (FRESH, (b"content-type", b"text/event-stream"))],
    ids=["too large", "server-sent events"],
)
async def test_d03_d05_an_endless_stream_is_neither_kept_nor_held(
    lines: tuple[tuple[bytes, bytes], ...],
) -> None:
    """256 MiB through a cache whose bound is 1 MiB; the client drops what it has read."""
    count = 4096
    sent = received = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": START, "status": 200, "headers": list(lines)})
        for _ in range(count):
            sent += 1
            await send({"type": BODY, "body": bytes(len(CHUNK)), "more_body": True})
            assert received == sent

    async def send(message: Message) -> None:
        nonlocal received
        received += message["type"] == BODY

    async def receive() -> Message:
        raise AssertionError

    wrapped = CacheMiddleware(app)
    tracemalloc.start()
    try:
        await wrapped(http_scope(), receive, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"peak: {peak / 2**20:.2f} MiB for {count * len(CHUNK) / 2**20:.0f} MiB")
    assert received == count
    assert peak < 2.5 * 2**20
    assert wrapped.cache.filling_bytes == 0
    assert wrapped.cache.metrics.stores == 0


@pytest.mark.parametrize("declared", [False, True])
async def test_a_body_over_the_bound_passes_whole(declared: bool) -> None:
    body = [b"a" * 60, b"b" * 40, b"c"]
    lines = (FRESH, (b"content-length", b"101"))[: 1 + declared]
    app = CacheMiddleware(chunks(*body, lines=lines), max_body_bytes=100)
    assert (await drive(app)).body == b"".join(body)
    assert outcome(app.cache) == {"refusal.too-large": 1}
    fits = CacheMiddleware(chunks(*body[:2]), max_body_bytes=100)
    await drive(fits)
    assert (await drive(fits)).body == b"".join(body[:2])
    assert outcome(fits.cache) == {"stores": 1}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("private", [False, True])
async def test_a_framework_that_streams(hidden: bool, version: str, private: bool) -> None:
    """Starlette's StreamingResponse listens for the disconnect, each version in its own way."""
    calls = 0

    async def page(request: Request) -> StreamingResponse:
        nonlocal calls
        calls += 1

        async def parts() -> AsyncIterator[bytes]:
            for part in (b"one ", b"two ", request.headers.get("cookie", "no").encode()):
                yield part

        headers = {"cache-control": "private"} if private else None
        return StreamingResponse(parts(), headers=headers)

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    inside = Starlette(
        routes=[Route("/", page)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    app = CacheMiddleware(inside, paths={"/": 60})
    headers = [("cookie", "a=1")] if hidden else []
    exchange = await drive(app, headers=headers, spec_version=version)
    twice = hidden and private
    assert calls == 1 + twice
    assert exchange.body == (b"one two a=1" if twice else b"one two no")
    assert exchange.complete
    again = await drive(app, headers=headers, spec_version=version)
    assert (again.hit, again.body) == (not private, exchange.body)


# ------------------------------------------------------------------ the bound of all fills


async def test_d04_all_fills_together_are_bounded() -> None:
    """The third of three fills that each hold their copy gets no room, and passes whole."""
    gates = {f"/{number}": asyncio.Event() for number in range(3)}
    halfway = {name: asyncio.Event() for name in gates}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": b"x" * 40, "more_body": True})
        halfway[scope["path"]].set()
        await gates[scope["path"]].wait()
        await send({"type": BODY, "body": b"y" * 10})

    wrapped = CacheMiddleware(app, fill_bytes=100)
    cache = wrapped.cache
    requests = []
    for name in gates:
        requests.append(asyncio.create_task(drive(wrapped, name)))
        await halfway[name].wait()
    assert cache.filling_bytes == 80
    assert outcome(cache) == {"refusal.fill-bytes": 1}
    for gate in gates.values():
        gate.set()
    bodies = {exchange.body for exchange in await asyncio.gather(*requests)}
    assert bodies == {b"x" * 40 + b"y" * 10}
    assert cache.filling_bytes == 0
    assert outcome(cache) == {"refusal.fill-bytes": 1, "stores": 2}
    assert [(await drive(wrapped, name)).hit for name in ("/0", "/1")] == [True, True]


@pytest.mark.parametrize("end", ["raise", "return", "cancel", "send fails", "length", "other"])
@pytest.mark.parametrize("hidden", [False, True])
async def test_the_share_of_a_fill_is_always_given_back(end: str, hidden: bool) -> None:
    halfway = asyncio.Event()
    lines = [FRESH] + [(b"content-length", b"9")] * (end == "length")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": b"x" * 40, "more_body": True})
        assert wrapped.cache.filling_bytes == 40
        halfway.set()
        if end == "raise":
            raise ValueError
        if end == "cancel":
            await asyncio.Event().wait()
        if end == "send fails":
            connection.disconnect()
        if end == "other":
            await send({"type": "http.response.push", "path": "/", "headers": []})
        if end != "return":
            await send({"type": BODY, "body": b"y"})

    wrapped = CacheMiddleware(app, paths={"/": 60})
    connection = Connection(http_scope(headers=[("cookie", "a=1")] if hidden else []))
    request = asyncio.create_task(connection.run(wrapped))
    await halfway.wait()
    if end == "cancel":
        request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert wrapped.cache.filling_bytes == 0
    assert wrapped.cache.metrics.stores == (end == "send fails")


# ------------------------------------------------------------------ disconnects


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("hidden", [False, True])
async def test_c06_a_client_that_goes_never_leaves_a_short_response(
    version: str, after: int, hidden: bool
) -> None:
    """Whenever it goes, and whether or not the app notices: the next one gets all of it."""
    whole = [b"one", b"two", b"three", b"four"]
    headers = [("cookie", "a=1")] if hidden else []
    app = CacheMiddleware(chunks(*whole), paths={"/": 60})
    try:
        await drive(app, disconnect_after=after, spec_version=version, headers=headers)
        noticed = False
    except OSError:
        noticed = True
    assert noticed == (version == "2.4" and after < 5)
    next_one = await drive(app)
    assert next_one.body == b"".join(whole)
    # Once its response has begun, the app is told with its last message: all of it has come.
    assert next_one.hit == (not noticed or after > 0)
    assert app.cache.filling_bytes == 0


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_c06_an_app_that_stops_at_the_disconnect_stores_nothing(version: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": b"half", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    wrapped = CacheMiddleware(app)
    await drive(wrapped, disconnect_after=2, spec_version=version)
    assert outcome(wrapped.cache) == {"refusal.incomplete": 1}


async def test_two_bodies_are_never_glued_together() -> None:
    """A cancelled fill and the one after it keep their copies apart."""
    halfway = asyncio.Event()
    serial = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal serial
        serial += 1
        mine = b"%d" % serial
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": mine * 3, "more_body": True})
        if serial == 1:
            halfway.set()
            await asyncio.Event().wait()
        await send({"type": BODY, "body": mine * 3})

    wrapped = CacheMiddleware(app)
    request = asyncio.create_task(drive(wrapped))
    await halfway.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert (await drive(wrapped)).body == b"222222"
    assert (await drive(wrapped)).body == b"222222"


# ------------------------------------------------------------------ entity tags


async def tags(app: ASGIApp) -> tuple[str | None, str | None]:
    """The tag of the fill, and that of the hit."""
    first, second = await drive(app), await drive(app)
    assert second.hit
    return first.field("etag"), second.field("etag")


LENGTH = (b"content-length", b"4")


@pytest.mark.parametrize(
    ("lines", "contents", "generated"),
    [
        ((FRESH, LENGTH), [b"page"], True),
        ((FRESH,), [b"page"], False),
        ((FRESH, LENGTH), [b"pa", b"ge"], False),
        ((FRESH, LENGTH), [b"page", b""], False),
        ((FRESH, LENGTH, (b"etag", b'"v1"')), [b"page"], False),
        ((FRESH, LENGTH, (b"etag", b"not a tag")), [b"page"], False),
        ((FRESH, LENGTH, (b"last-modified", b"Mon, 01 Jan 2024 00:00:00 GMT")), [b"page"], False),
    ],
)
async def test_a_tag_is_generated_only_where_it_costs_no_waiting(
    lines: tuple[tuple[bytes, bytes], ...], contents: list[bytes], generated: bool
) -> None:
    first, second = await tags(CacheMiddleware(chunks(*contents, lines=lines)))
    digest = hashlib.blake2b(b"page", digest_size=16).hexdigest()
    own = dict(lines).get(b"etag", b"").decode() or None
    assert first == second == (f'W/"{digest}"' if generated else own)


async def test_no_tag_where_the_setting_says_so() -> None:
    app = CacheMiddleware(chunks(b"page", lines=(FRESH, LENGTH)), etag=False)
    assert await tags(app) == (None, None)


@pytest.mark.parametrize("status", [301, 404])
async def test_no_tag_where_a_condition_would_not_be_answered(status: int) -> None:
    app = CacheMiddleware(Recorder([FRESH], status=status))
    assert await tags(app) == (None, None)


async def test_no_tag_on_what_is_not_stored() -> None:
    app = CacheMiddleware(chunks(b"page", lines=((b"cache-control", b"private"), LENGTH)))
    exchange = await drive(app)
    assert exchange.field("etag") is None


async def test_a_generated_tag_is_not_on_a_body_that_is_not_stored() -> None:
    """The length is wrong: what was held goes out as it came."""
    app = CacheMiddleware(chunks(b"other", lines=(FRESH, LENGTH)))
    exchange = await drive(app)
    assert (exchange.field("etag"), exchange.body) == (None, b"other")
    assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=length"


async def test_start_and_body_of_a_tagged_response_go_out_together() -> None:
    seen: list[list[str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [FRESH, LENGTH]})
        seen.append([message["type"] for message in connection.exchange.messages])
        await send({"type": BODY, "body": b"page"})

    connection = Connection(http_scope())
    exchange = await connection.run(CacheMiddleware(app))
    assert seen == [[]]
    assert [message["type"] for message in exchange.messages] == [START, BODY]


# ------------------------------------------------------------------ what else is refused


async def test_a_gets_content_is_not_stored_and_not_lost() -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["body"])
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": b"page"})

    wrapped = CacheMiddleware(app)
    exchange = await drive(wrapped, body=b"question")
    assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=request-body"
    assert seen == [b"question"]
    assert outcome(wrapped.cache) == {"refusal.request-body": 1}
    assert not (await drive(wrapped)).hit
    assert (await drive(wrapped)).hit


async def test_content_read_after_the_start_spoils_the_copy_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [FRESH]})
        message = await receive()
        await send({"type": BODY, "body": message["body"]})

    wrapped = CacheMiddleware(app)
    await drive(wrapped, body=b"question")
    assert outcome(wrapped.cache) == {"refusal.request-body": 1}


async def test_a_second_final_message_takes_back_what_was_stored() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [FRESH]})
        await send({"type": BODY, "body": b"page"})
        assert (await drive(wrapped_again)).hit
        await send({"type": BODY, "body": b"more"})

    cache = Cache()
    wrapped = CacheMiddleware(app, cache=cache)
    wrapped_again = CacheMiddleware(Recorder(), cache=cache)
    await drive(wrapped)
    assert not (await drive(wrapped_again)).hit


async def test_a_memoryview_is_copied_and_passed_as_it_came() -> None:
    content = memoryview(b"page")
    wrapped = CacheMiddleware(chunks(content))  # type: ignore[arg-type]  # as some servers allow
    first = await drive(wrapped)
    assert first.messages[1]["body"] is content
    second = await drive(wrapped)
    assert (second.hit, second.messages[1]["body"]) == (True, b"page")


async def test_an_empty_body_is_a_body() -> None:
    wrapped = CacheMiddleware(chunks(b""))
    await drive(wrapped)
    exchange = await drive(wrapped)
    assert (exchange.hit, exchange.body, exchange.field("content-length")) == (True, b"", "0")


@pytest.mark.parametrize("status", [204, 205])
async def test_no_length_is_added_where_none_may_be(status: int) -> None:
    wrapped = CacheMiddleware(Recorder([FRESH], status=status, length=False))
    await drive(wrapped)
    exchange = await drive(wrapped)
    assert exchange.hit
    assert exchange.field("content-length") is None


# ------------------------------------------------------------------ Settings.rule


@pytest.mark.parametrize("result", [ValueError("a bug"), 60, "60", {"ttl": 60}])
async def test_a_rule_function_that_fails_costs_a_fill_and_no_answer(result: object) -> None:
    def rule(request: object, head: object) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    recorder = Recorder()
    wrapped = CacheMiddleware(recorder, rule=rule)
    for serial in (1, 2):
        exchange = await drive(wrapped)
        assert exchange.serial == serial
        assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=rule"
    assert wrapped.cache.metrics.store_failures == 0


# ------------------------------------------------------------------ the end by Content-Length


LENGTH_SIX = (FRESH, (b"content-length", b"6"))


def ending(*after: Message, end: str = "return") -> ASGIApp:
    """An app that sends all that its Content-Length promised, then *after*, and ends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": START, "status": 200, "headers": list(LENGTH_SIX)})
        await send({"type": BODY, "body": b"onetwo", "more_body": True})
        for message in after:
            await send(message)
        if end == "disconnect":
            assert (await receive())["type"] == "http.disconnect"
        elif end == "raise":
            raise ValueError("after the body")
        elif end == "cancel":
            raise asyncio.CancelledError

    return app


def whole(message: Message, connection: Connection) -> None:
    """Let the client go as soon as it has its bytes, as granian and others do."""
    if message.get("body") == b"onetwo":
        connection.gone.set()


@pytest.mark.parametrize("hidden", [False, True])
async def test_the_bytes_that_complete_content_length_complete_the_response(hidden: bool) -> None:
    """Quart on granian: the server says that the client is gone, and the app then just ends."""
    wrapped = CacheMiddleware(ending(end="disconnect"), paths={"/": 60})
    fields = [("cookie", "a=b")] if hidden else []
    connection = Connection(http_scope(headers=fields))
    connection.on_send = lambda message: whole(message, connection)
    assert (await connection.run(wrapped)).body == b"onetwo"
    again = await drive(wrapped)
    assert (again.hit, again.body, again.values("etag")) == (True, b"onetwo", [])
    assert wrapped.cache.filling_bytes == 0


async def test_a_cancelled_app_leaves_the_whole_response() -> None:
    wrapped = CacheMiddleware(ending(end="cancel"))
    with pytest.raises(asyncio.CancelledError):
        await drive(wrapped)
    assert (await drive(CacheMiddleware(chunks(b"other"), cache=wrapped.cache))).body == b"onetwo"


async def test_the_response_is_a_hit_before_the_final_message() -> None:
    wrapped = CacheMiddleware(ending({"type": BODY, "body": b""}))
    seen = []

    async def ask_again(message: Message) -> None:
        if message.get("body") == b"onetwo":
            seen.append(await drive(wrapped))

    connection = Connection(http_scope(), on_send=ask_again)
    assert (await connection.run(wrapped)).complete
    assert [exchange.hit for exchange in seen] == [True]


@pytest.mark.parametrize(
    ("after", "stored"),
    [
        ([{"type": BODY, "body": b""}], True),
        ([{"type": BODY}], True),
        ([{"type": BODY, "body": b"", "more_body": True}, {"type": BODY}], True),
        ([], False),
        ([{"type": BODY, "body": b"", "more_body": True}], False),
        ([{"type": BODY, "body": b"more"}], False),
        ([{"type": BODY, "body": b"more", "more_body": True}, {"type": BODY}], False),
        ([{"type": BODY, "body": "text"}], False),
        ([{"type": "http.response.trailers", "headers": []}], False),
        ([{"type": BODY}, {"type": BODY}], False),
    ],
)
async def test_what_follows_the_promised_bytes(after: list[Message], stored: bool) -> None:
    """An app that goes on, or ends as if nothing were missing, has what was stored taken back."""
    wrapped = CacheMiddleware(ending(*after))
    connection = Connection(http_scope())
    connection.gone.clear()
    exchange = await connection.run(wrapped)
    assert exchange.messages[2:] == after
    again = await drive(CacheMiddleware(chunks(b"other"), cache=wrapped.cache))
    assert (again.hit, again.body) == ((True, b"onetwo") if stored else (False, b"other"))


async def test_an_app_that_raises_after_its_bytes_stores_nothing() -> None:
    wrapped = CacheMiddleware(ending(end="raise"))
    with pytest.raises(ValueError, match="after the body"):
        await drive(wrapped)
    assert outcome(wrapped.cache)["refusal.incomplete"] == 1
    assert not (await drive(CacheMiddleware(chunks(b"other"), cache=wrapped.cache))).hit
