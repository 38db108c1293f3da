"""What a HEAD's answer may do to the stored page (RFC 9111 §4.3.5), and what it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, Rule
from tests.driver import SpyStore, drive
from tests.revising import Revising

if TYPE_CHECKING:
    from starlette.types import Scope

    from tests.conftest import Clock

SHORT = ("cache-control", "max-age=10")
SHARED = ("cache-control", "public, max-age=10")


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=SpyStore(clock), **settings)


@pytest.mark.parametrize(
    ("rule", "page_has", "get", "head"),
    [
        (Rule(ignore_query=["utm_*"]), [], {}, {"target": "/?utm_id=hers"}),
        (
            Rule(languages=["de", "en"]),
            [("vary", "accept-language")],
            {"headers": [("accept-language", "en")]},
            {"headers": [("accept-language", "en-x-hers, en;q=0.5")]},
        ),
        (
            Rule(),
            [],
            {"headers": [("forwarded", "proto=https")]},
            {"headers": [("forwarded", "for=hers;proto=https")]},
        ),
    ],
    ids=["query", "languages", "forwarded"],
)
async def test_a_head_that_may_freshen_is_folded_as_a_fill_is(
    clock: Clock,
    rule: Rule,
    page_has: list[tuple[str, str]],
    get: dict[str, Any],
    head: dict[str, Any],
) -> None:
    """Its app does not see what the key leaves out."""
    page = Revising(SHARED, *page_has)
    app = cached(page, clock, paths={"/": rule})
    await drive(app, **get)
    clock.advance(11)
    page.headers = [("cache-control", "public, max-age=50"), *page_has, ("x-seen", "by all")]
    await drive(app, method="HEAD", **head)
    seen = page.scopes[-1]
    assert b"hers" not in seen["query_string"] + repr(seen["headers"]).encode()
    exchange = await drive(app, **get)
    assert exchange.cache_status == "asgi-cache; hit; ttl=50"
    assert exchange.values("x-seen") == ["by all"]


@pytest.mark.parametrize(
    "identity", [{"user": "alice"}, {"session": {"user": "alice"}}, {"state": {"user": "alice"}}]
)
async def test_a_users_head_goes_as_it_came_and_changes_nothing_for_others(
    clock: Clock, identity: dict[str, Any]
) -> None:
    page = Revising(SHARED)
    app = cached(page, clock, paths={"/": Rule(ttl=10)})
    await drive(app)
    clock.advance(11)
    page.headers = [("cache-control", "public, max-age=50"), ("x-seen", "hers")]
    assert (await drive(app, method="HEAD", **identity)).values("x-seen") == ["hers"]
    (name,) = identity
    assert page.scopes[-1][name] == identity[name]
    page.headers = [SHARED]
    exchange = await drive(app)
    assert "fwd=stale; fwd-status=304" in exchange.cache_status
    assert exchange.values("x-seen") == []


async def test_the_record_that_a_head_freshens_has_no_cache_status_of_ours(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.headers = [SHORT, ("x-new", "1")]
    exchange = await drive(app, method="HEAD")
    assert exchange.values("cache-status") == ["asgi-cache; fwd=stale; detail=head"]
    exchange = await drive(app)
    assert exchange.values("x-new") == ["1"]
    assert exchange.values("cache-status") == ["asgi-cache; hit; ttl=10"]


@pytest.mark.parametrize("purged", [False, True])
async def test_a_length_alone_does_not_freshen_but_may_contradict(
    clock: Clock, purged: bool
) -> None:
    """Two versions of a page are easily of one length."""
    # A window in which it is kept though it has nothing to be validated by.
    page = Revising((SHORT[0], "max-age=10, stale-if-error=60"), etag=False)
    app = cached(page, clock)
    await drive(app)
    if purged:
        await app.cache.purge("http://shop.example/", soft=True)
    else:
        clock.advance(11)
    page.version = "two"
    assert (await drive(app, method="HEAD")).values("content-length") == ["3"]
    exchange = await drive(app)
    assert (exchange.body, exchange.cache_status) == (b"two", "asgi-cache; fwd=stale; stored")
    clock.advance(11)
    page.version = "longer"
    await drive(app, method="HEAD")
    assert "fwd=uri-miss" in (await drive(app)).cache_status


async def test_a_head_that_forbids_storing_leaves_the_store_alone(clock: Clock) -> None:
    page, store = Revising(SHORT), SpyStore(clock)
    app = CacheMiddleware(page, store=store)
    await drive(app)
    clock.advance(11)
    for version in ("one", "longer"):
        page.version = version
        before = len(store.operations)
        await drive(app, method="HEAD", headers=[("cache-control", "no-store")])
        assert set(store.operations[before:]) == {"read"}


async def test_a_head_that_is_overtaken_puts_nothing_back(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    newer = Revising(SHORT)
    newer.version = "two"

    async def overtake(scope: Scope) -> None:
        page.before = None
        await drive(CacheMiddleware(newer, cache=app.cache))

    page.before = overtake
    await drive(app, method="HEAD")
    exchange = await drive(app)
    assert (exchange.body, exchange.hit) == (b"two", True)
