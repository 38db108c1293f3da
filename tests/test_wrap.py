"""One line around an app: how the two classes are put together, configured, reached and closed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

import asgi_cache
from asgi_cache import (
    Cache,
    CacheError,
    CacheMiddleware,
    ConfigurationError,
    Settings,
    TimingMiddleware,
    from_scope,
)
from tests.driver import BODY, START, Recorder, SpyStore, drive, http_scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.model import RequestHead, ResponseHead

PAGE = {"/page": 60}


async def nothing() -> Message:
    raise AssertionError


async def lifespan_of(app: ASGIApp, state: dict[str, Any] | None = None) -> list[str]:
    """Run an app's lifespan from start to end; the types of what it sent."""
    questions = ["lifespan.startup", "lifespan.shutdown"]
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": questions.pop(0)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    if state is not None:
        scope["state"] = state
    await app(scope, receive, send)
    return sent


# ------------------------------------------------------------------ construction


def test_wrap_is_timing_around_the_cache() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder)
    assert isinstance(app, TimingMiddleware)
    assert isinstance(app.app, CacheMiddleware)
    assert app.app.app is recorder


@pytest.mark.parametrize("construct", [asgi_cache.wrap, CacheMiddleware, TimingMiddleware])
@pytest.mark.parametrize(("app", "named"), [(None, "NoneType"), ("shop:app", "str")])
def test_what_is_no_app_is_refused(
    construct: Callable[..., ASGIApp], app: object, named: str
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"^app is of type {named}; it must be an ASGI app"
    ):
        construct(app)


async def test_settings_keywords_and_both() -> None:
    settings = Settings(name="mine", paths=PAGE)
    for app in (
        asgi_cache.wrap(Recorder(), settings),
        asgi_cache.wrap(Recorder(), settings=settings),
        asgi_cache.wrap(Recorder(), name="mine", paths=PAGE),
        asgi_cache.wrap(Recorder(), Settings(paths=PAGE), name="mine"),
        asgi_cache.wrap(Recorder(), cache=Cache(settings)),
    ):
        exchange = await drive(app, "/page")
        assert exchange.cache_status == "mine; fwd=uri-miss; stored"


async def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_CACHE_NAME", "of-the-environment")
    assert (await drive(asgi_cache.wrap(Recorder()))).cache_status.startswith("of-the-environment;")
    app = asgi_cache.wrap(Recorder(), name="keyword")
    assert (await drive(app)).cache_status.startswith("keyword;")


@pytest.mark.parametrize("make", [asgi_cache.wrap, CacheMiddleware])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"settings": Settings()}, "settings cannot"),
        ({"name": "x"}, "name cannot"),
        ({"paths": {}, "name": "x"}, "name, paths cannot"),
        ({"settings": Settings(), "name": "x"}, "settings, name cannot"),
    ],
)
def test_a_ready_cache_has_its_settings(
    make: Callable[..., Any], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make(Recorder(), cache=Cache(), **options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pahts": {}}, "pahts"),
        ({"paths": {"/page": -1}}, "/page"),
        ({"paths": {"page": 60}}, "page"),
        ({"store": "mysql://localhost"}, "store"),
        ({"response_time": "us"}, "response_time"),
        ({"key": "not a function"}, "key"),
    ],
)
def test_o11_wrong_settings_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        asgi_cache.wrap(Recorder(), **options)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("edge-1.example", "edge-1.example"),
        ("*", "*"),
        ("my cache", '"my cache"'),
        ('a"b', '"a\\"b"'),
        ("a;b", '"a;b"'),
        ("1st", '"1st"'),
    ],
)
async def test_the_caches_name_is_a_token_or_a_string(name: str, shown: str) -> None:
    app = asgi_cache.wrap(Recorder(), name=name, paths=PAGE)
    assert (await drive(app, "/page")).cache_status == f"{shown}; fwd=uri-miss; stored"
    assert (await drive(app, "/page")).cache_status.startswith(f"{shown}; hit; ttl=")


async def test_cache_status_can_be_switched_off() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, cache_status=False, paths=PAGE)
    for headers in ([], [], [("cookie", "a=1"), ("if-match", "*")]):
        exchange = await drive(app, "/page", headers=headers)
        assert exchange.values("cache-status") == []
    assert recorder.calls == 2


# ------------------------------------------------------------------ frameworks


async def test_in_starlette_by_its_middleware_list() -> None:
    calls = 0

    async def page(request: Request) -> PlainTextResponse:
        nonlocal calls
        calls += 1
        return PlainTextResponse("page")

    app = Starlette(
        routes=[Route("/page", page)],
        middleware=[
            Middleware(TimingMiddleware, style="s"),
            Middleware(CacheMiddleware, paths=PAGE),
        ],
    )
    for _ in range(2):
        exchange = await drive(app, "/page")
    assert (exchange.hit, exchange.body, calls) == (True, b"page", 1)
    assert (exchange.field("x-response-time") or "").endswith("s")


async def test_in_starlette_by_add_middleware() -> None:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(from_scope(request.scope).cache.settings.name)

    app = Starlette(routes=[Route("/page", page)])
    app.add_middleware(CacheMiddleware, paths=PAGE, name="added")
    await drive(app, "/page")
    exchange = await drive(app, "/page")
    assert (exchange.hit, exchange.body) == (True, b"added")


async def test_in_fastapi_by_add_middleware_with_its_state() -> None:
    seen: list[object] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"pool": "of start-up"}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(CacheMiddleware, paths={"/products/{number}": 60})

    @app.get("/products/{number}")
    async def product(number: int, request: Request) -> dict[str, int]:
        seen.append(request.state.pool)
        return {"number": number}

    state: dict[str, Any] = {}
    assert await lifespan_of(app, state) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    for headers in ([("cookie", "a=1")], []):
        exchange = await drive(app, "/products/7", headers=headers, state=dict(state))
        assert exchange.body == b'{"number":7}'
    assert exchange.hit
    assert exchange.field("content-type") == "application/json"
    assert seen == ["of start-up"]
    assert (await drive(app, "/products/x", state=dict(state))).status == 422


# ------------------------------------------------------------------ lifespan


@pytest.mark.parametrize("make", [asgi_cache.wrap, CacheMiddleware])
async def test_a_cache_that_wrap_made_is_closed_with_the_app(make: Callable[..., ASGIApp]) -> None:
    store = SpyStore()
    app = make(Starlette(), store=store)
    assert await lifespan_of(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert store.operations == ["aclose"]


async def test_a_cache_of_ones_own_stays_open() -> None:
    store = SpyStore()
    cache = Cache(store=store)
    await lifespan_of(asgi_cache.wrap(Starlette(), cache=cache))
    assert store.operations == []
    await cache.aclose()
    assert store.operations == ["aclose"]


async def test_it_is_closed_before_the_server_is_told() -> None:
    """The server may end the process at once."""
    store = SpyStore()
    seen: list[tuple[str, list[str]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for kind in ("lifespan.startup.complete", "lifespan.shutdown.failed"):
            await send({"type": kind})

    async def send(message: Message) -> None:
        seen.append((message["type"], list(store.operations)))

    await asgi_cache.wrap(app, store=store)({"type": "lifespan"}, nothing, send)
    assert seen == [
        ("lifespan.startup.complete", []),
        ("lifespan.shutdown.failed", ["aclose"]),
    ]


async def test_no_lifespan_is_needed() -> None:
    app = asgi_cache.wrap(Recorder(), paths=PAGE)
    await drive(app, "/page")
    assert (await drive(app, "/page")).hit


async def test_an_app_without_a_lifespan_says_so_itself() -> None:
    error = ValueError("no lifespan here")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(ValueError, match="no lifespan") as caught:
        await lifespan_of(asgi_cache.wrap(app))
    assert caught.value is error


# ------------------------------------------------------------------ the handle


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("options", [{}, {"enabled": False}, {"paths": {"/page": False}}])
async def test_the_handle_is_there_for_every_method(method: str, options: dict[str, Any]) -> None:
    cache = Cache(**options)
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(from_scope(scope).cache)

    scope = http_scope("/page", method=method)
    await drive(asgi_cache.wrap(app, cache=cache), scope=scope)
    assert seen == [cache]
    assert "asgi_cache" not in scope["extensions"]


@pytest.mark.parametrize(
    "scope",
    [{}, {"extensions": None}, {"extensions": {}}, {"extensions": {"asgi_cache": "else"}}],
)
def test_a_scope_without_a_cache_says_what_to_do(scope: Scope) -> None:
    with pytest.raises(CacheError, match=r"wrap the app with asgi_cache\.wrap"):
        from_scope(scope)


def shop() -> tuple[ASGIApp, list[int]]:
    """A shop whose handlers purge: POST /products/1?purge=<url>&... as its query says."""
    calls: list[int] = []

    async def product(request: Request) -> Response:
        if request.method == "POST":
            options = dict(request.query_params)
            url = options.pop("url", None)
            switches: dict[str, Any] = {name: True for name in options if name != "group"}
            group = options.get("group")
            await from_scope(request.scope).purge(url, group=group, **switches)
            # 4xx, so that nothing is invalidated but by the purge.
            return Response(status_code=400)
        calls.append(1)
        return PlainTextResponse(str(len(calls)))

    routes = [Route("/products/{number}", product, methods=["GET", "POST"])]
    inside = Starlette(routes=[*routes, Mount("/mounted", routes=routes)])
    paths = {
        "/products/{number}": {"ttl": 60, "groups": ["product:{number}"]},
        "/mounted/products/{number}": 60,
    }
    return asgi_cache.wrap(inside, paths=paths), calls


@pytest.mark.parametrize(
    ("by", "gone"),
    [
        ("url=/products/1", True),
        ("url=1", True),
        ("url=../products/1", True),
        ("url=//shop.example/products/1", True),
        ("url=http://shop.example/products/1", True),
        ("url=https://SHOP.example/products/1", True),
        ("group=product:1", True),
        ("url=2", False),
        ("url=/products/1?x=1", False),
        ("url=http://other.example/products/1", False),
        ("group=product:2", False),
    ],
)
async def test_a_purge_from_a_handler(by: str, gone: bool) -> None:
    app, calls = shop()
    await drive(app, "/products/1")
    assert (await drive(app, "/products/1")).hit
    assert (await drive(app, f"/products/9?{by}", method="POST")).status == 400
    assert (await drive(app, "/products/1")).hit is not gone
    assert len(calls) == 1 + gone


async def test_a_purge_of_a_group_is_none_of_the_requests_own_page() -> None:
    app, calls = shop()
    await drive(app, "/products/1?group=product:2")
    await drive(app, "/products/1?group=product:2", method="POST")
    assert (await drive(app, "/products/1?group=product:2")).hit
    assert len(calls) == 1


async def test_a_purge_names_one_thing() -> None:
    async def page(request: Request) -> PlainTextResponse:
        handle = from_scope(request.scope)
        with pytest.raises(ConfigurationError, match=r"one of them, or purge_all\(\)"):
            await handle.purge("/page", group="g")
        with pytest.raises(ConfigurationError, match="one of them"):
            await handle.purge()
        return PlainTextResponse("page")

    app = asgi_cache.wrap(Starlette(routes=[Route("/page", page)]))
    assert (await drive(app, "/page")).body == b"page"


async def test_a_purge_of_all_queries_from_a_handler() -> None:
    app, calls = shop()
    for target in ("/products/1", "/products/1?a=1"):
        await drive(app, target)
    await drive(app, "/products/9?url=1&all_queries=1", method="POST")
    for target in ("/products/1", "/products/1?a=1"):
        assert not (await drive(app, target)).hit
    assert len(calls) == 4


async def test_a_purge_from_the_get_of_the_page_itself() -> None:
    """The page purges its sibling, and then itself: its own answer began before, so it is not

    reused."""

    async def page(request: Request) -> PlainTextResponse:
        handle = from_scope(request.scope)
        await handle.purge("other")
        await handle.purge("page" if request.query_params.get("self") else "else")
        return PlainTextResponse("page")

    routes = [Route("/page", page), Route("/other", lambda request: PlainTextResponse("other"))]
    app = asgi_cache.wrap(Starlette(routes=routes), default_ttl=60)
    await drive(app, "/other")
    await drive(app, "/page")
    assert not (await drive(app, "/other")).hit
    assert (await drive(app, "/page")).hit
    await drive(app, "/page?self=1")
    assert not (await drive(app, "/page")).hit


async def test_purge_all_from_a_handler() -> None:
    async def page(request: Request) -> PlainTextResponse:
        if request.method == "POST":
            await from_scope(request.scope).purge_all()
        return PlainTextResponse("page")

    routes = [Route("/{name}", page, methods=["GET", "POST"])]
    app = asgi_cache.wrap(Starlette(routes=routes), default_ttl=60)
    for name in ("/a", "/b"):
        await drive(app, name)
    await drive(app, "/c", method="POST")
    assert [(await drive(app, name)).hit for name in ("/a", "/b")] == [False, False]


async def test_a_relative_purge_needs_a_host() -> None:
    async def page(request: Request) -> PlainTextResponse:
        with pytest.raises(ConfigurationError, match="no valid Host"):
            await from_scope(request.scope).purge("/page")
        await from_scope(request.scope).purge("http://shop.example/page")
        return PlainTextResponse("page")

    app = asgi_cache.wrap(Starlette(routes=[Route("/page", page)]))
    assert (await drive(app, "/page", host=None)).body == b"page"


# ------------------------------------------------------------------ the two callables


async def test_the_key_function_adds_to_the_key() -> None:
    seen: list[RequestHead] = []

    def tenant(request: RequestHead) -> bytes:
        seen.append(request)
        return request.fields.get(b"x-tenant", b"")

    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE, key=tenant)
    answers = [
        (await drive(app, "/page", headers=headers)).serial
        for headers in (
            [("x-tenant", "a")],
            [("x-tenant", "b"), ("cookie", "user=alice")],
            [],
            [("x-tenant", "a"), ("cookie", "user=bob")],
        )
    ]
    assert answers == [1, 2, 3, 1]
    assert not any(b"cookie" in request.fields for request in seen)


async def test_text_and_bytes_of_a_key_are_one_key() -> None:
    parts: list[str | bytes] = ["é", "é".encode(), "e"]
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE, key=lambda request: parts.pop(0))
    assert [(await drive(app, "/page")).serial for _ in range(3)] == [1, 1, 2]


@pytest.mark.parametrize("result", [ValueError("a bug"), None, 7, ["x"]])
async def test_a_key_function_that_fails_makes_a_bypass(result: Any) -> None:
    def key(request: RequestHead) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE, key=key)
    for serial in (1, 2):
        exchange = await drive(app, "/page")
        assert exchange.serial == serial
        assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=key"


async def test_the_rule_function_sees_both_heads_at_admission_only() -> None:
    seen: list[tuple[RequestHead, ResponseHead]] = []

    def rule(request: RequestHead, head: ResponseHead) -> asgi_cache.Rule | None:
        seen.append((request, head))
        return asgi_cache.Rule(ttl=7) if head.values(b"x-cache-me") else None

    for lines, ttl in (([("x-cache-me", "1")], "max-age=7"), ([], None)):
        recorder = Recorder(lines)
        app = asgi_cache.wrap(recorder, rule=rule)
        for _ in range(2):
            exchange = await drive(app, "/page?x=1")
            assert exchange.field("cache-control") == ttl
        assert exchange.hit is bool(lines)
    assert len(seen) == 3
    assert (seen[0][0].path, seen[0][0].query, seen[0][1].status) == ("/page", b"x=1", 200)


async def test_the_rule_function_grants_nothing_to_credentials() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, rule=lambda request, head: asgi_cache.Rule(ttl=60))
    for serial in (1, 2):
        exchange = await drive(app, headers=[("cookie", "a=1")])
        assert exchange.serial == serial
        assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=not-shared"


# ------------------------------------------------------------------ an app that is no framework


async def test_two_apps_on_one_cache() -> None:
    cache = Cache(paths=PAGE)
    first, second = Recorder(), Recorder()
    await drive(asgi_cache.wrap(first, cache=cache), "/page")
    assert (await drive(asgi_cache.wrap(second, cache=cache), "/page")).hit
    assert second.calls == 0


async def test_the_one_line_is_all() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        await send({"type": BODY, "body": b"hello"})

    exchange = await drive(asgi_cache.wrap(app))
    assert (exchange.status, exchange.body) == (200, b"hello")
