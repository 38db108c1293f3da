"""Cases L01 to L19: nobody gets what was made for somebody else."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import Rule
from tests.driver import drive, http_scope
from tests.security.harness import MAX_AGE, SHARED, Origin, Reply, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from tests.driver import Field
    from tests.security.harness import Lines, Place, Site, Told

EVERYWHERE = {"/{rest:path}": 60}
ANN: Lines = [("cookie", "user=ann")]
BOB: Lines = [("cookie", "user=bob")]
ANN_AUTHORIZED: Lines = [("authorization", "Bearer ann")]
BOB_AUTHORIZED: Lines = [("authorization", "Bearer bob")]


async def assert_own(
    site: Site, users: Sequence[Lines], target: str = "/", rounds: int = 2
) -> None:
    """Each request of each user is answered by an app call of its own, which saw that user."""
    before = site.calls
    for _ in range(rounds):
        for headers in users:
            told = await site.told(target, headers)
            seen = dict(told.fields)
            assert all(seen[str(name)] == value for name, value in headers)
            assert told.serial == site.origin.seen[-1].serial
    assert site.calls - before >= rounds * len(users)


def minting(*lines: Field) -> Any:
    """An app that gives every client without a sid a new one."""

    def answer(told: Told) -> Reply:
        return Reply([*lines, ("set-cookie", f"sid={told.serial}; Path=/")])

    return answer


# ---------------------------------------------------------------- Set-Cookie


@pytest.mark.parametrize("name", ["set-cookie", "Set-Cookie", "SET-COOKIE"])
@pytest.mark.parametrize(
    "lines",
    [
        [("cache-control", "public, max-age=60")],
        [("cache-control", "s-maxage=60")],
        [("asgi-cache-control", "max-age=60")],
        [("expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
        [],
    ],
)
async def test_l01_set_cookie_is_not_stored(place: Place, name: str, lines: Lines) -> None:
    for paths in ({}, EVERYWHERE, {"/": Rule(ttl=60, override=True)}):
        site = place.site(
            Origin(lambda told: Reply([*lines, (name, f"sid={told.serial}")])),
            paths=paths,
            namespace=f"{place.namespace}-{len(paths)}{'/' in paths}",
        )
        for headers in ((), ANN, ANN_AUTHORIZED):
            for _ in range(2):
                exchange = await site.ask(headers=headers)
                assert exchange.values(name) == [f"sid={read(exchange.body).serial}"]
                assert read(exchange.body).serial == site.calls
                assert (
                    "set-cookie" in exchange.cache_status or "not-shared" in exchange.cache_status
                )


async def test_l01_an_empty_set_cookie_is_one(place: Place) -> None:
    site = place.site(Origin(Reply([*SHARED, ("set-cookie", "")])))
    assert not await site.stores()


async def test_l01_a_rules_override_and_statuses_do_not_lift_it(place: Place) -> None:
    rule = Rule(ttl=60, override=True, statuses=[404], public=True)
    site = place.site(Origin(Reply([("set-cookie", "a=b")], status=404)), paths={"/": rule})
    assert not await site.stores()


@pytest.mark.parametrize("headers", [(), ANN])
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_l02_a_hundred_clients_have_a_hundred_cookies(
    place: Place, paths: Any, headers: Lines
) -> None:
    together = asyncio.Barrier(100)
    answer = minting(*SHARED)

    async def late(told: Told) -> Reply:
        if told.user or not headers or not paths:  # The run whose answer the client gets.
            await together.wait()
        reply = answer(told)
        assert isinstance(reply, Reply)
        return reply

    # Nobody waits for another: all of them are with the app at once.
    site = place.site(Origin(late), paths=paths, collapse_timeout=0)
    exchanges = await asyncio.gather(*(site.ask(headers=headers) for _ in range(100)))
    cookies = [exchange.field("set-cookie") for exchange in exchanges]
    assert len(set(cookies)) == 100
    for exchange, cookie in zip(exchanges, cookies, strict=True):
        assert cookie == f"sid={read(exchange.body).serial}; Path=/"


# ---------------------------------------------------------------- credentials

CREDENTIALS = [
    *("authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"),
    *("x-remote-user", "x-forwarded-user", "x-forwarded-email", "cf-access-jwt-assertion"),
    *("x-amzn-oidc-data", "x-amzn-oidc-identity", "x-amzn-oidc-accesstoken"),
]


@pytest.mark.parametrize("lines", [[], MAX_AGE])
@pytest.mark.parametrize("name", CREDENTIALS)
async def test_l03_credentials_without_a_word_of_the_app(
    place: Place, name: str, lines: Lines
) -> None:
    """Neither stored, nor answered from what somebody without credentials left."""
    site = place.site(Origin(Reply(lines)), default_ttl=60)
    await assert_own(site, [[(name, "ann")], [(name, "bob")]])
    public = await site.told()
    assert public.user is None
    assert await site.told() == public
    await assert_own(site, [[(name, "ann")], [(name, "bob")], [(name, "")]])
    assert await site.told() == public


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        ("max-age=60", False),
        ("must-revalidate, max-age=60", False),
        ("proxy-revalidate, max-age=60", False),
        ("immutable, max-age=60", False),
        ("public, max-age=60", True),
        ("s-maxage=60", True),
        ("PUBLIC, Max-Age=60", True),
        ("private, s-maxage=60", False),
        ("no-store, public, max-age=60", False),
        ("publicity, max-age=60", False),
        ('x="public", max-age=60', False),
    ],
)
async def test_l04_authorization_and_what_the_app_says(
    place: Place, value: str, shared: bool
) -> None:
    site = place.site(Origin(Reply([("cache-control", value)])))
    if shared:
        first = await site.told(headers=ANN_AUTHORIZED)
        assert await site.told(headers=BOB_AUTHORIZED) == first
        assert await site.told() == first
    else:
        await assert_own(site, [ANN_AUTHORIZED, BOB_AUTHORIZED])


async def test_l04_must_revalidate_where_the_operator_agrees(place: Place) -> None:
    answer = Reply([("cache-control", "must-revalidate, max-age=60")])
    site = place.site(Origin(answer), authorization_must_revalidate=True)
    first = await site.told(headers=ANN_AUTHORIZED)
    assert await site.told(headers=BOB_AUTHORIZED) == first
    await assert_own(site, [[*ANN_AUTHORIZED, *ANN], [*BOB_AUTHORIZED, *BOB]])


async def test_l04_a_targeted_field_does_not_speak_for_authorization(place: Place) -> None:
    site = place.site(Origin(Reply([("asgi-cache-control", "max-age=60")])))
    await assert_own(site, [ANN_AUTHORIZED, BOB_AUTHORIZED])
    assert await site.stores(headers=ANN)


async def test_l04_both_authorization_and_a_cookie(place: Place) -> None:
    site = place.site(Origin(Reply(MAX_AGE)), cookies="ignore")
    await assert_own(site, [[*ANN_AUTHORIZED, *ANN], [*BOB_AUTHORIZED, *BOB]])
    assert await site.stores(headers=ANN)
    await assert_own(site, [[*ANN_AUTHORIZED, *ANN], [*BOB_AUTHORIZED, *BOB]])


async def test_l06_cookies_and_max_age_only(place: Place) -> None:
    await assert_own(place.site(Origin(Reply(MAX_AGE))), [ANN, BOB])


@pytest.mark.parametrize(
    "vary",
    [
        *("Cookie", "cookie", " COOKIE ", "Accept, Cookie", "Authorization", "x-api-key"),
        *("X-Amzn-Oidc-Data", "accept-language,,cookie,", "cookie;q=1, cookie"),
    ],
)
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_l07_vary_by_a_credential(place: Place, vary: str, paths: Any) -> None:
    site = place.site(Origin(Reply([*SHARED, ("vary", vary)])), paths=paths)
    everybody: list[Lines] = [ANN, BOB, ANN_AUTHORIZED, BOB_AUTHORIZED, ()]
    await assert_own(site, everybody)
    assert not await site.stores()


# ---------------------------------------------------------------- Cache-Control's spellings


@pytest.mark.parametrize(
    "lines",
    [
        ["private, max-age=60"],
        ["Private, max-age=60"],
        ["PRIVATE,max-age=60"],
        ["max-age=60,\tprivate\t"],
        ["max-age=60 , private ,"],
        ["public, private, max-age=60"],
        ["private, public, s-maxage=60"],
        ["max-age=60", "private"],
        ["private", "max-age=60"],
        ["public, max-age=60", "Private"],
        ["private=, max-age=60"],
        ['private="", max-age=60'],
        ["private=x y, max-age=60"],
        ['private="a b", max-age=60'],
        ["private; max-age=60, max-age=60"],
        ["private;, max-age=60"],
        ['private="x", private, max-age=60'],
        ['max-age=60, x="a, private'],
        ["NO-STORE, max-age=60"],
        ["No-Store", "max-age=60"],
        ["max-age=60, no-store=1"],
        ["max-age=60,no-store\t"],
        ["no-cache, max-age=60"],
        ["No-Cache", "max-age=60, public"],
        ['no-cache="", max-age=60'],
        ["max-age=60, max-age=0"],
        ["max-age=0, max-age=60"],
        ["max-age=60", "max-age=0"],
        ["max-age=-1"],
        ["max-age=6e1"],
        ["max-age = 0, max-age=60"],
        ["max-age='60'"],
        ["max-age=60.5"],
        ["max-age"],
        ["s-maxage=0, max-age=60"],
        ["x" * 9000 + ", public, max-age=60"],
    ],
)
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_l08_the_strictest_reading_wins(place: Place, lines: list[str], paths: Any) -> None:
    origin = Origin(Reply([("cache-control", line) for line in lines]))
    assert not await place.site(origin, paths=paths).stores()


@pytest.mark.parametrize("directive", ["no-cache", "private", "NO-CACHE", "Private"])
@pytest.mark.parametrize("fields", ["x-secret", "X-Secret, x-other", "x-other,X-SECRET"])
async def test_l08_a_qualified_directive_leaves_out_its_fields(
    place: Place, directive: str, fields: str
) -> None:
    def answer(told: Told) -> Reply:
        own = [("X-Secret", str(told.serial)), ("x-kept", "yes"), ("x-secret", "twice")]
        return Reply([("cache-control", f'max-age=60, {directive}="{fields}"'), *own])

    site = place.site(Origin(answer))
    first = await site.ask()
    assert first.values("x-secret") == ["1", "twice"]
    second = await site.ask()
    if read(second.body).serial == 1:
        assert second.values("x-secret") == []
        assert second.values("x-kept") == ["yes"]
    else:
        assert second.values("x-secret") == ["2", "twice"]


# ---------------------------------------------------------------- deception


def accounts(told: Told) -> Reply:
    """A page that is personal, found by any path below /me, and says nothing of caching."""
    if told.path.startswith("/me") or "/../me" in told.path:
        return Reply(status=200 if told.user else 401)
    return Reply()


DECEPTIONS = [
    *("/me/x.css", "/me", "/me/", "/me;x.css", "/me%00.css", "/me%0a.css", "/me%2f.css"),
    *("/me/%2e%2e/static/x.css", "/static/..%2fme", "/static/%2e%2e/me", "/static/../me"),
    *("/static/..%5cme", "/static//me", "/me/..;/static/x.css", "/me%3fx.css", "/me%23/x.css"),
]


@pytest.mark.parametrize("target", DECEPTIONS)
@pytest.mark.parametrize(
    "paths",
    [{"/{rest:path}": 60}, {"/static/{rest:path}": 60}, {"/me/{rest:path}": Rule(ttl=60)}, {}],
)
async def test_l09_a_lured_user_leaves_nothing_behind(
    place: Place, target: str, paths: Any
) -> None:
    site = place.site(Origin(accounts), paths=paths)
    for headers in (ANN, ANN_AUTHORIZED):
        mine = await site.told(target, headers)
        attacker = await site.ask(target)
        assert read(attacker.body).user is None
        other = await site.told(target, BOB)
        assert other.user in (None, "bob")
        if mine.path.startswith("/me"):
            assert mine.user in ("ann", "Bearer ann")
            assert attacker.status == 401
            assert other.user == "bob"


# ---------------------------------------------------------------- anonymous fills


async def test_l10_the_app_of_a_shared_fill_sees_nobody(place: Place) -> None:
    site = place.site(paths={"/": Rule(ttl=60, cookies=["locale"])})
    headers = [(name, "ann") for name in CREDENTIALS if name != "cookie"]
    headers.append(("cookie", "user=ann; locale=de; sid=1"))
    identity: dict[str, Any] = {
        "session": {"user": "ann"},
        "user": "ann",
        "auth": "ann",
        "cookies": {"user": "ann"},
        "extensions": {"tls": {"client_cert_name": "CN=ann"}, "x": {}},
        "state": {"user": "ann"},
    }
    exchange = await site.ask(headers=headers, **identity)
    told = read(exchange.body)
    assert [line for line in told.fields if line[0] in CREDENTIALS] == [("cookie", "locale=de")]
    (scope,) = site.origin.scopes
    assert not {"session", "user", "auth", "cookies"} & set(scope)
    assert scope["state"] == {}
    assert "tls" not in scope["extensions"]
    assert "x" in scope["extensions"]
    assert "ann" not in repr({**scope, "extensions": None})
    assert await site.told(headers=[("cookie", "locale=de; user=bob")]) == told
    assert (await site.told(headers=[("cookie", "locale=en; user=bob")])).serial == 2
    assert (await site.told(headers=[("cookie", "user=bob")])).serial == 3
    assert (await site.told()).serial == 3


async def test_l10_state_is_as_the_lifespan_left_it(memory: Place) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = "pool"
            await send({"type": "lifespan.startup.complete"})
            return
        seen.append(dict(scope["state"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    site = memory.site(app, paths=EVERYWHERE)

    async def nothing(*_: Any) -> Any:
        return {}

    await site.app({"type": "lifespan", "state": {}}, nothing, nothing)
    await drive(site.app, state={"pool": "pool", "user": "ann"})
    assert seen == [{"pool": "pool"}]


async def test_l10_the_second_run_sees_the_request_as_it_came(place: Place) -> None:
    private = Reply([("cache-control", "private, max-age=60")])
    site = place.site(Origin(private), paths=EVERYWHERE)
    headers = [*ANN, ("if-none-match", '"x"'), ("accept-encoding", "br;q=1, gzip")]
    for number in (1, 2):
        scope = http_scope(headers=headers, session={"user": "ann"}, state={"user": "ann"})
        told = read((await drive(site.app, scope=scope)).body)
        assert told.fields == tuple(
            (name.decode(), value.decode()) for name, value in scope["headers"]
        )
        assert site.origin.scopes[-1]["session"] == {"user": "ann"}
        assert site.origin.scopes[-1]["state"] == {"user": "ann"}
        # The first time nobody knew; then the note sends it straight to the app.
        assert site.calls == 1 + number


async def test_l10_anonymous_false_lets_credentials_bypass(place: Place) -> None:
    site = place.site(Origin(Reply()), paths={"/": Rule(ttl=60, anonymous=False)})
    await assert_own(site, [ANN, BOB])
    assert await site.stores()
    await assert_own(site, [ANN, BOB])


@pytest.mark.parametrize("refused", ["private", "no-store", "vary", "401", "403", "302", "raises"])
async def test_l10_a_refused_run_reaches_nobody(place: Place, refused: str) -> None:
    """What the anonymous run answered is neither sent nor stored where it may not be shared."""

    def answer(told: Told) -> Reply:
        if told.user:
            return Reply()
        match refused:
            case "private" | "no-store":
                return Reply([("cache-control", refused)])
            case "vary":
                return Reply([("vary", "cookie")])
            case "302":
                return Reply([("location", "/login")], status=302)
            case "raises":
                raise LookupError
        return Reply(status=int(refused))

    site = place.site(Origin(answer), paths=EVERYWHERE)
    for _ in range(2):
        for headers in (ANN, BOB, ANN_AUTHORIZED):
            exchange = await site.ask(headers=headers)
            assert exchange.status == 200
            assert read(exchange.body).user is not None
            assert read(exchange.body).serial == site.origin.seen[-1].serial


async def test_l14_fifty_clients_of_a_private_page_have_fifty_pages(place: Place) -> None:
    together = asyncio.Barrier(50)

    async def answer(told: Told) -> Reply:
        if told.user is not None:
            await together.wait()
        return Reply([("cache-control", "private")])

    for paths in ({}, EVERYWHERE):
        site = place.site(Origin(answer), paths=paths, collapse_timeout=0)
        users = [f"u{number}" for number in range(50)]
        pages = await asyncio.gather(
            *(site.told(headers=[("cookie", f"user={user}")]) for user in users)
        )
        assert [page.user for page in pages] == users
        assert len({page.serial for page in pages}) == 50


# ---------------------------------------------------------------- response fields


async def test_l15_fields_of_one_exchange_are_not_replayed(place: Place) -> None:
    def answer(told: Told) -> Reply:
        return Reply(
            [
                *SHARED,
                ("X-Response-Time", "99999.9ms"),
                ("X-Request-ID", f"r{told.serial}"),
                ("Server-Timing", "db;dur=5"),
                ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
                ("x-kept", "1"),
                ("x-kept", "2"),
            ],
            length=False,
        )

    origin = Origin(lambda told: Reply([*answer(told).lines[:4], *answer(told).lines[5:]]))
    site = place.site(origin)
    first = await site.ask()
    assert first.values("x-request-id") == ["r1"]
    second = await site.ask()
    assert second.body == first.body
    assert second.values("x-request-id") == second.values("server-timing") == []
    assert second.values("x-kept") == ["1", "2"]
    assert second.values("date") == []
    for exchange in (first, second):
        (time,) = exchange.values("x-response-time")
        assert re.fullmatch(r"\d+\.\d{3}ms", time)
        assert float(time.removesuffix("ms")) < 60_000
        assert time != "99999.9ms"
    assert site.calls == 1


async def test_l15_date_is_the_apps(place: Place) -> None:
    date = "Fri, 01 Jan 2100 00:00:00 GMT"
    site = place.site(Origin(Reply([*SHARED, ("date", date)])))
    for _ in range(2):
        assert (await site.ask()).values("date") == [date]
    assert site.calls == 1


HOP_BY_HOP = [
    *("keep-alive", "te", "trailer", "upgrade", "proxy-authenticate", "proxy-authorization"),
    *("proxy-authentication-info", "proxy-connection", "X-Foo", "x-bar", "transfer-encoding"),
]


async def test_l16_what_belongs_to_a_connection_is_not_stored(place: Place) -> None:
    lines: Lines = [
        *SHARED,
        ("connection", "close, X-FOO"),
        ("Connection", "x-bar ,"),
        *((name, "once") for name in HOP_BY_HOP),
        ("age", "1"),
        ("x-kept", "yes"),
    ]
    site = place.site(Origin(Reply(lines)))
    first = await site.ask()
    assert [first.values(name) for name in HOP_BY_HOP] == [["once"]] * len(HOP_BY_HOP)
    second = await site.ask()
    assert second.body == first.body
    assert [second.values(name) for name in HOP_BY_HOP] == [[]] * len(HOP_BY_HOP)
    assert second.values("connection") == []
    assert len(second.values("age")) == 1
    assert second.values("x-kept") == ["yes"]


async def test_l16_the_stored_lines_are_nobodys_to_change(place: Place) -> None:
    """A client's side that changes what it was sent changes no later answer."""
    site = place.site(Origin(Reply([*SHARED, ("x-kept", "1"), ("x-kept", "2")])))
    await site.ask()
    for _ in range(3):
        exchange = await site.ask()
        assert exchange.values("x-kept") == ["1", "2"]
        exchange.start["headers"].append((b"set-cookie", b"sid=1"))
        exchange.start["headers"].insert(0, (b"x-kept", b"3"))
        exchange.start["status"] = 500
    assert (await site.ask()).values("set-cookie") == []
    assert site.calls == 1


async def test_l16_an_apps_own_list_is_not_changed(place: Place) -> None:
    headers = [(b"cache-control", b"public, max-age=60"), (b"x-kept", b"1")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})
        headers[1] = (b"x-kept", b"2")

    site = place.site(app)
    for _ in range(3):
        assert (await site.ask()).values("x-kept") == ["1"]
    assert start["headers"] == [(b"cache-control", b"public, max-age=60"), (b"x-kept", b"2")]


# ---------------------------------------------------------------- what clients send

TRICKS: Lines = [
    ("cache-control", "public, max-age=60"),
    ("asgi-cache-control", "public, max-age=60"),
    ("cdn-cache-control", "public, max-age=60"),
    ("surrogate-control", "max-age=60"),
    ("cache-status", "asgi-cache; hit; ttl=60"),
    ("cache-groups", '"g"'),
    ("cache-group-invalidation", '"g"'),
    ("age", "0"),
    ("vary", "x"),
    ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ("etag", '"x"'),
    ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("x-response-time", "1ms"),
    ("x-asgi-cache", "store"),
    ("asgi-cache", "store"),
    ("asgi-cache-ttl", "60"),
    ("x-cache", "HIT"),
    ("x-accel-expires", "60"),
    ("x-nextjs-cache", "HIT"),
    ("x-now-route-matches", "1"),
    ("x-middleware-prefetch", "1"),
    ("x-middleware-subrequest", "middleware"),
    ("purpose", "prefetch"),
    ("next-router-prefetch", "1"),
    ("pragma", "x"),
    ("debug-token", "x"),
    ("x-purge", "1"),
]


@pytest.mark.parametrize("answer", ["nothing", "private", "no-store", "set-cookie", "error"])
async def test_l18_no_field_of_a_client_makes_anything_storable(place: Place, answer: str) -> None:
    replies = {
        "nothing": Reply(),
        "private": Reply([("cache-control", "private, max-age=60")]),
        "no-store": Reply([("cache-control", "no-store")]),
        "set-cookie": Reply([*SHARED, ("set-cookie", "a=b")]),
        "error": Reply(status=500),
    }
    site = place.site(Origin(replies[answer]))
    for trick in TRICKS:
        assert not await site.stores(headers=[trick]), trick
        await assert_own(site, [[trick, *ANN], [trick, *BOB]], rounds=1)
    assert not await site.stores(headers=TRICKS)


async def test_l18_no_field_of_a_client_shows_what_is_stored(place: Place) -> None:
    """Nor does one leave the cache's own key, or another request's fields, in an answer."""
    site = place.site()
    plain = await site.ask()
    for trick in TRICKS:
        exchange = await site.ask(headers=[trick])
        assert exchange.body == plain.body
        names = {name for name, _ in exchange.headers}
        assert names <= {b"cache-control", b"content-length", b"etag", b"age"} | {
            b"cache-status",
            b"x-response-time",
        }
        assert re.fullmatch(r"asgi-cache; hit; ttl=\d+", exchange.cache_status)
    assert site.calls == 1


@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_l19_canaries_always_differ(place: Place, paths: Any) -> None:
    """A personal page among the shared ones: every thousandth request asks it as two users."""

    def answer(told: Told) -> Reply:
        if told.path == "/canary":
            return Reply([("cache-control", "private")] if told.user else [], status=200)
        return Reply(SHARED)

    def silent(told: Told) -> Reply:
        return Reply() if told.path == "/canary" else Reply(SHARED)

    draw = random.Random(19)
    rounds = 400
    site = place.site(Origin(answer if paths else silent), paths=paths)
    kinds: Counter[bool] = Counter()
    for number in range(rounds):
        await site.ask(f"/{draw.randrange(20)}", draw.choice([(), ANN, BOB]))
        if number % 10 == 0:
            pages = [await site.told("/canary", headers) for headers in (ANN, BOB)]
            if paths:
                # One answer for everybody was promised; then it shows nobody.
                assert all(page.user is None for page in pages)
            else:
                assert [page.user for page in pages] == ["ann", "bob"]
                assert pages[0].serial != pages[1].serial
            kinds[pages[0].user is None] += 1
    assert kinds.total() == rounds / 10
