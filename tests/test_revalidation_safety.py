"""What a validation must not do: harm a newer response, another user, or the app's own ways."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, Rule
from tests.driver import SpyStore, drive
from tests.revising import Revising

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from asgi_cache.model import Record, Stamp
    from tests.conftest import Clock

SHORT = ("cache-control", "max-age=10")
WINDOW = ("cache-control", "max-age=10, stale-while-revalidate=60")
ERROR_WINDOW = ("cache-control", "max-age=10, stale-if-error=60")
ALICE = ("cookie", "user=alice")
DATE = "Tue, 14 Nov 2023 20:00:00 GMT"
LATER = "Tue, 14 Nov 2023 21:00:00 GMT"


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=SpyStore(clock), **settings)


# ------------------------------------------------------------------ what is about it, and when


async def test_a_strong_tag_decides_whatever_the_date_says(clock: Clock) -> None:
    page = Revising(SHORT)
    page.modified = DATE
    app = cached(page, clock)
    await drive(app)
    page.modified = LATER
    for _ in range(2):
        clock.advance(11)
        exchange = await drive(app)
        assert exchange.cache_status == "asgi-cache; fwd=stale; fwd-status=304; stored; ttl=10"
        assert exchange.values("last-modified") == [LATER]
    assert page.answers == [200, 304, 304]
    assert page.fields()[b"if-modified-since"] == LATER.encode()


class Opening(SpyStore):
    """A store that has something done between a look-up and what follows it, once."""

    after_read: Callable[[], Awaitable[None]] | None = None

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        found = await super().read(target, key, slots, stamps)
        if self.after_read is not None:
            hook, self.after_read = self.after_read, None
            await hook()
        return found


async def test_a_purge_right_after_the_look_up_holds(clock: Clock) -> None:
    """A client has the fresh response validated: its stamps count from the look-up on."""
    page, store = Revising(SHORT), Opening(clock)
    app = CacheMiddleware(page, store=store, honor_request_directives=True)
    await drive(app)
    store.after_read = app.cache.purge_all
    exchange = await drive(app, headers=[("cache-control", "no-cache")])
    assert page.answers == [200, 304]
    assert exchange.body == b"one"
    page.version = "two"
    exchange = await drive(app)
    assert (exchange.body, exchange.hit) == (b"two", False)


# ------------------------------------------------------------------ what is written


async def test_a_page_that_is_always_validated_is_written_when_it_changes(clock: Clock) -> None:
    page, store = Revising(("cache-control", "no-cache")), SpyStore(clock)
    app = CacheMiddleware(page, store=store, keep=100)

    async def writes() -> int:
        before = store.operations.count("write")
        assert (await drive(app)).body == b"one"
        return store.operations.count("write") - before

    assert [await writes() for _ in range(4)] == [1, 0, 0, 0]
    clock.advance(49)
    assert await writes() == 0
    clock.advance(2)
    assert [await writes() for _ in range(2)] == [1, 0]
    page.headers.append(("x-a", "1"))
    assert [await writes() for _ in range(2)] == [1, 0]
    await app.cache.purge_all(soft=True)
    assert [await writes() for _ in range(2)] == [1, 0]
    assert page.answers == [200] + [304] * 10


@pytest.mark.parametrize("line", [("set-cookie", "sid=1"), ("cache-control", "no-store")])
async def test_a_304_that_is_one_clients_has_no_lifetime_of_ours(
    clock: Clock, line: tuple[str, str]
) -> None:
    page = Revising()
    app = cached(page, clock, paths={"/": Rule(ttl=10, browser_ttl=30)})
    assert (await drive(app)).values("cache-control") == ["max-age=30"]
    clock.advance(11)
    page.not_modified = [line]
    exchange = await drive(app)
    assert page.answers == [200, 304]
    assert (exchange.body, exchange.values(line[0])) == (b"one", [line[1]])
    assert exchange.values("cache-control") == ([line[1]] if "cache" in line[0] else [])


async def test_what_is_told_one_user_is_not_merged_for_all(clock: Clock) -> None:
    """A 304 has to say itself that it is for everybody; what is stored has said so of itself."""
    page = Revising(("cache-control", "public, max-age=10"))
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [("x-user", "alice")]
    exchange = await drive(app, headers=[ALICE])
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.values("x-user") == ["alice"]
    assert "detail=not-shared" in exchange.cache_status
    assert "stored" not in exchange.cache_status
    page.not_modified = None
    exchange = await drive(app)
    assert "fwd=stale; fwd-status=304; stored" in exchange.cache_status
    assert exchange.values("x-user") == []


# ------------------------------------------------------------------ who is answered


async def test_a_client_with_a_certificate_has_no_redirect_of_the_anonymous(clock: Clock) -> None:
    page = Revising(("location", "/login"))
    app = cached(page, clock, paths={"/{path:path}": 10})
    alice = {"tls": {"client_cert_name": "CN=alice"}}
    page.status = 301
    await drive(app)
    assert (await drive(app)).hit
    exchange = await drive(app, extensions=alice)
    assert exchange.cache_status.startswith("asgi-cache; fwd=bypass")
    assert page.scopes[-1]["extensions"]["tls"] == alice["tls"]
    page.status = 200
    await drive(app, "/page")
    assert (await drive(app, "/page", extensions=alice)).hit


async def test_who_wants_no_stored_response_gets_the_error(clock: Clock) -> None:
    """A fresh response does not stand in for an app that fails, unless that was permitted."""
    page = Revising(SHORT)
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    page.status = 503
    assert (await drive(app, headers=[("cache-control", "no-cache")])).status == 503
    assert (await drive(app)).hit


@pytest.mark.parametrize("hidden", [False, True])
async def test_what_an_app_raises_for_a_client_that_is_gone_comes_out(
    clock: Clock, hidden: bool, caplog: pytest.LogCaptureFixture
) -> None:
    page = Revising(ERROR_WINDOW)
    paths = {"/": Rule(ttl=10)} if hidden else {}
    app = cached(page, clock, paths=paths)
    await drive(app)
    clock.advance(11)
    page.failure = error = KeyError("own")
    with caplog.at_level(logging.DEBUG), pytest.raises(KeyError) as caught:
        await drive(app, headers=[ALICE] if hidden else [], disconnect_after=0)
    assert caught.value is error
    assert caplog.records == []


async def test_what_an_app_leaves_in_its_context_stays_there(clock: Clock) -> None:
    """Middleware outside sees it, as it does where nothing is stored."""
    serial: contextvars.ContextVar[int] = contextvars.ContextVar("serial", default=0)
    page = Revising(SHORT)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await page(scope, receive, send)
        serial.set(page.calls)

    wrapped = cached(app, clock)
    for calls, version in ((1, "one"), (2, "one"), (3, "two")):
        page.version = version
        await drive(wrapped)
        assert serial.get() == calls
        clock.advance(11)
    assert page.answers == [200, 304, 200]


# ------------------------------------------------------------------ how long, and on whose word


@pytest.mark.parametrize("name", ["stale-while-revalidate", "stale-if-error"])
@pytest.mark.parametrize("source", ["app", "rule"])
async def test_no_stale_window_is_longer_than_max_ttl(clock: Clock, source: str, name: str) -> None:
    windows: Any = {name.replace("-", "_"): 1000}
    page = Revising(("cache-control", f"max-age=10, {name}=1000") if source == "app" else SHORT)
    paths = {"/": Rule(**windows)} if source == "rule" else {}
    app = cached(page, clock, paths=paths, max_ttl=100)
    await drive(app)
    page.status = 503
    for seconds, status in ((109, 200), (1, 503)):
        clock.advance(seconds)
        assert (await drive(app)).status == status
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)


async def test_who_names_a_greatest_age_waits_for_the_app(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    clock.advance(11)
    page.version = "two"
    exchange = await drive(app, headers=[("cache-control", "max-age=99")])
    assert (exchange.body, exchange.hit) == (b"two", False)


@pytest.mark.parametrize("value", ['max-stale=""', 'max-stale="a b"'])
async def test_max_stale_has_to_be_bare_to_accept_any(clock: Clock, value: str) -> None:
    page = Revising(SHORT)
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    clock.advance(15)
    assert (await drive(app, headers=[("cache-control", "max-stale")])).hit
    assert not (await drive(app, headers=[("cache-control", value)])).hit
