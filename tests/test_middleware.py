"""The driver: which verb a request gets, and what its client sees of it.

Judged on :class:`CacheMiddleware` alone, by serial numbers and call counts, not by headers only.
"""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

import asgi_cache
from asgi_cache import Cache, CacheMiddleware, MemoryStore, Rule
from asgi_cache.notes import Notes
from asgi_cache.stores import GuardedStore
from tests.driver import BODY, START, Connection, Recorder, SpyStore, drive, http_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Receive, Scope, Send

    from tests.conftest import Clock

FRESH = ("cache-control", "max-age=60")
PAGE = {"/page": 60}


# ------------------------------------------------------------------ PASS, untouched


def unusual_messages() -> list[Message]:
    """Messages that a cache could be tempted to tidy up."""
    return [
        {"type": "http.response.early_hint", "links": []},
        {"type": START, "status": 200, "headers": ((b"X-Upper", b"1"), [b"a", b"b"])},
        {"type": BODY, "body": b"one", "more_body": True, "extra": 7},
        {"type": BODY, "body": b"two"},
        {"type": "unheard.of"},
    ]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "QUERY", "PROPFIND"])
@pytest.mark.parametrize("enabled", [True, False])
async def test_other_safe_methods_are_message_for_message_the_apps(
    method: str, enabled: bool
) -> None:
    store, sent = SpyStore(), unusual_messages()
    app = CacheMiddleware(sending(sent), store=store, enabled=enabled, default_ttl=60)
    exchange = await drive(app, method=method, body=b"question")
    assert all(one is other for one, other in zip(exchange.messages, sent, strict=True))
    assert sent == unusual_messages()
    assert store.operations == []
    assert app.cache.metrics.by_label() == {"decision.method": 1}


@pytest.mark.parametrize(
    "options", [{"enabled": False}, {"paths": {"/{rest:path}": False}}], ids=["switch", "path"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_off_is_message_for_message_the_apps(options: dict[str, Any], method: str) -> None:
    store, sent = SpyStore(), unusual_messages()
    app = CacheMiddleware(sending(sent), store=store, default_ttl=60, **options)
    for _ in range(2):
        exchange = await drive(app, method=method, headers=[("range", "bytes=0-1")])
        assert all(one is other for one, other in zip(exchange.messages, sent, strict=True))
    assert store.operations == []
    assert app.cache.metrics.by_label() == {"decision.off": 2}


def sending(messages: list[Message]) -> Any:
    """An app that sends these very objects."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PURGE", "get", "FOO"])
@pytest.mark.parametrize("enabled", [True, False])
async def test_unsafe_methods_invalidate_and_are_otherwise_the_apps(
    method: str, enabled: bool
) -> None:
    store, sent = SpyStore(), unusual_messages()
    app = CacheMiddleware(sending(sent), store=store, enabled=enabled)
    exchange = await drive(app, method=method)
    assert all(one is other for one, other in zip(exchange.messages, sent, strict=True))
    assert store.operations == ["replace", "replace"]
    assert app.cache.metrics.by_label() == {"decision.method": 1, "invalidations": 2}


@pytest.mark.parametrize("status", [100, 199, 400, 404, 500, 599, None, "200"])
async def test_what_is_no_success_invalidates_nothing(status: Any) -> None:
    store = SpyStore()
    app = CacheMiddleware(sending([{"type": START, "status": status, "headers": []}]), store=store)
    exchange = await drive(app, method="POST")
    assert exchange.messages[0]["status"] == status
    assert store.operations == []


@pytest.mark.parametrize(
    "headers",
    [None, 7, [(b"a", "text")], iter([(b"a", b"1")])],
    ids=["none", "number", "text", "iterator"],
)
async def test_a_success_invalidates_whatever_its_headers_are(headers: Any) -> None:
    store = SpyStore()
    app = CacheMiddleware(
        sending([{"type": START, "status": 200, "headers": headers}]), store=store
    )
    exchange = await drive(app, method="POST")
    got = exchange.messages[0]["headers"]
    assert got == ([(b"a", b"1")] if hasattr(headers, "__next__") else headers)
    assert store.operations == ["replace", "replace"]


async def test_whoever_has_the_start_sees_the_effect() -> None:
    """The old page is gone before the start of the POST's answer is passed on."""
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder)
    assert [(await drive(app)).serial for _ in range(2)] == [1, 1]
    seen: list[int] = []

    async def look(message: Message) -> None:
        if message["type"] == START:
            seen.append((await drive(app)).serial)

    connection = Connection(http_scope(method="POST"), on_send=look)
    await connection.run(app)
    assert seen == [3]  # the POST itself was the second call


@pytest.mark.parametrize("error", [None, ValueError("in the background")])
async def test_work_after_the_response_invalidates_again(error: Exception | None) -> None:
    """A page filled from old data while a background task still writes is gone afterwards."""
    written, filled = asyncio.Event(), asyncio.Event()
    version = 1

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal version
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": BODY, "body": b"version %d" % version})
        if scope["method"] == "POST":
            written.set()
            await filled.wait()
            version += 1
            if error is not None:
                raise error

    wrapped = CacheMiddleware(app)
    post = asyncio.create_task(drive(wrapped, method="POST"))
    await written.wait()
    await drive(wrapped)
    assert (await drive(wrapped)).hit
    filled.set()
    assert (await asyncio.gather(post, return_exceptions=True))[0] is error or error is None
    assert (await drive(wrapped)).body == b"version 2"


async def test_a_post_invalidates_what_its_answer_names() -> None:
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder, paths={"/a": {"groups": ["of-a-rule"]}})
    recorder.headers.append((b"cache-groups", b'"g"'))
    targets = ["/a", "/b", "/c", "/a?x=1"]
    for target in targets:
        await drive(app, target)
    recorder.headers = [(b"location", b"/b"), (b"content-location", b"//other.example/c")]
    await drive(app, "/a", method="POST")
    hits = {target: (await drive(app, target)).hit for target in targets}
    assert hits == {"/a": False, "/b": False, "/c": True, "/a?x=1": True}
    recorder.headers = [(b"cache-group-invalidation", b'"g"')]
    await drive(app, "/elsewhere", method="DELETE")
    assert [(await drive(app, target)).hit for target in ("/c", "/a?x=1")] == [False, False]


# ------------------------------------------------------------------ PASS, told


@pytest.mark.parametrize(
    ("options", "headers", "detail"),
    [
        ({"host": None}, [], "host"),
        ({"host": "a b"}, [], "host"),
        ({"host": "a" * 300}, [], "host"),
        ({"host": "other.example"}, [], "authority"),
        ({"raw_path": b"*"}, [], "path"),
        ({"raw_path": b"/a\0b"}, [], "path"),
        ({"query_string": b"x" * 9000}, [], "target-too-long"),
        ({}, [("content-length", "5")], "request-body"),
        ({}, [("transfer-encoding", "chunked")], "request-body"),
        ({}, [("if-match", '"a"')], "precondition"),
        ({}, [("if-unmodified-since", "x")], "precondition"),
    ],
)
async def test_a_bypass_goes_as_it_came_and_says_why(
    options: dict[str, Any], headers: list[tuple[str, str]], detail: str
) -> None:
    store, recorder = SpyStore(), Recorder([FRESH])
    app = CacheMiddleware(recorder, store=store, authorities=["shop.example"], default_ttl=60)
    for serial in (1, 2):
        exchange = await drive(app, "/page", headers=[*headers, ("cookie", "a=1")], **options)
        assert exchange.serial == serial
        assert ["cookie", "a=1"] in exchange.told["headers"]
        assert exchange.cache_status == f"asgi-cache; fwd=bypass; detail={detail}"
    assert exchange.headers[:-1] == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(exchange.body)),
        *recorder.headers,
    ]
    assert store.operations == []


async def test_a_zero_content_length_is_no_body() -> None:
    app = CacheMiddleware(Recorder([FRESH]))
    await drive(app, headers=[("content-length", "0")])
    assert (await drive(app)).hit


@pytest.mark.parametrize(
    ("method", "headers", "detail"),
    [
        ("HEAD", [], "head"),
        ("GET", [("range", "bytes=0-9")], "range"),
        ("GET", [("cache-control", "no-store")], "request-no-store"),
    ],
)
async def test_r01_r11_what_may_hit_but_not_lead(
    method: str, headers: list[tuple[str, str]], detail: str
) -> None:
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder)
    exchange = await drive(app, method=method, headers=headers)
    assert exchange.cache_status == f"asgi-cache; fwd=uri-miss; detail={detail}"
    assert (await drive(app)).serial == 2
    after = await drive(app, method=method, headers=headers)
    assert (after.hit, recorder.calls) == (True, 2)


async def test_our_cache_status_comes_after_what_is_there() -> None:
    """RFC 9211 §2: nearest the origin first."""
    recorder = Recorder([FRESH, ("cache-status", "origin; hit"), ("Cache-Status", "inner; hit")])
    app = CacheMiddleware(recorder)
    bypass = await drive(app, headers=[("if-match", "*")])
    fill = await drive(app)
    hit = await drive(app)
    expected = [
        "asgi-cache; fwd=bypass; detail=precondition",
        "asgi-cache; fwd=uri-miss; stored",
        "asgi-cache; hit; ttl=59",
    ]
    for exchange, ours in zip((bypass, fill, hit), expected, strict=True):
        assert exchange.values("cache-status") == ["origin; hit", "inner; hit", ours]


async def test_a_bypass_reads_a_header_iterator_once() -> None:
    lines = iter([(b"x", b"1")])
    app = CacheMiddleware(sending([{"type": START, "status": 200, "headers": lines}]))
    exchange = await drive(app, headers=[("if-match", "*")])
    assert exchange.headers == [
        (b"x", b"1"),
        (b"cache-status", b"asgi-cache; fwd=bypass; detail=precondition"),
    ]


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("operation", ["read", "settle"])
async def test_a_store_that_is_away_is_a_miss_and_says_so(operation: str, guard: bool) -> None:
    spy, recorder = SpyStore(), Recorder()
    app = CacheMiddleware(recorder, store=GuardedStore(spy) if guard else spy, paths=PAGE)
    spy.failing[operation] = asgi_cache.StoreError("away")
    for serial in (1, 2):
        exchange = await drive(app, "/page", headers=[("cookie", "a=1")])
        assert exchange.serial == serial
        # Those who wait for it share it, so it is made for nobody in particular.
        assert ["cookie", "a=1"] not in exchange.told["headers"]
        assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=store-unavailable"
    assert "write" not in spy.operations
    assert app.cache.metrics.by_label()["refusal.store-unavailable"] == 2


# ------------------------------------------------------------------ SERVE


async def test_a_hit_has_the_lines_of_the_fill_age_and_length(clock: Clock) -> None:
    lines = [FRESH, ("date", "Tue, 14 Nov 2023 22:13:20 GMT"), ("x", "1"), ("x", "2")]
    recorder = Recorder(lines, length=False)
    app = CacheMiddleware(recorder, store=SpyStore(clock))
    first = await drive(app)
    clock.advance(7.9)
    second = await drive(app)
    assert (second.status, second.body) == (200, first.body)
    assert second.headers == [
        (b"content-type", b"application/json"),
        *recorder.headers,
        (b"content-length", b"%d" % len(first.body)),
        (b"age", b"7"),
        (b"cache-status", b"asgi-cache; hit; ttl=52"),
    ]
    clock.advance(52)
    assert (await drive(app)).serial == 1
    recorder.headers = [line for line in recorder.headers if line[0] != b"date"]
    clock.advance(0.2)
    gone = await drive(app)
    assert (gone.serial, gone.cache_status) == (2, "asgi-cache; fwd=uri-miss; stored")


async def test_what_is_stale_goes_to_the_app_and_is_replaced(clock: Clock) -> None:
    recorder = Recorder([FRESH, ("etag", '"v1"')])
    app = CacheMiddleware(recorder, store=SpyStore(clock))
    await drive(app)
    clock.advance(60)
    exchange = await drive(app)
    assert (exchange.serial, exchange.cache_status) == (2, "asgi-cache; fwd=stale; stored")
    assert (await drive(app)).serial == 2


async def test_each_decision_is_counted() -> None:
    app = CacheMiddleware(Recorder([FRESH]))
    for method in ("GET", "GET", "HEAD", "OPTIONS"):
        await drive(app, method=method)
    assert app.cache.metrics.by_label() == {
        "decision.uri-miss": 1,
        "decision.fresh": 2,
        "decision.method": 1,
        "stores": 1,
    }


async def test_a_write_that_fails_is_counted_as_not_stored() -> None:
    spy = SpyStore()
    app = CacheMiddleware(Recorder([FRESH]), store=spy)
    spy.failing["write"] = asgi_cache.StoreError("away")
    assert (await drive(app)).status == 200
    assert app.cache.metrics.by_label() == {
        "decision.uri-miss": 1,
        "refusal.store-unavailable": 1,
        "store_failures": 1,
    }


async def test_date_goes_out_only_where_the_app_sent_one() -> None:
    app = CacheMiddleware(Recorder([FRESH]))
    await drive(app)
    assert (await drive(app)).field("date") is None


async def test_an_age_of_the_app_counts_and_is_not_repeated(clock: Clock) -> None:
    app = CacheMiddleware(Recorder([FRESH, ("age", "50")]), store=SpyStore(clock))
    await drive(app)
    clock.advance(5)
    assert (await drive(app)).values("age") == ["55"]
    clock.advance(6)
    assert not (await drive(app)).hit


async def test_a_clock_that_jumps_back_makes_no_negative_age(clock: Clock) -> None:
    app = CacheMiddleware(Recorder([FRESH]), store=SpyStore(clock))
    await drive(app)
    clock.advance(-50)
    assert (await drive(app)).field("age") == "0"


async def test_o08_a_clock_put_right_leaves_nothing_from_the_future(clock: Clock) -> None:
    app = CacheMiddleware(Recorder([FRESH]), store=SpyStore(clock))
    await drive(app)
    clock.advance(-86_400 * 365)
    assert (await drive(app)).cache_status == "asgi-cache; fwd=stale; stored"
    assert (await drive(app)).hit


async def test_r12_head_on_a_stored_get() -> None:
    recorder = Recorder([FRESH], length=False)
    app = CacheMiddleware(recorder)
    body = (await drive(app)).body
    get, head = await drive(app), await drive(app, method="HEAD")
    assert (head.hit, head.body, head.complete) == (True, b"", True)
    assert head.headers == get.headers
    assert head.field("content-length") == str(len(body))
    assert recorder.calls == 1


TAG = [FRESH, ("etag", '"v1"'), ("last-modified", "Mon, 13 Nov 2023 00:00:00 GMT")]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (("if-none-match", '"v1"'), 304),
        (("if-none-match", 'W/"v1"'), 304),
        (("if-none-match", '"v0", "v1"'), 304),
        (("if-none-match", "*"), 304),
        (("if-none-match", '"v2"'), 200),
        (("if-none-match", "v1"), 200),
        (("if-modified-since", "Mon, 13 Nov 2023 00:00:00 GMT"), 304),
        (("if-modified-since", "Sun, 12 Nov 2023 00:00:00 GMT"), 200),
        (("if-modified-since", "yesterday"), 200),
    ],
)
async def test_a_condition_on_a_hit(
    condition: tuple[str, str], status: int, method: str, clock: Clock
) -> None:
    lines = [
        *TAG,
        ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("vary", "accept-language"),
        ("content-location", "/page"),
        ("expires", "Wed, 15 Nov 2023 22:13:20 GMT"),
        ("x-other", "1"),
    ]
    recorder = Recorder(lines)
    app = CacheMiddleware(recorder, store=SpyStore(clock))
    await drive(app)
    exchange = await drive(app, headers=[condition], method=method)
    assert (exchange.status, exchange.hit, exchange.complete) == (status, True, True)
    assert recorder.calls == 1
    if status == 304:
        assert exchange.body == b""
        kept = [line for line in recorder.headers if line[0] != b"x-other"]
        ours = [(b"age", b"0"), (b"cache-status", b"asgi-cache; hit; ttl=60")]
        assert exchange.headers == kept + ours
    again = await drive(app)
    assert (again.status, again.serial) == (200, 1)


async def test_a_tag_decides_before_a_date() -> None:
    app = CacheMiddleware(Recorder(TAG))
    await drive(app)
    modified = ("if-modified-since", "Mon, 13 Nov 2023 00:00:00 GMT")
    exchange = await drive(app, headers=[("if-none-match", '"v2"'), modified])
    assert exchange.status == 200


async def test_an_unconditional_client_never_gets_a_304() -> None:
    app = CacheMiddleware(Recorder(TAG))
    await drive(app)
    assert (await drive(app, headers=[("if-range", '"v1"')])).status == 200


async def test_r08_a_304_that_nobody_asked_for_is_passed_and_not_stored() -> None:
    recorder = Recorder([FRESH, ("etag", '"v1"')], status=304)
    app = CacheMiddleware(recorder, paths=PAGE)
    for target in ("/", "/page"):
        exchange = await drive(app, target)
        assert (exchange.status, exchange.cache_status) == (
            304,
            "asgi-cache; fwd=uri-miss; detail=status",
        )
    assert app.cache.metrics.stores == 0


async def test_r06_without_a_rule_the_condition_is_the_apps() -> None:
    """The app's own 304 is passed on; the next plain GET gets the page."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        status = 304 if b"if-none-match" in fields else 200
        lines = [(b"cache-control", b"max-age=60"), (b"etag", b'"v1"')]
        await send({"type": START, "status": status, "headers": lines})
        await send({"type": BODY, "body": b"" if status == 304 else b"page"})

    wrapped = CacheMiddleware(app)
    assert (await drive(wrapped, headers=[("if-none-match", '"v1"')])).status == 304
    exchange = await drive(wrapped)
    assert (exchange.status, exchange.body, exchange.hit) == (200, b"page", False)
    assert (await drive(wrapped, headers=[("if-none-match", '"v1"')])).hit


async def test_r06_an_app_that_saw_the_condition_keeps_its_200() -> None:
    recorder = Recorder([FRESH, ("etag", '"v1"')])
    app = CacheMiddleware(recorder)
    exchange = await drive(app, headers=[("if-none-match", '"v1"')])
    assert ["if-none-match", '"v1"'] in exchange.told["headers"]
    assert (exchange.status, exchange.serial) == (200, 1)


async def test_206_is_never_stored() -> None:
    recorder = Recorder([FRESH, ("content-range", "bytes 0-1/9")], status=206)
    app = CacheMiddleware(recorder)
    assert [(await drive(app)).serial for _ in range(2)] == [1, 2]


async def test_a_hit_neither_reads_the_request_nor_calls_the_app() -> None:
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder)
    await drive(app)
    connection = Connection(http_scope())
    assert (await connection.run(app)).hit
    assert (connection.received, recorder.calls) == ([], 1)


@pytest.mark.parametrize(
    ("stored", "headers", "served"),
    [
        (FRESH, [("cookie", "a=1")], False),
        (FRESH, [("authorization", "x")], False),
        (("cache-control", "public, max-age=60"), [("cookie", "a=1")], True),
        (("cache-control", "public, max-age=60"), [("authorization", "x")], True),
        (("cache-control", "s-maxage=60"), [("authorization", "x")], True),
        (("asgi-cache-control", "max-age=60"), [("cookie", "a=1")], True),
        (("asgi-cache-control", "max-age=60"), [("authorization", "x")], False),
    ],
)
async def test_l03_l06_credentials_get_what_was_called_shared(
    stored: tuple[str, str], headers: list[tuple[str, str]], served: bool
) -> None:
    recorder = Recorder([stored])
    app = CacheMiddleware(recorder)
    await drive(app)
    exchange = await drive(app, headers=headers)
    assert (exchange.hit, exchange.serial) == (served, 2 - served)
    if not served:
        assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=credentials"


# ------------------------------------------------------------------ what a fill's app sees


async def test_the_app_of_a_fill_sees_what_the_key_folds() -> None:
    recorder = Recorder()
    app = CacheMiddleware(
        recorder,
        paths={"/page": Rule(ttl=60, ignore_query=["utm_*"], languages=["en", "de"])},
    )
    scope = http_scope(
        "/page?a=1&utm_source=x&b=2",
        headers=[
            ("accept-encoding", "br;q=1, gzip, foo"),
            ("accept-language", "de-AT, en;q=0.5"),
            ("forwarded", "for=1.2.3.4;host=shop.example;by=x"),
        ],
    )
    exchange = await drive(app, scope=scope)
    assert exchange.told["query"] == "a=1&b=2"
    assert exchange.told["headers"] == [
        ["host", "shop.example"],
        ["accept-encoding", "gzip, br"],
        ["accept-language", "de"],
        ["forwarded", 'host="shop.example"'],
    ]
    assert scope["query_string"] == b"a=1&utm_source=x&b=2"
    assert (b"accept-encoding", b"br;q=1, gzip, foo") in scope["headers"]
    again = await drive(
        app,
        "/page?a=1&b=2&utm_medium=y",
        headers=[
            ("accept-encoding", "gzip, br"),
            ("accept-language", "de"),
            ("forwarded", "host=shop.example"),
        ],
    )
    assert (again.hit, again.serial) == (True, 1)


# ------------------------------------------------------------------ emission (decision 6)


@pytest.mark.parametrize(
    ("rule", "lines", "emitted"),
    [
        (Rule(ttl=60), [], ["max-age=60"]),
        (Rule(ttl=60, public=True), [], ["public, max-age=60"]),
        (
            Rule(ttl=60, stale_while_revalidate=5, stale_if_error=9),
            [],
            ["max-age=60, stale-while-revalidate=5, stale-if-error=9"],
        ),
        (Rule(ttl=60, browser_ttl=0), [], ["no-cache"]),
        (Rule(ttl=60, browser_ttl=0, public=True), [], ["public, no-cache"]),
        (Rule(ttl=60, groups=["g"]), [], ["no-cache"]),
        (Rule(ttl=60, groups=["g"], browser_ttl=9), [], ["max-age=9"]),
        (Rule(ttl=60, browser_ttl=9), [], ["max-age=9"]),
        (Rule(ttl=60), [("cache-control", "max-age=9")], ["max-age=9"]),
        (Rule(ttl=60), [("cache-control", "public")], ["public"]),
        (Rule(ttl=60), [("cache-control", "")], [""]),
        (Rule(ttl=60), [("expires", "Wed, 15 Nov 2023 22:13:20 GMT")], []),
        (Rule(ttl=60, override=True), [("cache-control", "max-age=9")], ["max-age=9"]),
        (Rule(ttl=60), [("asgi-cache-control", "max-age=9")], []),
        (Rule(ttl=60), [("cache-control", "private")], ["private"]),
        (Rule(ttl=60), [("set-cookie", "a=1")], []),
        (Rule(groups=["g"]), [], []),
    ],
)
async def test_what_browsers_are_told(
    rule: Rule, lines: list[tuple[str, str]], emitted: list[str], clock: Clock
) -> None:
    recorder = Recorder(lines)
    app = CacheMiddleware(recorder, store=SpyStore(clock), paths={"/page": rule})
    for _ in range(2):
        exchange = await drive(app, "/page")
        assert exchange.values("cache-control") == emitted


async def test_nothing_is_emitted_for_a_status_that_is_not_stored() -> None:
    app = CacheMiddleware(Recorder(status=404), paths=PAGE)
    assert (await drive(app, "/page")).values("cache-control") == []


async def test_the_browsers_lifetime_grows_with_the_age(clock: Clock) -> None:
    """Age counts against max-age in the browser; the browser's share starts now."""
    rule = Rule(ttl=600, browser_ttl=30)
    app = CacheMiddleware(Recorder(), store=SpyStore(clock), paths={"/page": rule})
    told = []
    for seconds in (0, 0, 10, 100):
        clock.advance(seconds)
        exchange = await drive(app, "/page")
        told.append((exchange.field("age"), exchange.values("cache-control")))
    assert told == [
        (None, ["max-age=30"]),
        ("0", ["max-age=30"]),
        ("10", ["max-age=40"]),
        ("110", ["max-age=140"]),
    ]
    (etag,) = exchange.values("etag")
    conditional = await drive(app, "/page", headers=[("if-none-match", etag)])
    assert (conditional.status, conditional.field("cache-control")) == (304, "max-age=140")


async def test_a_default_ttl_is_told_too() -> None:
    app = CacheMiddleware(Recorder(), default_ttl=5)
    assert (await drive(app)).field("cache-control") == "max-age=5"


# ------------------------------------------------------------------ variants and groups


async def test_variants_by_vary() -> None:
    recorder = Recorder([FRESH, ("vary", "Accept-Language")])
    app = CacheMiddleware(recorder)
    serials = [
        (await drive(app, headers=[("accept-language", language)])).serial
        for language in ("en", "de", "en", "DE", "fr")
    ]
    assert serials == [1, 2, 1, 2, 3]
    miss = await drive(app, headers=[("accept-language", "it")])
    assert miss.cache_status == "asgi-cache; fwd=vary-miss; stored"


async def test_groups_that_only_the_response_names() -> None:
    """A first answer naming a group is stored, and a purge of that group reaches it."""
    recorder = Recorder([FRESH, ("cache-groups", '"a", "b"')])
    cache = Cache()
    app = CacheMiddleware(recorder, cache=cache)
    assert (await drive(app)).cache_status == "asgi-cache; fwd=uri-miss; stored"
    assert (await drive(app)).hit
    await cache.purge(group="b")
    assert (await drive(app)).serial == 2
    assert (await drive(app)).hit


async def test_a_purge_while_the_app_runs_keeps_its_answer_out() -> None:
    """C10: it was made from data of before."""
    cache = Cache(paths=PAGE)

    async def purge(scope: Scope) -> None:
        if recorder.calls == 1:
            await cache.purge("http://shop.example/page")

    recorder = Recorder(before=purge)
    app = CacheMiddleware(recorder, cache=cache)
    await drive(app, "/page")
    assert (await drive(app, "/page")).serial == 2
    assert (await drive(app, "/page")).serial == 2


async def test_memory_of_ones_own_by_keyword() -> None:
    store = MemoryStore(1024 * 1024)
    app = CacheMiddleware(Recorder([FRESH]), store=store)
    await drive(app)
    assert store.used_bytes > 0
    assert app.cache.store is store


async def test_a_path_that_a_middleware_outside_has_rewritten_is_part_of_the_key() -> None:
    """The raw path is as the client sent it; the app answers from the decoded one."""
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, default_ttl=60)
    german = {**http_scope("/home"), "path": "/de/home"}
    english = {**http_scope("/home"), "path": "/en/home"}
    assert (await drive(app, scope=german)).told["path"] == "/de/home"
    assert (await drive(app, scope=english)).told["path"] == "/en/home"
    assert (await drive(app, scope=german)).hit


@pytest.mark.parametrize("state", [None, object(), 7, ["a"]])
async def test_a_state_that_is_no_mapping_is_hidden_and_fails_nothing(state: object) -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths={"/page": 60})
    assert (await drive(app, "/page", state=state)).told["state"] == []
    assert (await drive(app, "/page", state=state)).hit


async def test_an_unsafe_request_has_one_budget_for_the_store() -> None:
    class Hanging(SpyStore):
        async def replace(
            self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
        ) -> None:
            self.operations.append("replace")
            await asyncio.Event().wait()

    store = Hanging()
    guarded = asgi_cache.GuardedStore(store, timeout=0.01, request_timeout=0.01)
    app = asgi_cache.wrap(Recorder(), store=guarded)
    assert (await drive(app, method="POST")).status == 200
    # Another one may be under way, of what waits now, at no request's expense.
    assert 1 <= store.operations.count("replace") <= 2
    assert len(guarded.journal) == 1


async def test_a_status_may_be_an_enumeration() -> None:
    """Starlette passes on what it is given, and servers take it for the number that it is."""
    recorder = Recorder([FRESH], status=HTTPStatus.OK)
    app = CacheMiddleware(recorder)
    first = await drive(app)
    assert (await drive(app)).hit
    recorder.status = HTTPStatus.CREATED
    await drive(app, method="POST")
    assert (await drive(app)).serial > first.serial


async def test_the_lines_of_a_repeated_key_field_reach_the_app_as_they_are_keyed() -> None:
    recorder = Recorder([FRESH])
    app = CacheMiddleware(recorder)
    twice = [("x-forwarded-host", "evil"), ("x-forwarded-host", "shop"), ("accept", "a")]
    told = (await drive(app, headers=twice)).told["headers"]
    assert ["x-forwarded-host", "evil, shop"] in told
    assert [name for name, _ in told].count("x-forwarded-host") == 1


async def test_what_we_let_browsers_keep_says_what_it_differs_by() -> None:
    rule = Rule(ttl=60, cookies=["lang"], languages=["de"], vary=["X-Plan"])
    app = CacheMiddleware(Recorder(), paths={"/page": rule})
    for _ in range(2):
        exchange = await drive(app, "/page")
        assert exchange.values("vary") == ["Cookie, Accept-Language, X-Plan"]
        assert exchange.field("cache-control") == "max-age=60"


async def test_what_an_app_sends_after_it_has_returned_is_not_kept() -> None:
    late: list[Send] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        late.append(send)

    wrapped = CacheMiddleware(app)
    await drive(wrapped)
    await late[0]({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
    await late[0]({"type": BODY, "body": b"late", "more_body": True})
    assert wrapped.cache.filling_bytes == 0


async def test_who_is_cancelled_at_every_turn_has_invalidated_all_the_same() -> None:
    class Slow(SpyStore):
        async def replace(
            self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
        ) -> None:
            asked.set()
            await asyncio.sleep(0)
            await super().replace(names, soft_names, life)

    asked = asyncio.Event()
    store = Slow()
    app = CacheMiddleware(Recorder([FRESH]), store=GuardedStore(store))
    await drive(app)
    posting = asyncio.ensure_future(drive(app, method="POST"))
    await asked.wait()
    while not posting.done():
        posting.cancel()
        await asyncio.sleep(0)
    await app.cache.aclose()
    assert not (await drive(app)).hit


def test_a_note_outlives_a_small_correction_of_the_clock_and_no_leap() -> None:
    notes: Notes[bytes, int] = Notes(seconds=120)
    notes.put(b"key", 1, 1000.0)
    assert notes.get(b"key", 999.5) == 1  # another connection has read the server's time anew
    assert notes.get(b"key", 1119.9) == 1
    assert notes.get(b"key", 900.0) is None  # who knows when two minutes will be over
    assert notes.get(b"key", 1000.0) is None
    notes.put(b"key", 1, 1000.0)
    assert notes.get(b"key", 1120.0) is None


def test_notes_may_be_shared_by_threads() -> None:
    notes: Notes[bytes, int] = Notes(limit=2)
    failures: list[Exception] = []

    def write(name: int) -> None:
        try:
            for count in range(3000):
                notes.put(b"%d" % (count % 7 + name), count, 0.0)
                notes.get(b"%d" % (count % 5), 200.0)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("lines", "operations"),
    [([FRESH], ["read"]), ([FRESH, ("vary", "Accept-Language")], ["read", "read"])],
)
async def test_a_hit_reads_once_and_twice_where_responses_vary(
    lines: list[tuple[str, str]], operations: list[str]
) -> None:
    """Each read is one round trip on Redis, as the tests of its store count."""
    store = SpyStore()
    app = CacheMiddleware(Recorder(lines), store=store)
    headers = [("accept-language", "en")]
    await drive(app, "/page?a=1", headers=headers)
    store.operations.clear()
    assert (await drive(app, "/page?a=1", headers=headers)).hit
    assert store.operations == operations
