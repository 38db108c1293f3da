"""Stale responses in use: while they are revalidated, and where the app fails (RFC 5861)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asgi_cache import CacheMiddleware, MemoryStore, Rule
from asgi_cache.revalidating import MOST_AT_ONCE, RETRY_SECONDS
from asgi_cache.selection import softened
from tests.driver import BODY, START, Connection, drive, http_scope
from tests.revising import Revising
from tests.stores.records import stored_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from tests.conftest import Clock

WINDOW = ("cache-control", "max-age=10, stale-while-revalidate=60")
ERROR_WINDOW = ("cache-control", "max-age=10, stale-if-error=60")


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=MemoryStore(1 << 20, clock), **settings)


async def settled() -> None:
    """Wait until nothing but this test is left to run."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=5)


# ------------------------------------------------------------------ stale-while-revalidate


async def test_the_client_has_the_stale_response_and_the_app_is_asked(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.version = "two"
    exchange = await drive(app)
    assert (exchange.body, exchange.field("age")) == (b"one", "11")
    assert exchange.cache_status == "asgi-cache; hit; ttl=-1"
    await settled()
    assert page.calls == 2
    exchange = await drive(app)
    assert (exchange.body, exchange.cache_status) == (b"two", "asgi-cache; hit; ttl=10")
    counts = app.cache.metrics.by_label()
    assert counts["decision.stale-while-revalidate"] == counts["revalidations"] == 1
    assert "decision.stale" not in counts


async def test_the_app_may_answer_with_a_304(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    await drive(app)
    await settled()
    assert page.answers == [200, 304]
    assert (await drive(app)).cache_status == "asgi-cache; hit; ttl=10"


async def test_c13_many_clients_at_expiry_make_one_request(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    gate = asyncio.Event()

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before = wait
    answers = await asyncio.gather(*(drive(app) for _ in range(500)))
    assert {exchange.body for exchange in answers} == {b"one"}
    gate.set()
    await settled()
    assert page.calls == 2


@pytest.mark.parametrize(("seconds", "hit"), [(69, True), (70, False)])
async def test_after_the_window_the_app_is_waited_for(
    clock: Clock, seconds: float, hit: bool
) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    page.version = "two"
    clock.advance(seconds)
    exchange = await drive(app)
    assert exchange.hit is hit
    assert exchange.body == (b"one" if hit else b"two")
    await settled()


@pytest.mark.parametrize(
    "word", ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache", "No-Cache"]
)
async def test_what_forbids_it(clock: Clock, word: str) -> None:
    page = Revising((WINDOW[0], f"{WINDOW[1]}, {word}"))
    app = cached(page, clock, stale_if_error=60, stale_while_revalidate=60)
    await drive(app)
    clock.advance(11)
    assert not (await drive(app)).hit
    page.status = 503
    clock.advance(11)
    assert (await drive(app)).status == 503


async def test_the_setting_and_the_rule_are_defaults(clock: Clock) -> None:
    for settings in (
        {"stale_while_revalidate": 60, "default_ttl": 10},
        {"paths": {"/": Rule(ttl=10, stale_while_revalidate=60)}},
    ):
        page = Revising()
        app = cached(page, clock, **settings)
        await drive(app)
        clock.advance(11)
        assert (await drive(app)).cache_status == "asgi-cache; hit; ttl=-1"
        await settled()
        assert page.answers == [200, 304]


async def test_l10_the_background_request_is_nobodys(clock: Clock) -> None:
    page = Revising(("vary", "accept-language, x-v"))
    rule = Rule(ttl=10, stale_while_revalidate=60, cookies=["locale"], query=["q"])
    app = cached(page, clock, paths={"/page": rule})
    first = [("cookie", "locale=de"), ("accept-language", "de, en;q=0.5"), ("x-v", "1")]
    await drive(app, "/page?q=1", headers=[*first, ("x-forwarded-proto", "https")])
    clock.advance(11)
    alice = [
        ("cookie", "user=alice; locale=de"),
        ("authorization", "Bearer alice"),
        ("accept-language", "DE,en;q=0.5"),
        ("x-v", "1"),
        ("x-forwarded-proto", "https"),
        ("user-agent", "Alice/1"),
        ("x-request-id", "hers"),
        ("referer", "http://shop.example/me"),
        ("if-none-match", '"hers"'),
    ]
    scope = http_scope("/page?utm=hers&q=1", headers=alice, extensions={"tls": {}, "other": {}})
    scope.update(session={"user": "alice"}, user="alice", auth="alice", cookies={})
    scope["state"] = {"user": "alice"}
    assert (await drive(app, scope=scope)).hit
    await settled()
    assert page.answers == [200, 304]
    seen = page.scopes[1]
    assert dict(seen["headers"]) == {
        b"host": b"shop.example",
        b"accept": b"*/*",
        b"user-agent": b"asgi-cache",
        b"x-forwarded-proto": b"https",
        b"cookie": b"locale=de",
        b"accept-language": b"de,en;q=0.5",
        b"x-v": b"1",
        b"if-none-match": b'"one"',
    }
    assert seen["query_string"] == b"q=1"
    assert seen["client"] is None
    assert seen["state"] == {}
    assert not {"session", "user", "auth", "cookies"} & seen.keys()
    assert set(seen["extensions"]) == {"asgi_cache"}
    assert (seen["type"], seen["method"], seen["path"]) == ("http", "GET", "/page")
    assert (await drive(app, "/page?q=1", headers=alice)).status == 200


async def test_it_has_the_state_of_lifespan_and_a_context_of_its_own(clock: Clock) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[tuple[Any, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = "shared"
            await send({"type": "lifespan.startup.complete"})
            return
        seen.append((dict(scope["state"]), user.get()))
        scope["state"]["mine"] = True
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=1")]})
        await send({"type": BODY, "body": b"x"})

    wrapped = cached(app, clock, stale_while_revalidate=60)

    async def sink(message: Any) -> None:
        """Nothing of it matters."""

    async def nothing() -> Any:
        """Nothing comes."""

    await wrapped({"type": "lifespan", "state": {}}, nothing, sink)
    await drive(wrapped, state={"pool": "shared"})
    clock.advance(2)
    user.set("alice")
    assert (await drive(wrapped, state={"pool": "shared"})).hit
    await settled()
    assert seen[1] == ({"pool": "shared"}, "nobody")


async def test_inside_starlette_it_meets_the_same_app(clock: Clock) -> None:
    calls: list[str] = []

    def page(request: Request) -> PlainTextResponse:
        calls.append(request.app.state.name)
        return PlainTextResponse("page", headers=dict([WINDOW]))

    app = Starlette(routes=[Route("/{name}", page)])
    app.state.name = "shop"
    app.add_middleware(CacheMiddleware, store=MemoryStore(1 << 20, clock))
    await drive(app, "/a")
    clock.advance(11)
    assert (await drive(app, "/a")).hit
    await settled()
    assert calls == ["shop", "shop"]
    assert (await drive(app, "/a")).cache_status.endswith("ttl=10")


async def test_where_the_key_needs_the_client_its_own_request_revalidates(clock: Clock) -> None:
    """A key function may look at what a background request does not have."""
    page = Revising(WINDOW)
    app = cached(page, clock, key=lambda request: request.fields.get(b"x-tenant", b"none"))
    tenant = [("x-tenant", "a")]
    await drive(app, headers=tenant)
    clock.advance(11)
    exchange = await drive(app, headers=tenant)
    assert exchange.cache_status == "asgi-cache; fwd=stale; fwd-status=304; stored; ttl=10"
    assert page.fields()[b"x-tenant"] == b"a"
    await drive(app)
    clock.advance(11)
    assert (await drive(app)).hit  # without the field both have the same key
    await settled()


@pytest.mark.parametrize("failure", ["raises", 500, 502, 503, 504])
async def test_one_that_fails_leaves_the_stale_response_and_is_spaced(
    clock: Clock, failure: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    if isinstance(failure, int):
        page.status = failure
    else:
        page.failure = ValueError("away")
    with caplog.at_level(logging.WARNING, "asgi_cache"):
        for _ in range(3):
            exchange = await drive(app)
            assert (exchange.status, exchange.body) == (200, b"one")
            await settled()
    assert page.calls == 2
    assert len(caplog.records) == (failure == "raises")
    clock.advance(RETRY_SECONDS)
    page.failure, page.status = None, 200
    await drive(app)
    await settled()
    assert page.calls == 3
    assert (await drive(app)).cache_status.endswith("ttl=10")


@pytest.mark.parametrize("status", [404, 410])
async def test_a_page_that_is_gone_is_taken_out(clock: Clock, status: int) -> None:
    page = Revising()
    app = cached(page, clock, paths={"/": Rule(ttl=10, stale_while_revalidate=60)})
    await drive(app)
    clock.advance(11)
    page.status = status
    assert (await drive(app)).status == 200
    await settled()
    assert (await drive(app)).status == status


@pytest.mark.parametrize("word", ["private", "no-store"])
async def test_one_that_ends_the_sharing_takes_the_stale_response_out(
    clock: Clock, word: str
) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.headers, page.version = [("cache-control", word)], "two"
    assert (await drive(app)).body == b"one"
    await settled()
    assert (await drive(app)).body == b"two"


async def test_they_are_bounded(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    gate = asyncio.Event()
    for number in range(MOST_AT_ONCE + 20):
        await drive(app, f"/{number}")
    clock.advance(11)
    before = page.calls

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before = wait
    for number in range(MOST_AT_ONCE + 20):
        assert (await drive(app, f"/{number}")).hit
    for _ in range(10):
        await asyncio.sleep(0)
    assert page.calls - before == MOST_AT_ONCE
    gate.set()
    await settled()


async def test_a_purge_during_one_holds(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)

    async def purge(scope: Scope) -> None:
        page.before = None
        await app.cache.purge_all()

    page.before = purge
    await drive(app)
    await settled()
    page.version = "two"
    assert (await drive(app)).body == b"two"


async def test_a_soft_purge_opens_the_window(clock: Clock) -> None:
    page = Revising(("cache-control", "max-age=1000, stale-while-revalidate=60"))
    app = cached(page, clock)
    await drive(app)
    await app.cache.purge_all(soft=True)
    page.version = "two"
    assert (await drive(app)).body == b"one"
    await settled()
    assert (await drive(app)).body == b"two"


async def test_o04_shutdown_ends_them(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    cancelled = asyncio.Event()

    async def never(scope: Scope) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    page.before = never
    await drive(app)
    await asyncio.sleep(0)

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.shutdown.complete"})

    app.app = lifespan
    await asyncio.wait_for(
        app({"type": "lifespan", "state": {}}, Connection(http_scope()).receive, _sink), 2
    )
    assert cancelled.is_set()
    await settled()


async def _sink(message: Any) -> None:
    """Nothing of it matters."""


async def test_head_and_range_have_the_stale_response_too(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    for options in ({"method": "HEAD"}, {"headers": [("range", "bytes=1-1")]}):
        clock.advance(11)
        exchange = await drive(app, **options)
        assert exchange.cache_status == "asgi-cache; hit; ttl=-1"
        assert exchange.body == (b"n" if "headers" in options else b"")
        await settled()
    assert page.answers == [200, 304, 304]
    assert [scope["method"] for scope in page.scopes] == ["GET"] * 3


# ------------------------------------------------------------------ stale-if-error


@pytest.mark.parametrize("validator", [True, False])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_c15_a_stale_response_stands_in_for_an_error(
    clock: Clock, status: int, validator: bool
) -> None:
    page = Revising(ERROR_WINDOW, etag=validator)
    app = cached(page, clock, etag=False)
    await drive(app)
    clock.advance(11)
    page.status = status
    exchange = await drive(app)
    assert (exchange.status, exchange.body, exchange.field("age")) == (200, b"one", "11")
    assert exchange.cache_status == (
        f"asgi-cache; fwd=stale; fwd-status={status}; detail=stale-if-error; ttl=-1"
    )
    # Its lifetime is not reset: the app is asked again each time, and the window ends.
    clock.advance(58)
    assert (await drive(app)).field("age") == "69"
    assert page.calls == 3
    clock.advance(1)
    assert (await drive(app)).status == status
    assert app.cache.metrics.by_label()["decision.stale-on-error"] == 2


@pytest.mark.parametrize("settings", [{}, {"paths": {"/": Rule(ttl=10, stale_if_error=60)}}])
@pytest.mark.parametrize("validator", [True, False])
async def test_c15_a_stale_response_stands_in_for_an_exception(
    clock: Clock, settings: dict[str, Any], validator: bool, caplog: pytest.LogCaptureFixture
) -> None:
    page = Revising(*([] if settings else [ERROR_WINDOW]), etag=validator)
    app = cached(page, clock, **settings)
    await drive(app)
    clock.advance(11)
    page.failure = KeyError("own")
    fields = [("cookie", "user=alice")] if settings else []
    with caplog.at_level(logging.WARNING, "asgi_cache"):
        exchange = await drive(app, headers=fields)
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.cache_status == "asgi-cache; fwd=stale; detail=stale-if-error; ttl=-1"
    assert ["own" in str(record.exc_info) for record in caplog.records] == [True]
    assert page.calls == 2  # an anonymous run that fails is not run again as it came
    clock.advance(60)
    with pytest.raises(KeyError):
        await drive(app, headers=fields)


AS_THEY_CAME: list[tuple[str, dict[str, Any], int, bytes]] = [
    ("head", {"method": "HEAD"}, 200, b""),
    ("range", {"headers": [("range", "bytes=1-1")]}, 206, b"n"),
    ("request-no-store", {"headers": [("cache-control", "no-store")]}, 200, b"one"),
    ("head", {"method": "HEAD", "headers": [("if-none-match", '"one"')]}, 304, b""),
]


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize(("reason", "options", "status", "body"), AS_THEY_CAME)
async def test_c15_it_stands_in_for_what_goes_to_the_app_as_it_came(
    clock: Clock,
    reason: str,
    options: dict[str, Any],
    status: int,
    body: bytes,
    version: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.status = 503
    exchange = await drive(app, spec_version=version, **options)
    assert (exchange.status, exchange.body, exchange.field("age")) == (status, body, "11")
    assert exchange.complete
    assert exchange.cache_status == (
        "asgi-cache; fwd=stale; fwd-status=503; detail=stale-if-error; ttl=-1"
    )
    page.failure = KeyError("own")
    with caplog.at_level(logging.WARNING, "asgi_cache"):
        exchange = await drive(app, **options)
    assert (exchange.status, exchange.body) == (status, body)
    assert exchange.cache_status == "asgi-cache; fwd=stale; detail=stale-if-error; ttl=-1"
    assert ["own" in str(record.exc_info) for record in caplog.records] == [True]
    counts = app.cache.metrics.by_label()
    assert (counts["decision.stale-on-error"], counts[f"refusal.{reason}"]) == (2, 2)
    # The app saw each as it came, but for a HEAD that may freshen, which is as a fill is.
    assert page.calls == 3
    assert {scope["method"] for scope in page.scopes[1:]} == {options.get("method", "GET")}
    for name, value in options.get("headers", ()):
        assert page.fields()[name.encode()] == value.encode()
    # Nothing of it is stored: the window ends when it did.
    page.failure = None
    assert app.cache.metrics.stores == 1
    clock.advance(60)
    exchange = await drive(app, **options)
    assert exchange.status == 503
    assert exchange.cache_status == f"asgi-cache; fwd=stale; detail={reason}"


@pytest.mark.parametrize(
    ("reason", "options"), [(reason, options) for reason, options, _, _ in AS_THEY_CAME[:3]]
)
async def test_what_goes_to_the_app_as_it_came_has_the_apps_answer(
    clock: Clock, reason: str, options: dict[str, Any]
) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.version = "two"
    exchange = await drive(app, **options)
    assert exchange.body == (b"" if reason == "head" else b"two")
    assert exchange.cache_status == f"asgi-cache; fwd=stale; detail={reason}"
    assert app.cache.metrics.stores == 1

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        raise ValueError("half-way")

    await app.cache.purge_all()
    page.version = "three"
    await drive(app)
    clock.advance(11)
    with pytest.raises(ValueError, match="half-way"):
        await drive(CacheMiddleware(broken, cache=app.cache), **options)


@pytest.mark.parametrize("status", [400, 404, 410, 501, 505])
async def test_no_other_status_is_stood_in_for(clock: Clock, status: int) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.status = status
    assert (await drive(app)).status == status


async def test_what_happens_after_the_start_is_not_stood_in_for(clock: Clock) -> None:
    page = Revising(ERROR_WINDOW)
    wrapped = cached(page, clock)
    await drive(wrapped)
    clock.advance(11)

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        await drive(CacheMiddleware(broken, cache=wrapped.cache))


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
async def test_what_is_no_failure_of_the_app_passes(
    clock: Clock, error: type[BaseException]
) -> None:
    page = Revising(ERROR_WINDOW, etag=False)
    app = cached(page, clock, etag=False)
    await drive(app)
    clock.advance(11)
    page.failure = error()
    with pytest.raises(error):
        await drive(app)


async def test_another_users_response_does_not_stand_in(clock: Clock) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.status = 503
    exchange = await drive(app, headers=[("cookie", "user=alice")])
    assert exchange.status == 503


async def test_a_purged_response_does_not_stand_in(clock: Clock) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    await app.cache.purge_all()
    page.status = 503
    assert (await drive(app)).status == 503


async def test_a_clock_put_back_makes_nothing_immortal(clock: Clock) -> None:
    page = Revising(ERROR_WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(-3600)
    page.status = 503
    assert (await drive(app)).status == 503


@pytest.mark.parametrize("tenant", [False, True])
async def test_only_if_cached_never_calls_the_app_for_its_client(
    clock: Clock, tenant: bool
) -> None:
    """Where the client's own request would have to revalidate, there is nothing to give it."""
    page = Revising(WINDOW)
    key = (lambda request: request.fields.get(b"x-tenant", b"none")) if tenant else None
    app = cached(page, clock, key=key, honor_request_directives=True)
    fields = [("x-tenant", "a")]
    await drive(app, headers=fields)
    clock.advance(11)
    exchange = await drive(app, headers=[*fields, ("cache-control", "only-if-cached")])
    assert exchange.status == (504 if tenant else 200)
    await settled()
    assert page.calls == (1 if tenant else 2)


def test_a_soft_purge_by_a_clock_that_is_ahead_opens_no_window() -> None:
    now, ahead = 1000.0, 1000.01
    without = stored_response(
        generated_at=990.0, fresh_until=1050.0, revalidate_until=1050.0, error_until=1050.0
    )
    stale = softened(without, ahead, now)
    assert max(stale.fresh_until, stale.revalidate_until, stale.error_until) < now
    stale = softened(replace(without, revalidate_until=1060.0), ahead, now)
    assert stale.fresh_until < now < stale.revalidate_until == ahead + 10
