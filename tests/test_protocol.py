"""The ASGI protocol between the server and the app, with the cache in between (cases G01 to G17).

Whatever an app does is passed on as without the cache, and only whole, valid responses are
stored. ``bare`` is the app without a cache; where the two can be compared, they are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

import asgi_cache
from asgi_cache import Cache, CacheMiddleware, GuardedStore, RedisStore, TieredStore
from asgi_cache.stores import probing
from tests.driver import BODY, START, Connection, Exchange, Recorder, SpyStore, drive, http_scope
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Handler: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"

FRESH = (b"cache-control", b"max-age=60")


def sending(*messages: Message) -> Handler:
    """An app that sends *messages*."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def start(*lines: tuple[bytes, bytes], **others: Any) -> Message:
    return {"type": START, "status": 200, "headers": [FRESH, *lines], **others}


def body(content: bytes = b"page", more: bool = False) -> Message:
    return {"type": BODY, "body": content, "more_body": more}


def without_ours(exchange: Exchange) -> list[Message]:
    """The messages that reached the client without the lines that the cache adds."""

    def kept(lines: list[Any]) -> list[Any]:
        return [line for line in lines if not (type(line) is tuple and line[0] == b"cache-status")]

    return [
        {**message, "headers": kept(message["headers"])}
        if isinstance(message.get("headers"), list)
        else message
        for message in exchange.messages
    ]


async def stored(app: ASGIApp, target: str = "/") -> bool:
    """Whether a plain request for *target* is a hit."""
    return (await drive(app, target)).hit


# ------------------------------------------------------------------ G01, G03


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [start()],
        [start((b"content-length", b"4"))],
        [start(), body(more=True)],
    ],
    ids=["nothing", "start", "held start", "unfinished"],
)
async def test_g01_an_app_that_returns_early(messages: list[Message]) -> None:
    app = CacheMiddleware(sending(*messages), etag=True)
    exchange = await drive(app)
    assert without_ours(exchange) == messages
    assert not await stored(app)
    assert app.cache.filling_bytes == 0


async def test_g01_a_held_start_does_not_claim_to_be_stored() -> None:
    app = CacheMiddleware(sending(start((b"content-length", b"4"))))
    exchange = await drive(app)
    assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=incomplete"
    assert exchange.field("etag") is None


@pytest.mark.parametrize(
    ("messages", "refusal"),
    [
        ([start(), start(), body()], "extension"),
        ([start((b"content-length", b"4")), start(), body()], "extension"),
        ([start(), body(), start()], "extension"),
        ([start(), body(), body()], "extension"),
        ([start(), body(more=True), start(), body()], "extension"),
        ([body(), start(), body()], "extension"),
        ([{"type": "unheard.of"}, start(), body()], "extension"),
        ([start((b"content-length", b"4")), {"type": "unheard.of"}, body()], "extension"),
        ([start(), {"type": "unheard.of"}, body()], "extension"),
        ([start(), body(), {"type": "unheard.of"}], "extension"),
        ([start(), body(), {"type": "http.response.debug", "info": {}}], "extension"),
        ([start(), {"body": b"no type"}, body()], "extension"),
        ([start(), {"type": BODY, "body": "text"}], "malformed"),
        ([start((b"content-length", b"4")), {"type": BODY, "body": None}], "malformed"),
    ],
)
async def test_g03_messages_out_of_order_are_passed_and_not_stored(
    messages: list[Message], refusal: str
) -> None:
    app = CacheMiddleware(sending(*messages))
    connection = Connection(http_scope())
    exchange = await connection.run(app)
    assert without_ours(exchange) == messages
    again = Connection(http_scope())
    await again.run(app)
    assert len(again.exchange.messages) == len(messages)
    assert app.cache.metrics.by_label()[f"refusal.{refusal}"] == 2
    assert "decision.fresh" not in app.cache.metrics.by_label()
    assert app.cache.filling_bytes == 0


async def test_g03_what_the_server_raises_leaves_unchanged() -> None:
    error = RuntimeError("the server does not like this")

    async def send(message: Message) -> None:
        raise error

    app = CacheMiddleware(sending(start(), body()))
    with pytest.raises(RuntimeError) as caught:
        await app(http_scope(), nothing, send)
    assert caught.value is error
    assert not await stored(app)


async def nothing() -> Message:
    return {"type": "http.disconnect"}


# ------------------------------------------------------------------ G04, G05


@pytest.mark.parametrize(
    ("lengths", "refusal"),
    [
        ([b"3"], "length"),
        ([b"5"], "length"),
        ([b"0"], "length"),
        ([b"4", b"4"], "length"),
        ([b"4", b"5"], "length"),
        ([b"-4"], "length"),
        ([b"+4"], "length"),
        ([b"4, 4"], "length"),
        ([b"0x4"], "length"),
        ([b""], "length"),
        ([b"9" * 30], "length"),
    ],
)
@pytest.mark.parametrize("chunks", [[b"page"], [b"pa", b"ge"]], ids=["one", "two"])
async def test_g04_a_length_that_is_not_the_bodys(
    lengths: list[bytes], refusal: str, chunks: list[bytes]
) -> None:
    lines = [(b"content-length", length) for length in lengths]
    bodies = [body(chunk, index < len(chunks)) for index, chunk in enumerate(chunks, 1)]
    messages = [start(*lines), *bodies]
    app = CacheMiddleware(sending(*messages))
    assert without_ours(await drive(app)) == messages
    assert not await stored(app)
    assert app.cache.metrics.by_label()[f"refusal.{refusal}"] == 2
    assert app.cache.filling_bytes == 0


async def test_g04_the_right_length_is_stored() -> None:
    app = CacheMiddleware(sending(start((b"content-length", b"4")), body()))
    await drive(app)
    assert await stored(app)


def generator(lines: Iterable[Any]) -> Iterable[Any]:
    yield from lines


@pytest.mark.parametrize(
    "make",
    [list, tuple, generator, lambda lines: [list(line) for line in lines]],
    ids=["list", "tuple", "generator", "lists"],
)
async def test_g05_valid_shapes_of_headers_are_stored(
    make: Callable[[list[tuple[bytes, bytes]]], Any],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [FRESH, (b"X-Upper", b"1"), (b"set", b"a"), (b"set", b"b")]
        await send({"type": START, "status": 200, "headers": make(lines)})
        await send(body())

    wrapped = asgi_cache.wrap(app)
    first, second = await drive(wrapped), await drive(wrapped)
    assert second.hit
    for exchange in (first, second):
        assert exchange.values("x-upper") == ["1"]
        assert exchange.values("set") == ["a", "b"]
    assert [list(line) for line in first.headers[:2]] == [list(FRESH), [b"X-Upper", b"1"]]


@pytest.mark.parametrize(
    "headers",
    [
        None,
        7,
        [("cache-control", "max-age=60")],
        [(b"cache-control", "max-age=60")],
        [(b"x",)],
        [(b"x", b"y", b"z")],
        [7],
        [FRESH, (b"x", b"a\r\nb")],
        [FRESH, (b"x\n", b"a")],
        [FRESH, (b"x", b"a\0b")],
        [FRESH, (b"", b"a")],
        [FRESH, (b"a b", b"a")],
    ],
    ids=repr,
)
async def test_g05_invalid_headers_are_passed_as_they_came(headers: Any) -> None:
    messages: list[Message] = [{"type": START, "status": 200, "headers": headers}, body()]
    app = CacheMiddleware(sending(*messages))
    exchange = await drive(app)
    assert without_ours(exchange) == messages
    assert app.cache.metrics.by_label()["refusal.malformed"] == 1
    await drive(app)
    assert "decision.fresh" not in app.cache.metrics.by_label()
    timed = await drive(asgi_cache.TimingMiddleware(sending(*messages)))
    assert timed.messages[1:] == messages[1:]


@pytest.mark.parametrize("status", [None, "200", 200.0, True, 99, 1000])
async def test_g05_an_invalid_status_is_passed_as_it_came(status: Any) -> None:
    messages: list[Message] = [{"type": START, "status": status, "headers": [FRESH]}, body()]
    app = CacheMiddleware(sending(*messages))
    assert without_ours(await drive(app)) == messages
    await drive(app)
    assert "decision.fresh" not in app.cache.metrics.by_label()


async def test_g05_missing_headers() -> None:
    app = asgi_cache.wrap(sending({"type": START, "status": 200}, body()), default_ttl=60)
    assert (await drive(app)).field("cache-control") == "max-age=60"
    assert await stored(app)


async def test_g05_repeated_fields_stay_repeated_and_in_order() -> None:
    lines = [(b"link", b"a"), (b"x", b"1"), (b"link", b"b"), (b"Link", b"c")]
    app = CacheMiddleware(sending(start(*lines), body()))
    first, second = await drive(app), await drive(app)
    assert first.headers[1:5] == lines
    assert second.headers[1:5] == [(name.lower(), value) for name, value in lines]


# ------------------------------------------------------------------ G07 to G10


async def test_g07_a_file_by_pathsend(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_bytes(b"a file")

    async def page(request: Request) -> FileResponse:
        return FileResponse(path, headers={"cache-control": "max-age=60"})

    app = CacheMiddleware(Starlette(routes=[Route("/", page)]))
    for _ in range(2):
        exchange = await drive(app, extensions={"http.response.pathsend": {}})
        assert exchange.messages[1:] == [{"type": "http.response.pathsend", "path": str(path)}]
    assert app.cache.metrics.by_label() == {"decision.uri-miss": 2, "refusal.extension": 2}
    await drive(app)  # a server without the extension gets the bytes, and they are stored
    assert (await drive(app)).body == b"a file"
    assert await stored(app)


@pytest.mark.parametrize("held", [False, True])
async def test_g07_zerocopysend(held: bool) -> None:
    copied: Message = {"type": "http.response.zerocopysend", "file": 3, "more_body": True}
    lines = [(b"content-length", b"8")] if held else []
    messages = [start(*lines), copied, body()]
    app = CacheMiddleware(sending(*messages))
    assert without_ours(await drive(app)) == messages
    assert not await stored_by_metrics(app)


async def stored_by_metrics(app: CacheMiddleware) -> bool:
    """Whether anything was ever stored."""
    return app.cache.metrics.stores > 0


@pytest.mark.parametrize(
    "messages",
    [
        [
            start(trailers=True),
            body(),
            {"type": "http.response.trailers", "headers": [(b"digest", b"x")]},
        ],
        [{"type": "http.response.push", "path": "/a.css", "headers": []}, start(), body()],
        [start(), {"type": "http.response.push", "path": "/a.css", "headers": []}, body()],
    ],
    ids=["trailers", "push", "push after start"],
)
async def test_g08_trailers_and_push(messages: list[Message]) -> None:
    app = CacheMiddleware(sending(*messages))
    assert without_ours(await drive(app)) == messages
    assert not await stored_by_metrics(app)


async def test_g08_trailers_that_were_not_announced_undo_the_storing() -> None:
    trailers: Message = {"type": "http.response.trailers", "headers": []}
    app = CacheMiddleware(sending(start(), body(), trailers))
    assert (await drive(app)).messages[2] == trailers
    assert not await stored(app)


@pytest.mark.parametrize("length", [[], [(b"content-length", b"4")]], ids=["sent", "held"])
async def test_g09_informational_messages_keep_their_place(
    length: list[tuple[bytes, bytes]],
) -> None:
    hint: Message = {"type": "http.response.early_hint", "links": [b"</a.css>"]}
    debug: Message = {"type": "http.response.debug", "info": {"template": "x"}}
    messages = [hint, debug, start(*length), debug, body()]
    app = CacheMiddleware(sending(*messages), etag=False)
    assert without_ours(await drive(app)) == messages
    app = CacheMiddleware(sending(*messages))
    kinds = [message["type"] for message in (await drive(app)).messages]
    assert kinds == [message["type"] for message in messages]
    second = await drive(app)
    assert second.hit
    assert [message["type"] for message in second.messages] == [START, BODY]


async def test_g09_a_hint_arrives_before_the_start_is_made() -> None:
    arrived = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await arrived.wait()
        await send(start())
        await send(body())

    connection = Connection(http_scope(), on_send=lambda message: arrived.set())
    exchange = await asyncio.wait_for(connection.run(CacheMiddleware(app)), 5)
    assert len(exchange.messages) == 3


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "something.new"])
async def test_g10_other_scopes_are_untouched(kind: str) -> None:
    seen: list[Any] = []
    sent: list[Message] = []
    denial: list[Message] = [
        {"type": "websocket.http.response.start", "status": 403, "headers": []},
        {"type": "websocket.http.response.body", "body": b"no"},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive))
        for message in denial:
            await send(message)

    async def collect(message: Message) -> None:
        sent.append(message)

    store = SpyStore()
    scope: Scope = {"type": kind, "path": "/"}
    await asgi_cache.wrap(app, store=store)(scope, nothing, collect)
    assert seen[0] is scope
    assert seen[1] is nothing
    assert [one is other for one, other in zip(sent, denial, strict=True)] == [True, True]
    assert store.operations == []
    assert scope == {"type": kind, "path": "/"}


# ------------------------------------------------------------------ G11, G12


async def test_g11_a_background_task_delays_nobody() -> None:
    release = asyncio.Event()
    answered = asyncio.Event()
    calls = 0

    async def page(request: Request) -> PlainTextResponse:
        nonlocal calls
        calls += 1
        return PlainTextResponse(
            "page",
            headers={"cache-control": "max-age=60"},
            background=BackgroundTask(release.wait),
        )

    app = CacheMiddleware(Starlette(routes=[Route("/", page)]))
    connection = Connection(
        http_scope(), on_send=lambda message: answered.set() if message["type"] == BODY else None
    )
    request = asyncio.create_task(connection.run(app))
    await answered.wait()
    assert (await drive(app)).hit
    assert not request.done()
    release.set()
    await request
    assert calls == 1
    assert await stored(app)


async def test_g11_a_client_that_asks_again_at_once_hits() -> None:
    """The fill can be joined before its last bytes are sent, and before it is stored."""
    during: list[Exchange] = []
    app = CacheMiddleware(sending(start(), body(b"one", True), body(b"two")))

    async def ask_again(message: Message) -> None:
        if message["type"] == BODY and message.get("body") == b"two":
            during.append(await drive(app))

    connection = Connection(http_scope(), on_send=ask_again)
    await connection.run(app)
    assert [(one.hit, one.body) for one in during] == [(True, b"onetwo")]
    assert app.cache.metrics.stores == 1


async def test_g12_a_background_task_that_raises() -> None:
    error = ValueError("in the background")

    async def page(request: Request) -> PlainTextResponse:
        async def fail() -> None:
            raise error

        return PlainTextResponse(
            "page", headers={"cache-control": "max-age=60"}, background=BackgroundTask(fail)
        )

    app = CacheMiddleware(Starlette(routes=[Route("/", page)]))
    with pytest.raises(ValueError, match="background") as caught:
        await drive(app)
    assert caught.value is error
    assert await stored(app)


# ------------------------------------------------------------------ G14


class OwnError(Exception):
    """An app's own."""


class OwnBaseError(BaseException):
    """An app's own that is no Exception."""


ERRORS = [
    OwnError("own"),
    OwnBaseError("own"),
    ExceptionGroup("two", [ValueError(), KeyError()]),
    asyncio.CancelledError("own"),
    OSError("own"),
    GeneratorExit("own"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sent", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_g14_the_apps_exception_is_the_same_object_outside(
    error: BaseException, sent: int, method: str
) -> None:
    messages = [start(), body(b"one", True), body(b"two")][:sent]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    wrapped = asgi_cache.wrap(app, store=SpyStore())
    connection = Connection(http_scope(method=method))
    caught = None
    try:
        await connection.run(wrapped)
    except BaseException as raised:
        caught = raised
    assert caught is error
    assert len(connection.exchange.messages) == sent


async def test_g14_a_held_start_goes_with_the_exception() -> None:
    """Nothing has been sent: the server can still answer with an error of its own."""
    error = OwnError("own")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"4")))
        raise error

    wrapped = CacheMiddleware(app)
    connection = Connection(http_scope())
    with pytest.raises(OwnError):
        await connection.run(wrapped)
    assert connection.exchange.messages == []
    assert wrapped.cache.metrics.by_label() == {"refusal.incomplete": 1}


# ------------------------------------------------------------------ G16


async def test_g16_what_the_app_does_to_its_scope_stays_there() -> None:
    headers = [(b"host", b"shop.example"), (b"accept", b"*/*")]
    extensions: dict[str, Any] = {"http.response.pathsend": {}}

    async def vandal(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"].clear()
        scope["extensions"].clear()
        scope["path"] = "/elsewhere"
        scope["method"] = "POST"
        scope["query_string"] = b"x=1"
        await send(start())
        await send(body())

    app = CacheMiddleware(vandal)
    scope = {**http_scope("/here"), "headers": headers, "extensions": extensions}
    before = {**scope, "headers": list(headers), "extensions": dict(extensions)}
    await drive(app, scope=scope)
    assert scope == before
    assert await stored(app, "/here")
    assert not await stored(app, "/elsewhere")


@pytest.mark.parametrize("length", [[], [(b"content-length", b"4")]], ids=["sent", "held"])
async def test_g16_what_the_app_does_to_its_messages_afterwards_is_not_seen(
    length: list[tuple[bytes, bytes]],
) -> None:
    async def vandal(scope: Scope, receive: Receive, send: Send) -> None:
        message = start(*length)
        content = bytearray(b"page")
        await send(message)
        message["headers"].clear()
        message["status"] = 500
        await send({"type": BODY, "body": content})
        content[:] = b"rage"

    app = CacheMiddleware(vandal)
    first = await drive(app)
    assert first.status == 200
    assert first.field("cache-control") == "max-age=60"
    second = await drive(app)
    assert (second.hit, second.status, second.body) == (True, 200, b"page")


async def test_g16_what_a_client_does_to_a_hit_is_not_stored() -> None:
    app = CacheMiddleware(sending(start(), body()))
    await drive(app)
    for _ in range(2):
        exchange = await drive(app)
        assert (exchange.hit, exchange.values("cache-control")) == (True, ["max-age=60"])
        exchange.start["headers"].clear()
        exchange.messages[1].clear()


async def test_g16_messages_of_the_app_are_not_written_to() -> None:
    messages = [start((b"x", b"1")), body()]
    copies = [{**messages[0], "headers": list(messages[0]["headers"])}, dict(messages[1])]
    await drive(asgi_cache.wrap(sending(*messages), default_ttl=5))
    assert messages == copies


# ------------------------------------------------------------------ G17


OPERATIONS = ["read", "settle", "write", "remove", "replace", "aclose"]
FAILURES = [
    asgi_cache.StoreError("away"),
    ValueError("a bug"),
    TimeoutError(),
    KeyError("x"),
    RecursionError(),
    MemoryError(),
    ExceptionGroup("two", [ValueError()]),
    StopAsyncIteration(),
]


def guarded(store: SpyStore) -> GuardedStore:
    return GuardedStore(store)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("make", [lambda store: store, guarded], ids=["memory", "guarded"])
async def test_g17_a_store_that_raises_costs_no_answer(
    make: Callable[[SpyStore], Any],
    operation: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "INTERVAL", 0.0)
    monkeypatch.setattr(probing, "JITTER", 0.0)
    spy = SpyStore()
    recorder = Recorder([("cache-control", "max-age=60"), ("cache-groups", '"a"')])
    app = asgi_cache.wrap(recorder, store=make(spy), paths={"/rule": 60})
    spy.failing[operation] = error
    for method in ("GET", "GET", "HEAD", "POST", "GET"):
        for target in ("/", "/rule"):
            for headers in ([], [("cookie", "a=1")]):
                exchange = await drive(app, target, method=method, headers=headers)
                assert (exchange.status, exchange.complete) == (200, True)
                assert method == "HEAD" or exchange.told["path"] == target
    if operation in ("read", "settle"):
        assert "detail=store-unavailable" in exchange.cache_status
    spy.failing.clear()
    health = cache_of(app).health
    await until(lambda: health().available and not health().waiting)
    await drive(app)
    assert (await drive(app)).hit


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_g17_a_guarded_store_that_gives_up_costs_no_answer(operation: str) -> None:
    """A CancelledError that nobody asked for is the store's failure, not the client's end."""
    spy = SpyStore()
    spy.failing[operation] = asyncio.CancelledError()
    app = asgi_cache.wrap(Recorder([("cache-control", "max-age=60")]), store=guarded(spy))
    for method in ("GET", "POST", "GET"):
        assert (await drive(app, method=method)).complete


async def test_g17_a_store_that_answers_nonsense() -> None:
    class Nonsense(SpyStore):
        async def read(self, *arguments: Any) -> Any:
            return answers[0]

    answers: list[Any] = [None]
    app = asgi_cache.wrap(Recorder([("cache-control", "max-age=60")]), store=Nonsense())
    for answer in (None, (), ((), ()), ((None,), ()), ((None,), (None,)), (("x",), (None, None))):
        answers[0] = answer
        assert (await drive(app)).complete


def cache_of(app: asgi_cache.TimingMiddleware) -> Cache:
    assert isinstance(app.app, CacheMiddleware)
    return app.app.cache


async def test_g17_what_a_shutdown_raises_is_not_the_apps() -> None:
    spy = SpyStore()
    spy.failing["aclose"] = ValueError("a bug")
    stop: Message = {"type": "lifespan.shutdown.complete"}
    sent: list[Message] = []

    async def collect(message: Message) -> None:
        sent.append(message)

    app = asgi_cache.wrap(sending(stop), store=spy)
    await app({"type": "lifespan"}, nothing, collect)
    assert sent == [stop]
    assert spy.operations == ["aclose"]
    assert cache_of(app).metrics.store_failures == 1


async def test_g17_no_redis_at_all() -> None:
    """Nothing listens there: every request is answered by the app."""
    app = asgi_cache.wrap(
        Recorder([("cache-control", "max-age=60")]), store="redis://127.0.0.1:1/0"
    )
    for _ in range(2):
        exchange = await drive(app)
        assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=store-unavailable"
    assert isinstance(app.app, CacheMiddleware)
    assert isinstance(app.app.cache, Cache)
    assert isinstance(app.app.cache.store, TieredStore)
    assert isinstance(app.app.cache.store.far, GuardedStore)
    assert isinstance(app.app.cache.store.far.store, RedisStore)
    await app.app.cache.aclose()
