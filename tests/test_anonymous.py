"""Fills under a rule's TTL (design: decision 3): the app is asked as nobody, then maybe as asked.

Two promises are tested: what is shared was made without a user; and what may not be shared
reaches its client as if the first run had never been.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    SimpleUser,
    UnauthenticatedUser,
)
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

import asgi_cache
from asgi_cache import anonymous
from asgi_cache.phases import AbandonedRun
from tests.driver import BODY, START, Connection, Exchange, Recorder, SpyStore, drive, http_scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import HTTPConnection, Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.conftest import Clock

PAGE = {"/page": 60}
ALICE = [("cookie", "user=alice")]
BOB = [("cookie", "user=bob")]


class Calls:
    """A Starlette app of one page, and how often the page was called."""

    def __init__(
        self,
        page: Callable[[Request], Response],
        middleware: list[Middleware] | None = None,
    ) -> None:
        self.seen: list[dict[str, str]] = []

        async def endpoint(request: Request) -> Response:
            self.seen.append(dict(request.cookies))
            return page(request)

        self.app = Starlette(routes=[Route("/page", endpoint)], middleware=middleware)

    @property
    def count(self) -> int:
        return len(self.seen)


def page_of(
    answer: Callable[[dict[bytes, bytes], Send], Awaitable[None]],
) -> tuple[ASGIApp, list[dict[bytes, bytes]]]:
    """A bare app that answers by the request's fields, and the fields of its calls."""
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        seen.append(fields)
        await answer(fields, send)

    return app, seen


async def respond(send: Send, body: bytes, *lines: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": START, "status": status, "headers": list(lines)})
    await send({"type": BODY, "body": body})


def unlike_a_cache(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The lines of a response but for what the cache adds to every one."""
    return [
        line for line in exchange.headers if line[0] not in (b"cache-status", b"x-response-time")
    ]


@pytest.fixture(autouse=True)
async def nothing_is_reported() -> AsyncIterator[None]:
    """No task ends in an exception that nobody looked at."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    yield
    await no_tasks_left()
    gc.collect(1)
    assert reports == []


async def no_tasks_left() -> None:
    """Whatever is still there has turns to end in; then nothing may be left."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ------------------------------------------------------------------ one answer for everybody


async def test_a_page_that_greets_greets_nobody() -> None:
    async def greet(fields: dict[bytes, bytes], send: Send) -> None:
        await respond(send, b"hello " + fields.get(b"cookie", b"stranger"))

    app, seen = page_of(greet)
    app = asgi_cache.wrap(app, paths=PAGE)
    first = await drive(app, "/page", headers=ALICE)
    second = await drive(app, "/page", headers=BOB)
    third = await drive(app, "/page")
    assert [one.body for one in (first, second, third)] == [b"hello stranger"] * 3
    assert (first.hit, second.hit, third.hit) == (False, True, True)
    assert seen == [{b"host": b"shop.example"}]


@pytest.mark.parametrize(
    "name",
    [
        "cookie",
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-remote-user",
        "x-forwarded-user",
        "x-forwarded-email",
        "cf-access-jwt-assertion",
        "x-amzn-oidc-data",
    ],
)
async def test_no_credential_reaches_the_app_of_a_shared_answer(name: str) -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    first = await drive(app, "/page", headers=[(name, "alice"), ("accept", "*/*")])
    assert first.told["headers"] == [["host", "shop.example"], ["accept", "*/*"]]
    second = await drive(app, "/page", headers=[(name, "bob")])
    assert (second.hit, second.serial) == (True, 1)


async def test_two_lines_of_a_credential_are_both_hidden() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    first = await drive(app, "/page", headers=[("cookie", "a=1"), ("cookie", "b=2")])
    assert first.told["headers"] == [["host", "shop.example"]]


@pytest.mark.parametrize("name", ["session", "user", "auth", "cookies"])
async def test_what_a_middleware_outside_knows_of_a_user_is_hidden(name: str) -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    scope = {**http_scope("/page"), name: "alice"}
    exchange = await drive(app, scope=scope)
    assert name not in recorder.scopes[0]
    assert scope[name] == "alice"
    assert exchange.status == 200


async def test_a_client_certificate_is_hidden() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    extensions = {"tls": {"client_cert_name": "CN=alice"}, "http.response.pathsend": {}}
    await drive(app, "/page", extensions=extensions)
    assert set(recorder.scopes[0]["extensions"]) == {"http.response.pathsend", "asgi_cache"}
    assert "tls" in extensions


async def test_the_state_is_as_start_up_left_it() -> None:
    pool = object()
    recorder = Recorder()

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = pool
            await send({"type": "lifespan.startup.complete"})
            scope["state"]["later"] = "not of start-up"
            return
        await recorder(scope, receive, send)

    app = asgi_cache.wrap(inside, paths=PAGE)
    state: dict[str, object] = {}
    sent: list[Message] = []
    await app({"type": "lifespan", "state": state}, never, collector(sent))
    request_state = {**state, "user": "alice", "pool": pool}
    exchange = await drive(app, "/page", state=request_state)
    assert recorder.scopes[0]["state"] == {"pool": pool}
    assert recorder.scopes[0]["state"]["pool"] is pool
    assert request_state["user"] == "alice"
    assert exchange.status == 200


async def test_each_run_has_a_state_of_its_own() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({**scope, "state": dict(scope["state"])})
        seen[-1] |= {"extensions": dict(scope["extensions"]), "headers": list(scope["headers"])}
        scope["state"]["left"] = "behind"
        scope["extensions"]["left"] = "behind"
        scope["headers"].append((b"left", b"behind"))
        scope["left"] = "behind"
        await respond(send, b"mine", (b"cache-control", b"private"))

    scope = http_scope("/page", headers=ALICE, state={"request": 7})
    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), scope=scope)
    assert exchange.body == b"mine"
    assert [one["state"] for one in seen] == [{}, {"request": 7}]
    assert [("left" in one, "left" in one["extensions"]) for one in seen] == [(False, False)] * 2
    assert (b"left", b"behind") not in seen[1]["headers"]
    assert "left" not in scope
    assert "left" not in scope["extensions"]


async def test_context_variables_set_outside_are_still_seen() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(tenant.get())
        private = b"cookie" in dict(scope["headers"])
        await respond(send, b"x", *[(b"cache-control", b"private")] * (private or len(seen) == 1))

    tenant.set("blue")
    await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert seen == ["blue", "blue"]


async def test_cookies_of_the_rule_are_keyed_and_seen_alone() -> None:
    """A page in two languages: the locale tells the variants apart, the session does not."""
    calls = Calls(lambda request: PlainTextResponse(request.cookies.get("locale", "en")))
    app = asgi_cache.wrap(calls.app, paths={"/page": {"ttl": 60, "cookies": ["locale"]}})
    bodies = [
        (await drive(app, "/page", headers=[("cookie", cookie)])).body
        for cookie in (
            "locale=de; session=a",
            "session=b; locale=de",
            "locale=en; session=a",
            "session=c",
            "locale=de",
        )
    ]
    assert bodies == [b"de", b"de", b"en", b"en", b"de"]
    assert calls.seen == [{"locale": "de"}, {"locale": "en"}, {}]


async def test_anonymous_false_makes_credentials_bypass() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths={"/page": {"ttl": 60, "anonymous": False}})
    assert (await drive(app, "/page")).serial == 1
    exchange = await drive(app, "/page", headers=ALICE)
    assert exchange.serial == 2
    assert ["cookie", "user=alice"] in exchange.told["headers"]
    assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=credentials"
    assert (await drive(app, "/page")).serial == 1


async def test_without_a_rule_nothing_is_hidden() -> None:
    recorder = Recorder([("cache-control", "public, max-age=60")])
    app = asgi_cache.wrap(recorder)
    exchange = await drive(app, "/page", headers=ALICE, user="alice", state={"of": "alice"})
    assert ["cookie", "user=alice"] in exchange.told["headers"]
    assert (exchange.told["user"], exchange.told["state"]) == ("alice", ["of"])


@pytest.mark.parametrize("rule", [{"groups": ["g"]}, {"ttl": 60, "anonymous": False}])
async def test_a_rule_that_grants_no_shared_answer_hides_nothing(rule: dict[str, Any]) -> None:
    recorder = Recorder([("cache-control", "public, max-age=60")])
    app = asgi_cache.wrap(recorder, paths={"/page": rule})
    exchange = await drive(app, "/page", user="alice", state={"of": "alice"})
    assert (exchange.told["user"], exchange.told["state"]) == ("alice", ["of"])


@pytest.mark.parametrize("name", ["cookie", "authorization"])
async def test_a_rule_without_a_ttl_shares_no_users_page(name: str) -> None:
    """Its app saw the credential, so ``max-age`` alone makes nothing of it shared."""
    recorder = Recorder([("cache-control", "max-age=60")])
    app = asgi_cache.wrap(recorder, paths={"/page": {"groups": ["g"]}})
    alice = await drive(app, "/page", headers=[(name, "alice")])
    assert [name, "alice"] in alice.told["headers"]
    assert alice.cache_status == "asgi-cache; fwd=uri-miss; detail=not-shared"
    assert (await drive(app, "/page", headers=[(name, "bob")])).serial == 2
    assert (await drive(app, "/page")).serial == 3


@pytest.mark.parametrize(
    ("method", "headers"), [("HEAD", []), ("GET", [("range", "bytes=0-1")])], ids=["head", "range"]
)
async def test_head_and_range_on_a_miss_go_as_they_came(
    method: str, headers: list[tuple[str, str]]
) -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(app, "/page", method=method, headers=ALICE + headers)
    assert recorder.calls == 1
    assert recorder.scopes[0]["method"] == method
    assert set(recorder.scopes[0]["headers"]) >= {(b"cookie", b"user=alice")}
    assert exchange.cache_status.startswith("asgi-cache; fwd=uri-miss; detail=")
    assert (await drive(app, "/page")).serial == 2


# ------------------------------------------------------------------ conditions


async def test_a_returning_browser_leads_and_gets_its_304_from_the_result() -> None:
    """R06: the app never sees the condition, so what is stored is the page."""

    async def tagged(fields: dict[bytes, bytes], send: Send) -> None:
        if fields.get(b"if-none-match") == b'"v1"':
            await respond(send, b"", (b"etag", b'"v1"'), status=304)
        else:
            await respond(send, b"page", (b"etag", b'"v1"'), (b"x-secret", b"no"))

    app, seen = page_of(tagged)
    app = asgi_cache.wrap(app, paths=PAGE)
    first = await drive(app, "/page", headers=[*ALICE, ("if-none-match", '"v1"')])
    assert (first.status, first.body, first.complete) == (304, b"", True)
    assert unlike_a_cache(first) == [(b"etag", b'"v1"'), (b"cache-control", b"max-age=60")]
    assert first.values("x-response-time")
    second = await drive(app, "/page")
    assert (second.status, second.body, second.hit) == (200, b"page", True)
    assert len(seen) == 1


async def test_a_condition_on_a_generated_tag_is_answered_by_the_fill() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    etag = (await drive(app, "/page?a")).field("etag")
    assert etag is not None
    recorder.calls = 0
    exchange = await drive(app, "/page?a=", headers=[("if-none-match", etag)])
    assert exchange.status == 200  # another query, another body
    recorder.calls = 0
    again = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(again, "/page?a", headers=[("if-none-match", etag)])
    assert (exchange.status, exchange.body, exchange.field("etag")) == (304, b"", etag)
    assert (await drive(again, "/page?a")).serial == 1


@pytest.mark.parametrize("tag", ['"v2"', '"other", W/"another"'])
async def test_a_condition_that_fails_gets_the_page(tag: str) -> None:
    recorder = Recorder([("etag", '"v1"')])
    app = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(app, "/page", headers=[("if-none-match", tag)])
    assert (exchange.status, exchange.serial) == (200, 1)


async def test_a_streamed_answer_to_a_condition_is_stored_whole() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [(b"etag", b'"v1"')]})
        await send({"type": BODY, "body": b"one", "more_body": True})
        await send({"type": BODY, "body": b"two"})

    wrapped = asgi_cache.wrap(app, paths=PAGE)
    first = await drive(wrapped, "/page", headers=[("if-none-match", '"v1"')])
    assert (first.status, len(first.messages)) == (304, 2)
    second = await drive(wrapped, "/page")
    assert (second.hit, second.body) == (True, b"onetwo")


# ------------------------------------------------------------------ not to be shared


NOTED = [
    ("private", 200, [("cache-control", "private")]),
    ("no-store", 200, [("cache-control", "no-store")]),
    ("set-cookie", 200, [("set-cookie", "session=1")]),
    ("vary-credentials", 200, [("vary", "Cookie")]),
    ("vary-any", 200, [("vary", "*")]),
    ("denied", 401, []),
    ("denied", 403, []),
    ("redirect", 302, [("location", "/login")]),
    ("redirect", 307, [("location", "/login")]),
]
UNNOTED = [
    ("status", 404, []),
    ("status", 500, []),
    ("status", 404, [("cache-control", "max-age=60")]),
    ("media-type", 200, [("content-type", "text/event-stream")]),
    ("no-lifetime", 200, [("cache-control", "no-cache")]),
]


@pytest.mark.parametrize(("refusal", "status", "lines"), NOTED + UNNOTED)
async def test_a_refused_answer_makes_a_second_run_as_it_came(
    refusal: str, status: int, lines: list[tuple[bytes, bytes]]
) -> None:
    recorder = Recorder(lines, status=status, length=False)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(app, "/page", headers=ALICE, user="alice", state={"of": "alice"})
    assert recorder.calls == 2
    assert (exchange.status, exchange.serial, exchange.complete) == (status, 2, True)
    assert exchange.told["headers"] == [["host", "shop.example"], ["cookie", "user=alice"]]
    assert (exchange.told["user"], exchange.told["state"]) == ("alice", ["of"])
    assert exchange.cache_status == f"asgi-cache; fwd=bypass; detail={refusal}"
    assert unlike_a_cache(exchange) == [(b"content-type", b"application/json"), *recorder.headers]


async def test_everybodys_answer_that_is_only_too_large_to_keep_is_given_to_all() -> None:
    recorder = Recorder([("content-length", "9999999")], length=False)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(app, "/page", headers=ALICE)
    assert (recorder.calls, exchange.serial) == (1, 1)
    assert exchange.told["headers"] == [["host", "shop.example"]]
    assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=too-large"


@pytest.mark.parametrize("line", [("vary", "Cookie"), ("vary", "*"), ("cache-control", "no-cache")])
async def test_a_large_answer_that_is_not_everybodys_is_given_to_nobody(
    line: tuple[str, str],
) -> None:
    recorder = Recorder([("content-length", "9999999"), line], length=False)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    assert (await drive(app, "/page", headers=ALICE)).serial == recorder.calls == 2


@pytest.mark.parametrize("paths", [{}, {"/page": {"ttl": 60, "anonymous": False}}])
async def test_who_shows_a_certificate_is_no_stranger(paths: dict[str, Any]) -> None:
    recorder = Recorder([("cache-control", "max-age=60")] if not paths else [])
    app = asgi_cache.wrap(recorder, paths=paths)
    tls = {"tls": {"client_cert_name": "CN=ann"}}
    ann = await drive(app, "/page", extensions=tls)
    assert ann.cache_status == "asgi-cache; fwd=bypass; detail=credentials"
    await drive(app, "/page")
    assert not (await drive(app, "/page", extensions=tls)).hit
    assert (await drive(app, "/page")).hit


async def test_what_a_gateway_says_of_a_user_is_hidden() -> None:
    recorder = Recorder()
    app = asgi_cache.wrap(recorder, paths=PAGE)
    said = {"aws.event": {"claims": "ann"}, "aws.context": "ann"}
    await drive(app, scope={**http_scope("/page"), **said})
    assert not {"aws.event", "aws.context"} & recorder.scopes[0].keys()


@pytest.mark.parametrize(("refusal", "status", "lines"), NOTED)
async def test_a_note_sends_the_next_one_straight_to_the_app(
    refusal: str, status: int, lines: list[tuple[bytes, bytes]], clock: Clock
) -> None:
    recorder = Recorder(lines, status=status)
    app = asgi_cache.wrap(recorder, paths=PAGE, store=SpyStore(clock))
    await drive(app, "/page", headers=ALICE)
    assert recorder.calls == 2
    clock.advance(119)
    exchange = await drive(app, "/page", headers=BOB)
    assert recorder.calls == 3
    assert exchange.cache_status == f"asgi-cache; fwd=bypass; detail={refusal}"
    assert ["cookie", "user=bob"] in exchange.told["headers"]
    clock.advance(2)
    await drive(app, "/page", headers=BOB)
    assert recorder.calls == 5


@pytest.mark.parametrize(("refusal", "status", "lines"), UNNOTED)
async def test_other_refusals_make_no_note(
    refusal: str, status: int, lines: list[tuple[bytes, bytes]]
) -> None:
    recorder = Recorder(lines, status=status, length=False)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    await drive(app, "/page", headers=ALICE)
    await drive(app, "/page", headers=ALICE)
    assert recorder.calls == 4


async def test_the_note_is_not_for_plain_visitors_and_goes_with_a_store() -> None:
    answers = [b"private", b"private", b"max-age=60"]

    async def turning(fields: dict[bytes, bytes], send: Send) -> None:
        await respond(send, b"x", (b"cache-control", answers[min(len(seen), 3) - 1]))

    app, seen = page_of(turning)
    cache = asgi_cache.Cache(paths=PAGE)
    app = asgi_cache.wrap(app, cache=cache)
    await drive(app, "/page", headers=ALICE)
    plain = await drive(app, "/page")
    assert plain.cache_status == "asgi-cache; fwd=uri-miss; stored"
    shared = await drive(app, "/page", headers=ALICE)
    assert (shared.hit, len(seen)) == (True, 3)
    await cache.purge("http://shop.example/page")
    again = await drive(app, "/page", headers=ALICE)
    assert again.cache_status == "asgi-cache; fwd=uri-miss; stored"
    assert b"cookie" not in seen[-1]


async def test_where_nothing_was_hidden_there_is_no_second_run() -> None:
    recorder = Recorder([("cache-control", "private")])
    app = asgi_cache.wrap(recorder, paths=PAGE)
    exchange = await drive(app, "/page", headers=[("accept", "text/html")])
    assert (recorder.calls, exchange.serial) == (1, 1)
    assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=private"


async def test_a_session_inside_gives_each_client_its_own_cookie() -> None:
    """L02, one after the other: ``Vary: Cookie`` and ``Set-Cookie`` by Starlette itself."""

    def visits(request: Request) -> Response:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return JSONResponse(request.session)

    calls = Calls(visits, [Middleware(SessionMiddleware, secret_key="not a secret")])
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    first = await drive(app, "/page")
    second = await drive(app, "/page")
    (cookie,) = first.values("set-cookie")
    assert second.values("set-cookie")
    returning = await drive(app, "/page", headers=[("cookie", cookie.partition(";")[0])])
    assert returning.body == b'{"visits":2}'
    assert returning.values("set-cookie")
    assert "fwd=bypass; detail=" in returning.cache_status
    assert calls.count == 3  # the visitors' answers have made the note


@pytest.mark.parametrize("headers", [[], [("cookie", "other=1")]], ids=["plain", "cookie"])
async def test_l02_a_hundred_first_requests_get_a_hundred_sessions(
    headers: list[tuple[str, str]],
) -> None:
    """All of them are in the app before the first is answered."""
    serial, together = 0, asyncio.Event()

    async def mint(fields: dict[bytes, bytes], send: Send) -> None:
        nonlocal serial
        serial += 1
        mine = b"%d" % serial
        if serial == 100:
            together.set()
        await together.wait()
        await respond(send, mine, (b"set-cookie", b"sid=" + mine))

    app, _ = page_of(mint)
    app = asgi_cache.wrap(app, paths=PAGE)
    exchanges = await asyncio.gather(*(drive(app, "/page", headers=headers) for _ in range(100)))
    assert len({exchange.field("set-cookie") for exchange in exchanges}) == 100
    for exchange in exchanges:
        assert exchange.field("set-cookie") == f"sid={exchange.body.decode()}"


async def test_a_middleware_outside_that_streams_through_tasks() -> None:
    """Starlette's BaseHTTPMiddleware has receive and send of its own."""

    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-outside"] = "1"
        return response

    def page(request: Request) -> Response:
        user = request.cookies.get("user")
        return PlainTextResponse(f"hello {user}") if user else RedirectResponse("/login", 303)

    calls = Calls(page)
    app = BaseHTTPMiddleware(asgi_cache.wrap(calls.app, paths=PAGE), dispatch=dispatch)
    for version in ("2.3", "2.4"):
        exchange = await drive(app, "/page", headers=ALICE, spec_version=version)
        assert (exchange.body, exchange.field("x-outside")) == (b"hello alice", "1")
    assert calls.count == 3


async def test_a_session_that_is_only_read_is_not_shared_either() -> None:
    def greet(request: Request) -> Response:
        return PlainTextResponse(str(request.session.get("user", "nobody")))

    calls = Calls(greet, [Middleware(SessionMiddleware, secret_key="not a secret")])
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    for count in (2, 3):
        exchange = await drive(app, "/page", headers=[("cookie", "other=1")])
        assert exchange.body == b"nobody"
        assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=vary-credentials"
        assert calls.count == count


async def test_an_api_key_page_is_asked_again_with_the_key() -> None:
    def page(request: Request) -> Response:
        key = request.headers.get("x-api-key")
        return PlainTextResponse(f"for {key}") if key else PlainTextResponse("who?", 401)

    calls = Calls(page)
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    for name in ("alice", "bob"):
        exchange = await drive(app, "/page", headers=[("x-api-key", name)])
        assert (exchange.status, exchange.body) == (200, f"for {name}".encode())
        assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=denied"
    assert calls.count == 3
    assert (await drive(app, "/page")).status == 401


class ByHeader(AuthenticationBackend):
    """Whoever the field ``x-user`` names; it is no credential field."""

    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, SimpleUser | UnauthenticatedUser]:
        user = conn.headers.get("x-user")
        if user is None:
            return AuthCredentials(), UnauthenticatedUser()
        return AuthCredentials(["authenticated"]), SimpleUser(user)


async def test_a_user_set_outside() -> None:
    """A page that ignores the user is one for all; one that needs it runs again as it came."""

    def indifferent(request: Request) -> Response:
        return PlainTextResponse("the same for all")

    def greeting(request: Request) -> Response:
        return PlainTextResponse(f"hello {request.user.display_name}")

    def outside(calls: Calls) -> ASGIApp:
        cached = asgi_cache.wrap(calls.app, paths=PAGE)
        return AuthenticationMiddleware(cached, backend=ByHeader())

    calls = Calls(indifferent)
    app = outside(calls)
    for name in ("alice", "bob"):
        assert (await drive(app, "/page", headers=[("x-user", name)])).body == b"the same for all"
    assert calls.count == 1

    calls = Calls(greeting)
    app = outside(calls)
    for name in ("alice", "bob"):
        exchange = await drive(app, "/page", headers=[("x-user", name)])
        assert exchange.body == b"hello " + name.encode()
        # The framework inside made a 500 of the first run's KeyError.
        assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=status"
    assert calls.count == 4


async def test_a_login_page_is_for_those_without_a_cookie() -> None:
    def page(request: Request) -> Response:
        if "user" not in request.cookies:
            return RedirectResponse("/login", 303)
        return PlainTextResponse(f"hello {request.cookies['user']}")

    calls = Calls(page)
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    assert (await drive(app, "/page", headers=ALICE)).body == b"hello alice"
    assert (await drive(app, "/page", headers=BOB)).body == b"hello bob"
    assert calls.count == 3
    assert (await drive(app, "/page")).status == 303


async def test_a_permanent_redirect_is_stored_for_the_anonymous_alone() -> None:
    recorder = Recorder([("location", "/elsewhere")], status=308)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    first = await drive(app, "/page")
    assert "stored" in first.cache_status
    assert (await drive(app, "/page")).hit
    assert recorder.calls == 1
    known = await drive(app, "/page", headers=ALICE)
    assert (known.serial, known.cache_status) == (
        2,
        "asgi-cache; fwd=bypass; detail=credentials",
    )
    fresh = asgi_cache.wrap(recorder, paths=PAGE)
    recorder.calls = 0
    second = await drive(fresh, "/page", headers=ALICE)
    assert (second.serial, second.cache_status) == (
        2,
        "asgi-cache; fwd=bypass; detail=redirect",
    )
    assert not (await drive(fresh, "/page")).hit


async def test_a_status_that_the_rule_names_is_for_everybody() -> None:
    recorder = Recorder(status=404)
    app = asgi_cache.wrap(recorder, paths={"/page": {"ttl": 60, "statuses": [404]}})
    assert (await drive(app, "/page", headers=ALICE)).serial == 1
    assert (await drive(app, "/page", headers=BOB)).serial == 1


async def test_public_said_by_the_app_is_enough_for_any_status() -> None:
    recorder = Recorder([("cache-control", "public, max-age=60")], status=404)
    app = asgi_cache.wrap(recorder, paths=PAGE)
    assert (await drive(app, "/page", headers=ALICE)).serial == 1
    assert (await drive(app, "/page", headers=BOB)).hit


# ------------------------------------------------------------------ how the first run ends


async def test_an_app_that_raises_without_its_cookie_runs_again() -> None:
    async def needy(fields: dict[bytes, bytes], send: Send) -> None:
        await respond(send, b"hello " + fields[b"cookie"])

    app, seen = page_of(needy)
    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert exchange.body == b"hello user=alice"
    assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=failed"
    assert len(seen) == 2


async def test_an_error_page_inside_is_not_seen() -> None:
    """Starlette's own 500 for the first run's exception goes nowhere."""
    calls = Calls(lambda request: PlainTextResponse(request.cookies["user"]))
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    exchange = await drive(app, "/page", headers=ALICE)
    assert (exchange.status, exchange.body) == (200, b"alice")


async def test_an_error_of_both_runs_leaves_unchanged() -> None:
    errors: list[Exception] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        errors.append(ValueError(len(errors)))
        raise errors[-1]

    app = asgi_cache.wrap(broken, paths=PAGE)
    with pytest.raises(ValueError, match="1") as caught:
        await drive(app, "/page", headers=ALICE)
    assert caught.value is errors[1]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_an_error_after_a_shared_start_leaves_unchanged() -> None:
    error = BaseExceptionGroup("two", [ValueError(), KeyError()])

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        raise error

    connection = Connection(http_scope("/page", headers=ALICE))
    with pytest.raises(BaseExceptionGroup) as caught:
        await connection.run(asgi_cache.wrap(broken, paths=PAGE))
    assert caught.value is error
    assert connection.exchange.status == 200


async def test_the_first_run_ends_like_a_disconnect() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await respond(send, b"mine", (b"cache-control", b"private"))
        except OSError as error:
            seen.append(type(error))
            seen.append(await receive())
            with pytest.raises(OSError, match="not used"):
                await send({"type": BODY, "body": b"x"})
            raise

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert seen == [AbandonedRun, {"type": "http.disconnect"}]
    assert (exchange.body, exchange.complete) == (b"mine", True)


async def test_a_run_that_ignores_the_disconnect_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anonymous, "GRACE_SECONDS", 0.0)
    cancelled = asyncio.Event()
    runs = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        try:
            await respond(send, b"mine", (b"cache-control", b"private"))
        except OSError:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise ValueError("whatever it raises is dropped") from None

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert (exchange.body, runs) == (b"mine", 2)
    await cancelled.wait()


async def test_the_second_run_waits_for_the_first_to_end() -> None:
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        run = "second" if b"cookie" in dict(scope["headers"]) else "first"
        order.append(run)
        try:
            await respond(send, b"mine", (b"cache-control", b"private"))
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            order.append(f"{run} ended")

    await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert order == ["first", "first ended", "second", "second ended"]


async def test_a_background_task_runs_once() -> None:
    ran: list[str] = []

    def page(request: Request) -> Response:
        user = request.cookies.get("user", "nobody")
        headers = {"cache-control": "private"}
        return PlainTextResponse(user, headers=headers, background=BackgroundTask(ran.append, user))

    calls = Calls(page)
    await drive(asgi_cache.wrap(calls.app, paths=PAGE), "/page", headers=ALICE)
    assert ran == ["alice"]


async def test_a_background_task_of_a_shared_answer_runs_once() -> None:
    ran: list[str] = []
    calls = Calls(lambda _: PlainTextResponse("x", background=BackgroundTask(ran.append, "ran")))
    app = asgi_cache.wrap(calls.app, paths=PAGE)
    await drive(app, "/page", headers=ALICE)
    await drive(app, "/page", headers=BOB)
    assert ran == ["ran"]


async def test_nothing_of_the_first_run_reaches_the_client() -> None:
    """Early hints, debug messages, starts: none."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        run = b"second" if b"cookie" in dict(scope["headers"]) else b"first"
        await send({"type": "http.response.early_hint", "links": [run]})
        await send({"type": "http.response.debug", "info": {"run": run}})
        await respond(send, run, (b"cache-control", b"private"))

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    kinds = [message["type"] for message in exchange.messages]
    assert kinds == ["http.response.early_hint", "http.response.debug", START, BODY]
    assert exchange.messages[0] == {"type": "http.response.early_hint", "links": [b"second"]}
    assert exchange.body == b"second"
    assert b"first" not in repr(exchange.messages).encode()


async def test_early_hints_of_a_shared_answer_come_before_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await respond(send, b"x")

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    kinds = [message["type"] for message in exchange.messages]
    assert kinds == ["http.response.early_hint", START, BODY]


async def test_a_message_after_a_shared_start_keeps_its_place() -> None:
    debug: Message = {"type": "http.response.debug", "info": {}}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        await send(debug)
        await send({"type": BODY, "body": b"x"})

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert [message["type"] for message in exchange.messages] == [START, debug["type"], BODY]


@pytest.mark.parametrize(
    "hidden",
    [
        {"headers": [("x-api-key", "1")]},
        {"user": "alice"},
        {"state": {"of": "alice"}},
        {"extensions": {"tls": {}}},
    ],
    ids=["credential", "user", "state", "tls"],
)
async def test_whatever_was_hidden_is_a_reason_for_the_second_run(hidden: dict[str, Any]) -> None:
    recorder = Recorder([("cache-control", "private")])
    await drive(asgi_cache.wrap(recorder, paths=PAGE), "/page", **hidden)
    assert recorder.calls == 2


@pytest.mark.parametrize(
    "first",
    [
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.push", "path": "/x", "headers": []},
        {"type": BODY, "body": b"x"},
        {"type": "unheard.of"},
        {"type": START, "status": 200, "headers": None},
        {"type": START, "status": "200"},
        {"type": START, "status": 200, "trailers": True},
    ],
    ids=lambda message: message["type"],
)
async def test_whatever_comes_first_the_second_run_shows_it(first: Message) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**first, "run": dict(scope["headers"]).get(b"cookie")})

    exchange = await drive(asgi_cache.CacheMiddleware(app, paths=PAGE), "/page", headers=ALICE)
    assert [message["run"] for message in exchange.messages] == [b"user=alice"]


async def test_a_run_without_any_answer_has_a_second() -> None:
    runs = 0

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1

    exchange = await drive(asgi_cache.wrap(silent, paths=PAGE), "/page", headers=ALICE)
    assert (runs, exchange.messages) == (2, [])


async def test_what_an_ended_first_run_left_behind_reaches_nobody() -> None:
    left: list[asyncio.Task[None]] = []
    second = asyncio.Event()

    async def late(send: Send) -> None:
        await second.wait()
        with pytest.raises(OSError, match="not used"):
            await respond(send, b"of the first run")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if b"cookie" in dict(scope["headers"]):
            second.set()
            await left[0]
            await respond(send, b"mine")
        else:
            left.append(asyncio.create_task(late(send)))

    exchange = await drive(asgi_cache.wrap(app, paths=PAGE), "/page", headers=ALICE)
    assert (exchange.body, exchange.complete) == (b"mine", True)


async def test_a_start_without_a_body_is_not_an_answer() -> None:
    """Its tag would have come of the body: it was held, so nobody has seen it."""
    runs = 0

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        await send({"type": START, "status": 200, "headers": [(b"content-length", b"5")]})

    exchange = await drive(asgi_cache.wrap(cut, paths=PAGE), "/page", headers=ALICE)
    assert (runs, exchange.cache_status) == (2, "asgi-cache; fwd=bypass; detail=failed")


async def test_refusals_are_counted_once() -> None:
    recorder = Recorder([("cache-control", "private")])
    cache = asgi_cache.Cache(paths=PAGE)
    app = asgi_cache.wrap(recorder, cache=cache)
    await drive(app, "/page", headers=ALICE)
    assert cache.metrics.by_label() == {"decision.bypass": 1, "refusal.private": 1}


# ------------------------------------------------------------------ receive


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def collector(sent: list[Message]) -> Send:
    async def send(message: Message) -> None:
        sent.append(message)

    return send


async def django_style(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer beside a task that waits for the disconnect."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break

    async def answer() -> None:
        user = dict(scope["headers"]).get(b"cookie", b"nobody")
        await respond(send, user + b":" + body, (b"cache-control", b"private"))

    answering = asyncio.create_task(answer())
    listening = asyncio.ensure_future(receive())
    done, pending = await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def test_an_app_that_reads_and_listens_sees_the_same_twice() -> None:
    connection = Connection(http_scope("/page", headers=ALICE))
    exchange = await connection.run(asgi_cache.wrap(django_style, paths=PAGE))
    assert (exchange.body, exchange.complete) == (b"user=alice:", True)
    assert connection.received[0] == {"type": "http.request", "body": b"", "more_body": False}
    assert [message["type"] for message in connection.received[1:]] in ([], ["http.disconnect"])


@pytest.mark.parametrize("headers", [[], ALICE], ids=["plain", "cookie"])
async def test_reading_a_body_that_is_empty_hinders_nothing(
    headers: list[tuple[str, str]],
) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        message = await receive()
        await respond(send, b"read: " + message["body"])

    wrapped = asgi_cache.wrap(app, paths=PAGE)
    exchange = await drive(wrapped, "/page", headers=headers)
    assert (exchange.body, exchange.cache_status) == (
        b"read: ",
        "asgi-cache; fwd=uri-miss; stored",
    )
    assert (await drive(wrapped, "/page")).hit
    assert calls == 1


async def test_a_body_ends_the_first_run_and_is_replayed() -> None:
    """A GET's content is not part of the key, so such an answer is nobody else's."""
    connection = Connection(http_scope("/page", headers=ALICE), [b"one", b"two", b"three"])
    exchange = await connection.run(asgi_cache.wrap(django_style, paths=PAGE))
    assert exchange.body == b"user=alice:onetwothree"
    assert exchange.cache_status == "asgi-cache; fwd=bypass; detail=request-body"


async def test_what_the_first_run_waited_for_comes_to_the_second() -> None:
    arrived = asyncio.Event()
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        await arrived.wait()
        return {"type": "http.request", "body": b"question", "more_body": False}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        if b"cookie" in dict(scope["headers"]):
            arrived.set()
            message = await waiting
            await respond(send, b"answer to " + message["body"])
        else:
            assert asked == 1
            await respond(send, b"x", (b"cache-control", b"private"))

    sent: list[Message] = []
    wrapped = asgi_cache.wrap(app, paths=PAGE)
    await wrapped(http_scope("/page", headers=ALICE), receive, collector(sent))
    assert (sent[1]["body"], asked) == (b"answer to question", 1)


async def test_a_body_read_after_the_start_is_not_lost() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": []})
        while True:
            message = await receive()
            more = message["more_body"]
            await send({"type": BODY, "body": message["body"], "more_body": more})
            if not more:
                return

    wrapped = asgi_cache.wrap(app, paths=PAGE)
    exchange = await asyncio.wait_for(
        drive(wrapped, "/page", headers=ALICE, body=[b"one", b"two"]), 5
    )
    assert (exchange.body, exchange.complete) == (b"onetwo", True)
    assert not (await drive(wrapped, "/page")).hit


async def test_a_disconnect_reaches_the_first_run() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])

    connection = Connection(http_scope("/page", headers=ALICE))
    connection.disconnect()
    await connection.run(asgi_cache.wrap(app, paths=PAGE))
    assert seen == ["http.disconnect", "http.disconnect"]
    assert connection.exchange.messages == []


async def test_a_receive_that_raises_raises_in_the_app() -> None:
    error = RuntimeError("the server's own")
    seen: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except RuntimeError as raised:
            seen.append(raised)
        await respond(send, b"x", (b"cache-control", b"private"))

    async def receive() -> Message:
        raise error

    sent: list[Message] = []
    wrapped = asgi_cache.wrap(app, paths=PAGE)
    await wrapped(http_scope("/page", headers=ALICE), receive, collector(sent))
    assert [seen[0] is error, seen[1] is error, len(sent)] == [True, True, 2]


async def test_a_receive_left_waiting_fails_without_a_report() -> None:
    """The first run listens and answers; the listening ends in an error after everything."""
    broken = asyncio.Event()

    async def receive() -> Message:
        try:
            await broken.wait()
        except asyncio.CancelledError:
            raise RuntimeError("the connection is in pieces") from None
        raise AssertionError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await respond(send, b"x")
        listening.cancel()

    sent: list[Message] = []
    await asgi_cache.wrap(app, paths=PAGE)(
        http_scope("/page", headers=ALICE), receive, collector(sent)
    )
    assert len(sent) == 2


# ------------------------------------------------------------------ cancellation


@pytest.mark.parametrize("started", [False, True])
async def test_cancelling_the_request_cancels_the_first_run(started: bool) -> None:
    waiting = asyncio.Event()
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if started:
            await send({"type": START, "status": 200, "headers": []})
            await send({"type": BODY, "body": b"x" * 10, "more_body": True})
        waiting.set()
        try:
            await receive()
            await receive()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ends.append("cleaned up")
            raise

    cache = asgi_cache.Cache(paths=PAGE)
    connection = Connection(http_scope("/page", headers=ALICE))
    request = asyncio.create_task(connection.run(asgi_cache.wrap(app, cache=cache)))
    await waiting.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert ends == ["cleaned up"]
    assert cache.filling_bytes == 0


async def test_a_cancelled_run_that_goes_on_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anonymous, "GRACE_SECONDS", 0.0)
    waiting, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        waiting.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        try:
            await respond(send, b"too late")
        finally:
            ended.set()

    cache = asgi_cache.Cache(paths=PAGE)
    connection = Connection(http_scope("/page", headers=ALICE))
    request = asyncio.create_task(connection.run(asgi_cache.wrap(stubborn, cache=cache)))
    await waiting.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    await ended.wait()
    assert connection.exchange.messages == []
    assert (cache.metrics.stores, cache.filling_bytes) == (0, 0)


async def test_cancelling_the_request_in_the_second_run() -> None:
    waiting = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if b"cookie" not in dict(scope["headers"]):
            raise KeyError
        waiting.set()
        await receive()
        await receive()

    connection = Connection(http_scope("/page", headers=ALICE))
    request = asyncio.create_task(connection.run(asgi_cache.wrap(app, paths=PAGE)))
    await waiting.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await no_tasks_left()
