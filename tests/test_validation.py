"""VALIDATE and REFUSE: the app is asked whether what is stored still holds (RFC 9111 §4.3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, MemoryStore, Rule
from tests.driver import BODY, START, Connection, SpyStore, drive, http_scope
from tests.revising import Revising

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.conftest import Clock

SHORT = ("cache-control", "max-age=10")
DATE = "Tue, 14 Nov 2023 20:00:00 GMT"
NOW = "Tue, 14 Nov 2023 22:13:20 GMT"
"""What the clock says at first."""
STALE_304 = "asgi-cache; fwd=stale; fwd-status=304; stored; ttl=10"


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=MemoryStore(1 << 20, clock), **settings)


# ------------------------------------------------------------------ a 304 freshens


async def test_a_stale_response_is_validated_and_fresh_again(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    exchange = await drive(app)
    assert page.answers == [200, 304]
    assert page.fields()[b"if-none-match"] == b'"one"'
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.cache_status == STALE_304
    assert exchange.field("age") == "0"
    clock.advance(9)
    assert (await drive(app)).hit
    assert page.calls == 2
    assert app.cache.metrics.by_label()["decision.stale"] == 1


async def test_a_full_answer_replaces_what_is_stored(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    page.version = "two"
    clock.advance(11)
    exchange = await drive(app)
    assert (exchange.status, exchange.body) == (200, b"two")
    assert exchange.cache_status == "asgi-cache; fwd=stale; stored"
    assert (await drive(app)).body == b"two"
    assert page.calls == 2


async def test_by_last_modified_alone(clock: Clock) -> None:
    page = Revising(SHORT, etag=False)
    page.modified = DATE
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    assert (await drive(app)).body == b"one"
    assert page.fields()[b"if-modified-since"] == DATE.encode()
    assert b"if-none-match" not in page.fields()
    assert page.answers == [200, 304]


async def test_a_generated_tag_is_never_sent_to_the_app(clock: Clock) -> None:
    page = Revising(SHORT, etag=False)
    app = cached(page, clock, stale_if_error=60)
    tag = (await drive(app)).field("etag")
    assert tag is not None
    assert tag.startswith("W/")
    clock.advance(11)
    exchange = await drive(app)
    assert not {b"if-none-match", b"if-modified-since"} & page.fields().keys()
    assert (exchange.body, exchange.field("etag")) == (b"one", tag)
    assert exchange.cache_status == "asgi-cache; fwd=stale; stored"


async def test_every_field_of_the_304_is_updated_but_those_of_the_body(clock: Clock) -> None:
    page = Revising(
        SHORT, ("a", "1"), ("a", "2"), ("b", "1"), ("content-encoding", "x"), ("date", NOW)
    )
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [
        ("cache-control", "max-age=30"),
        ("a", "3"),
        ("c", "1"),
        ("content-encoding", "y"),
        ("content-length", "99"),
        ("connection", "c"),
        ("x-request-id", "of the 304"),
    ]
    exchange = await drive(app)
    assert (exchange.values("a"), exchange.values("b"), exchange.values("c")) == (["3"], ["1"], [])
    assert exchange.values("content-encoding") == ["x"]
    assert exchange.values("content-length") == ["3"]
    assert exchange.values("x-request-id") == ["of the 304"]
    # No Date in the 304: the moment of its receipt.
    assert exchange.values("date") == ["Tue, 14 Nov 2023 22:13:31 GMT"]
    clock.advance(29)
    again = await drive(app)
    assert again.hit
    assert again.values("x-request-id") == []
    clock.advance(1)
    assert not (await drive(app)).hit


async def test_what_we_emitted_is_not_taken_for_the_apps_word(clock: Clock) -> None:
    """A rule with groups emits ``no-cache`` for browsers; freshened, it is still the rule's."""
    page = Revising()
    app = cached(page, clock, paths={"/": Rule(ttl=10, groups=["g"], vary=["x-a"])})
    first = await drive(app)
    for _ in range(3):
        clock.advance(11)
        exchange = await drive(app)
        assert "fwd-status=304" in exchange.cache_status
        assert exchange.values("cache-control") == first.values("cache-control") == ["no-cache"]
        assert exchange.values("vary") == first.values("vary") == ["x-a"]
        assert (await drive(app)).hit


async def test_no_cache_is_stored_and_validated_each_time(clock: Clock) -> None:
    page = Revising(("cache-control", "no-cache"))
    app = cached(page, clock)
    assert [(await drive(app)).body for _ in range(3)] == [b"one"] * 3
    assert page.answers == [200, 304, 304]


async def test_the_clients_own_condition_is_answered_from_the_result(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    theirs = [("if-none-match", '"one"')]
    exchange = await drive(app, headers=[("if-none-match", '"zero", "one"')])
    assert page.fields()[b"if-none-match"] == b'"one"'
    assert (exchange.status, exchange.body) == (304, b"")
    clock.advance(11)
    page.version = "two"
    exchange = await drive(app, headers=theirs)
    assert (exchange.status, exchange.body) == (200, b"two")
    clock.advance(11)
    page.version = "three"
    exchange = await drive(app, headers=[("if-none-match", '"three"')])
    assert (exchange.status, exchange.body) == (304, b"")
    assert (await drive(app)).body == b"three"


async def test_a_304_is_never_sent_to_a_client_that_did_not_ask(clock: Clock) -> None:
    """Wrong version: the app's 304 passed on, or stored as the page."""
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    for _ in range(2):
        exchange = await drive(app)
        assert (exchange.status, exchange.body) == (200, b"one")


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_304_about_another_validator_is_asked_again_without_condition(
    clock: Clock, hidden: bool
) -> None:
    page = Revising(SHORT)
    paths: dict[str, Any] = {"/": 60} if hidden else {}
    app = cached(page, clock, paths=paths)
    await drive(app)
    clock.advance(61)
    page.not_modified = [("etag", '"other"')]
    exchange = await drive(app, headers=[("cookie", "a=b")] if hidden else [])
    assert page.answers == [200, 304, 200]
    assert not {b"if-none-match"} & page.fields().keys()
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=not-validated"


async def test_a_malformed_304_reaches_nobody(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [("a", "b\r\nc")]
    assert (await drive(app)).status == 200
    assert page.answers == [200, 304, 200]


async def test_an_app_that_ignores_the_condition_and_fails_raises_as_without_us(
    clock: Clock,
) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.failure = error = KeyError("own")
    with pytest.raises(KeyError) as caught:
        await drive(app)
    assert caught.value is error
    assert page.calls == 2


@pytest.mark.parametrize("word", ["private", "no-store"])
async def test_a_304_that_takes_the_response_out_of_sharing(clock: Clock, word: str) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [("cache-control", word)]
    exchange = await drive(app)
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.values("cache-control") == [word]
    assert f"detail={word}" in exchange.cache_status
    assert "stored" not in exchange.cache_status
    page.not_modified = None
    await drive(app)
    assert page.answers == [200, 304, 200]  # nothing is left to be validated


async def test_a_304_with_set_cookie_answers_its_own_client_only(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [SHORT, ("set-cookie", "sid=1")]
    assert (await drive(app)).values("set-cookie") == ["sid=1"]
    page.not_modified = None
    for _ in range(2):
        assert (await drive(app)).values("set-cookie") == []


async def test_another_users_stale_response_is_not_what_this_one_is_asked_about(
    clock: Clock,
) -> None:
    """Decision 4: what may not answer a request with credentials is not validated for it."""
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    exchange = await drive(app, headers=[("cookie", "user=alice")])
    assert b"if-none-match" not in page.fields()
    assert page.answers == [200, 200]
    assert "stored" not in exchange.cache_status


async def test_an_anonymous_validation_hides_the_user(clock: Clock) -> None:
    page = Revising()
    app = cached(page, clock, paths={"/": 10})
    await drive(app)
    clock.advance(11)
    exchange = await drive(app, headers=[("cookie", "user=alice")])
    assert page.answers == [200, 304]
    assert b"cookie" not in page.fields()
    assert exchange.cache_status == STALE_304
    clock.advance(11)
    page.headers = [("cache-control", "private")]
    page.version = "hers"
    exchange = await drive(app, headers=[("cookie", "user=alice")])
    assert page.answers == [200, 304, 200, 200]  # the second run, as it came
    assert page.fields()[b"cookie"] == b"user=alice"
    assert exchange.body == b"hers"
    assert "stored" not in exchange.cache_status


async def test_a_purge_during_a_validation_holds(clock: Clock) -> None:
    """C10: what was validated before the purge returned is not stored after it."""
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)

    async def purge(scope: Scope) -> None:
        page.before = None
        await app.cache.purge("http://shop.example/")

    page.before = purge
    assert (await drive(app)).body == b"one"
    page.version = "two"
    assert (await drive(app)).body == b"two"


async def test_i12_after_a_soft_purge_a_304_makes_it_fresh_again(clock: Clock) -> None:
    page = Revising(("cache-control", "max-age=1000"))
    app = cached(page, clock)
    await drive(app)
    clock.advance(5)
    await app.cache.purge("http://shop.example/", soft=True)
    assert "fwd=stale; fwd-status=304; stored" in (await drive(app)).cache_status
    assert (await drive(app)).hit
    assert page.answers == [200, 304]


async def test_variants_are_validated_each_by_its_own_tag(clock: Clock) -> None:
    page = Revising(SHORT, ("vary", "x-v"))

    async def version(scope: Scope) -> None:
        page.version = dict(scope["headers"])[b"x-v"].decode()

    page.before = version
    app = cached(page, clock)
    for value in ("a", "b"):
        await drive(app, headers=[("x-v", value)])
    clock.advance(11)
    for value in ("a", "b"):
        exchange = await drive(app, headers=[("x-v", value)])
        assert page.fields()[b"if-none-match"] == f'"{value}"'.encode()
        assert exchange.body == value.encode()
        assert (await drive(app, headers=[("x-v", value)])).hit
    assert page.answers == [200, 200, 304, 304]


async def test_a_store_that_fails_meanwhile_costs_no_answer(clock: Clock) -> None:
    page, store = Revising(SHORT), SpyStore(clock)
    app = CacheMiddleware(page, store=store)
    await drive(app)
    clock.advance(11)
    store.failing["write"] = OSError("away")
    assert (await drive(app)).body == b"one"
    assert page.answers == [200, 304]


async def test_a_client_that_goes_during_a_validation_leaves_it_stored(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    with pytest.raises(OSError, match="gone"):
        await drive(app, disconnect_after=0)
    assert (await drive(app)).hit


async def test_the_app_is_not_waited_for_after_its_304(clock: Clock) -> None:
    """The client is answered when the 304 starts; what the app does afterwards is its own."""
    ended, answered = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        holds = b"if-none-match" in dict(scope["headers"])
        lines = [(b"etag", b'"one"'), (b"cache-control", b"max-age=10")]
        await send({"type": START, "status": 304 if holds else 200, "headers": lines})
        if holds:
            await answered.wait()
        await send({"type": BODY, "body": b"" if holds else b"one"})
        ended.set()

    wrapped = cached(app, clock)
    await drive(wrapped)
    ended.clear()
    clock.advance(11)
    connection = Connection(
        http_scope(), on_send=lambda message: answered.set() if message.get("body") else None
    )
    assert (await asyncio.wait_for(connection.run(wrapped), 5)).body == b"one"
    assert ended.is_set()


# ------------------------------------------------------------------ HEAD (§4.3.5)


async def test_a_head_freshens_what_is_stale(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.headers = [("cache-control", "max-age=50"), ("a", "new")]
    exchange = await drive(app, method="HEAD")
    assert exchange.cache_status == "asgi-cache; fwd=stale; detail=head"
    assert b"if-none-match" not in page.fields()
    clock.advance(49)
    exchange = await drive(app)
    assert (exchange.hit, exchange.body, exchange.values("a")) == (True, b"one", ["new"])


@pytest.mark.parametrize(
    "change", [{"version": "six"}, {"version": "longer"}, {"status": 404}, {"status": 410}]
)
async def test_a_head_that_differs_takes_it_out(clock: Clock, change: dict[str, Any]) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    for name, value in change.items():
        setattr(page, name, value)
    await drive(app, method="HEAD")
    page.status = 200
    exchange = await drive(app)
    assert "fwd=uri-miss" in exchange.cache_status


@pytest.mark.parametrize("status", [301, 405, 500, 503])
async def test_a_head_that_says_nothing_of_the_page_changes_nothing(
    clock: Clock, status: int
) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.status = status
    await drive(app, method="HEAD")
    page.status = 200
    assert "fwd-status=304" in (await drive(app)).cache_status


async def test_a_head_with_nothing_to_compare_by_changes_nothing(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=50")]})
        await send({"type": BODY, "body": b""})

    await drive(CacheMiddleware(bare, cache=app.cache), method="HEAD")
    assert "fwd-status=304" in (await drive(app)).cache_status


@pytest.mark.parametrize("paths", [{}, {"/": 10}])
async def test_the_head_of_a_user_changes_nothing_for_others(
    clock: Clock, paths: dict[str, Any]
) -> None:
    page = Revising(("cache-control", "public, max-age=10"))
    app = cached(page, clock, paths=paths)
    await drive(app)
    clock.advance(11)
    page.headers = [("cache-control", "public, max-age=50"), ("x-user", "alice")]
    await drive(app, method="HEAD", headers=[("cookie", "user=alice")])
    page.headers = [("cache-control", "public, max-age=10")]
    exchange = await drive(app)
    assert "fwd=stale" in exchange.cache_status
    assert exchange.values("x-user") == []


# ------------------------------------------------------------------ request directives (§5.2.1)


@pytest.mark.parametrize(
    ("directives", "decision"),
    [
        ("no-cache", "fwd=request; fwd-status=304; stored"),
        ("max-age=4", "fwd=request; fwd-status=304; stored"),
        ("max-age=5", "hit"),
        ("min-fresh=6", "fwd=request; fwd-status=304; stored"),
        ("min-fresh=5", "hit"),
        ("only-if-cached", "hit"),
        ("x-unknown=1", "hit"),
    ],
)
async def test_what_a_client_may_ask_of_a_fresh_response(
    clock: Clock, directives: str, decision: str
) -> None:
    page = Revising(SHORT)
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    clock.advance(5)
    exchange = await drive(app, headers=[("cache-control", directives)])
    assert exchange.cache_status.startswith(f"asgi-cache; {decision}; ttl=")
    assert exchange.body == b"one"


@pytest.mark.parametrize(
    ("directives", "hit"),
    [("max-stale", True), ("max-stale=5", True), ("max-stale=4", False), ("max-age=60", False)],
)
@pytest.mark.parametrize("forbidden", [False, True])
async def test_what_a_client_may_ask_of_a_stale_response(
    clock: Clock, directives: str, hit: bool, forbidden: bool
) -> None:
    page = Revising(("cache-control", "max-age=10" + ", must-revalidate" * forbidden))
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    clock.advance(15)
    exchange = await drive(app, headers=[("cache-control", directives)])
    assert exchange.hit is (hit and not forbidden)
    assert exchange.hit is exchange.cache_status.endswith("hit; ttl=-5")


@pytest.mark.parametrize("stored", [False, True])
async def test_only_if_cached_gets_504_where_nothing_may_be_used(
    clock: Clock, stored: bool
) -> None:
    page = Revising(SHORT)
    app = cached(page, clock, honor_request_directives=True)
    if stored:
        await drive(app)
        clock.advance(11)
    exchange = await drive(app, headers=[("cache-control", "only-if-cached")])
    assert (exchange.status, exchange.body, exchange.complete) == (504, b"", True)
    assert exchange.cache_status == ""
    assert page.calls == stored
    assert app.cache.metrics.by_label()["decision.only-if-cached"] == 1


async def test_pragma_counts_without_cache_control_only(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock, honor_request_directives=True)
    await drive(app)
    pragma = ("pragma", "no-cache")
    assert "fwd=request" in (await drive(app, headers=[pragma])).cache_status
    assert (await drive(app, headers=[pragma, ("cache-control", "max-age=60")])).hit


async def test_d11_by_default_a_client_cannot_make_the_app_work(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    for line in (("cache-control", "no-cache, max-age=0"), ("pragma", "no-cache")):
        assert (await drive(app, headers=[line])).hit
    assert page.calls == 1


# ------------------------------------------------------------------ Vary (§4.1)


async def test_another_spelling_of_a_list_is_answered_by_the_plain_one(clock: Clock) -> None:
    page = Revising(SHORT, ("vary", "x-list"))
    app = cached(page, clock)
    await drive(app, headers=[("x-list", "1,2")])
    for value in (" 1, 2 ", "1,,2", "1 ,\t2"):
        assert (await drive(app, headers=[("x-list", value)])).hit
    assert not (await drive(app, headers=[("x-list", "2,1")])).hit


async def test_the_plain_spelling_is_not_answered_by_an_odd_one(clock: Clock) -> None:
    """What an app makes of an odd spelling is for those who spell so."""
    page = Revising(SHORT, ("vary", "x-list"))
    app = cached(page, clock)
    await drive(app, headers=[("x-list", "1,, 2")])
    assert (await drive(app, headers=[("x-list", "1,, 2")])).hit
    assert not (await drive(app, headers=[("x-list", "1,2")])).hit
    assert page.calls == 2
