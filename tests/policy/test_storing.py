"""RFC 9111 §3 and §3.5, decisions 3, 4 and 5: what is stored, as what, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.fields import MAX_PARSED_BYTES
from asgi_cache.model import RequestHead, ResponseHead, StoredResponse
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.grouping import rule_groups
from asgi_cache.policy.keys import MAX_NOMINATED
from asgi_cache.policy.storing import (
    HOP_BY_HOP,
    admit,
    declared_length,
    is_malformed_length,
    status_refusal,
)
from asgi_cache.settings import Rule, Settings
from tests.policy.builders import (
    NOW,
    PLAIN,
    any_headers,
    exchange_of,
    outcome,
    request,
    respond_with,
    stored,
    under,
    untimed,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from tests.policy.builders import Headers

FRESH = {"Cache-Control": "max-age=60"}


def control(*values: str) -> list[tuple[str, str]]:
    """A line of Cache-Control for each of *values*."""
    return [("Cache-Control", value) for value in values]


def with_fresh(*lines: tuple[str, str]) -> list[tuple[str, str]]:
    return [("Cache-Control", "max-age=60"), *lines]


REFUSED: list[tuple[int, Headers, Refusal]] = [
    # The status code is final, and understood (§3, second and third condition).
    (100, FRESH, Refusal.STATUS),
    (199, FRESH, Refusal.STATUS),
    (206, FRESH, Refusal.STATUS),
    (304, FRESH, Refusal.STATUS),
    (600, FRESH, Refusal.STATUS),
    (-1, FRESH, Refusal.STATUS),
    (299, control("must-understand, max-age=60"), Refusal.STATUS),
    (299, control("must-understand, no-store, max-age=60"), Refusal.NO_STORE),
    # no-store, in every spelling.
    (200, control("no-store"), Refusal.NO_STORE),
    (200, control("max-age=60, NO-STORE"), Refusal.NO_STORE),
    (200, control("max-age=60,\tNo-Store\t"), Refusal.NO_STORE),
    (200, control("max-age=60", "no-store"), Refusal.NO_STORE),
    (200, control("public, s-maxage=60, no-store"), Refusal.NO_STORE),
    (200, control('max-age=60, no-store="x"'), Refusal.NO_STORE),
    (200, control('max-age=60, x=", no-store'), Refusal.NO_STORE),
    # private, without field names or with something that is none.
    (200, control("private"), Refusal.PRIVATE),
    (200, control("max-age=60, Private"), Refusal.PRIVATE),
    (200, control("max-age=60,\tPRIVATE"), Refusal.PRIVATE),
    (200, control("public, private, max-age=60"), Refusal.PRIVATE),
    (200, control("private, public, max-age=60"), Refusal.PRIVATE),
    (200, control("public, max-age=60", "private"), Refusal.PRIVATE),
    (200, control('max-age=60, private=""'), Refusal.PRIVATE),
    (200, control('max-age=60, private="a b"'), Refusal.PRIVATE),
    (200, control('max-age=60, private, private="x-a"'), Refusal.PRIVATE),
    # Set-Cookie, whatever else is said (L01).
    (200, with_fresh(("Set-Cookie", "sid=1")), Refusal.SET_COOKIE),
    (200, [("Set-Cookie", ""), ("Cache-Control", "public, max-age=60")], Refusal.SET_COOKIE),
    (
        200,
        [("Set-Cookie", "a=b"), *control('no-cache="set-cookie", max-age=9')],
        Refusal.SET_COOKIE,
    ),
    # No lifetime, or none that is left.
    (200, {}, Refusal.NO_LIFETIME),
    (203, {}, Refusal.NO_LIFETIME),
    (200, control("public"), Refusal.NO_LIFETIME),
    (200, control("max-age=0"), Refusal.NO_LIFETIME),
    (200, control("max-age=60, no-cache"), Refusal.NO_LIFETIME),
    (200, control("max-age=60, No-Cache"), Refusal.NO_LIFETIME),
    (200, control('max-age=60, no-cache=""'), Refusal.NO_LIFETIME),
    (200, with_fresh(("Age", "60")), Refusal.NO_LIFETIME),
    (302, control("max-age=0"), Refusal.NO_LIFETIME),
    (204, {}, Refusal.STATUS),
    (404, {}, Refusal.STATUS),
    (500, {}, Refusal.STATUS),
    (401, {}, Refusal.DENIED),
    (403, {}, Refusal.DENIED),
    (302, {}, Refusal.REDIRECT),
    (301, {}, Refusal.REDIRECT),
    # Bodies that do not end.
    (200, with_fresh(("Content-Type", "text/event-stream")), Refusal.MEDIA_TYPE),
    (200, with_fresh(("Content-Type", "Text/Event-Stream ; charset=utf-8")), Refusal.MEDIA_TYPE),
    (
        200,
        with_fresh(("Content-Type", "multipart/x-mixed-replace;boundary=b")),
        Refusal.MEDIA_TYPE,
    ),
    # Content-Length.
    (200, with_fresh(("Content-Length", "1"), ("Content-Length", "1")), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", "1, 1")), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", "-1")), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", "+1")), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", "")), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", "9" * 5000)), Refusal.LENGTH),
    (200, with_fresh(("Content-Length", str(2**20 + 1))), Refusal.TOO_LARGE),
    # Vary (V01, L07).
    (200, with_fresh(("Vary", "*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", " * ")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "\t*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "*,*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "a, *")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", ",*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "a"), ("Vary", "*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "\x0b*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "\xa0*")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", '"*"')), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "accept; q=1")), Refusal.VARY_ANY),
    (200, with_fresh(("Vary", "Cookie")), Refusal.VARY_CREDENTIALS),
    (200, with_fresh(("Vary", "accept, AUTHORIZATION")), Refusal.VARY_CREDENTIALS),
    (200, with_fresh(("Vary", "X-Amzn-Oidc-Data")), Refusal.VARY_CREDENTIALS),
    (200, with_fresh(("Vary", ",".join(f"x-{n}" for n in range(9)))), Refusal.VARY_TOO_MANY),
    # Of one name, but longer than is read.
    (200, with_fresh(("Vary", "x-a," * 2049)), Refusal.VARY_TOO_MANY),
    (200, with_fresh(*[("Vary", "x-a," * 1025)] * 2), Refusal.VARY_TOO_MANY),
    # Cache-Groups (P13).
    (200, with_fresh(("Cache-Groups", "products")), Refusal.GROUPS),
    (200, with_fresh(("Cache-Groups", '"a" "b"')), Refusal.GROUPS),
    (200, with_fresh(("Cache-Groups", '"a", 1')), Refusal.GROUPS),
    (
        200,
        with_fresh(("Cache-Groups", ", ".join(f'"{n}"' for n in range(129)))),
        Refusal.GROUPS,
    ),
    (
        200,
        with_fresh(("Cache-Groups", ", ".join(f'"group-{n}"' for n in range(10_000)))),
        Refusal.GROUPS,
    ),
]


@pytest.mark.parametrize(("status", "headers", "refusal"), REFUSED)
def test_what_is_not_stored(status: int, headers: Headers, refusal: Refusal) -> None:
    assert outcome(respond_with(status, headers)) is refusal


def test_every_refusal_of_admission_has_a_row() -> None:
    rows = {refusal for _, _, refusal in REFUSED} | {Refusal.NOT_SHARED}
    members = list(Refusal)
    first, last = members.index(Refusal.STATUS), members.index(Refusal.TOO_LARGE)
    assert rows == {*members[first : last + 1], Refusal.LENGTH}


STORED: list[tuple[int, Headers]] = [
    (200, FRESH),
    (200, control("Max-Age=60")),
    (200, control('max-age="60"')),
    (200, control("max-age=60,,\t, x")),
    (200, control("private-ish, no-storage, max-age=60")),
    (200, control('x="no-store, private", max-age=60')),
    (200, control("max-age=60, must-revalidate, immutable")),
    (200, control("must-understand, no-store, max-age=60")),
    (200, control("must-understand, max-age=60")),
    (200, with_fresh(("Content-Type", "text/event-stream-list"))),
    (200, with_fresh(("Content-Length", "0"))),
    (200, with_fresh(("Content-Length", str(2**20)))),
    (200, with_fresh(("Vary", ""))),
    (200, with_fresh(("Vary", ",".join(f"x-{n}" for n in range(8))))),
    (200, with_fresh(("Cache-Groups", ", ".join(f'"{n}"' for n in range(128))))),
    (200, with_fresh(("Pragma", "no-cache"))),
    # What nobody sends any more is a field like any other.
    (200, with_fresh(("Set-Cookie2", "sid=1"))),
    # Explicit freshness is for any final status.
    (201, FRESH),
    (302, FRESH),
    (401, FRESH),
    (404, FRESH),
    (500, FRESH),
    (599, FRESH),
]


@pytest.mark.parametrize(("status", "headers"), STORED)
def test_what_is_stored(status: int, headers: Headers) -> None:
    assert stored(respond_with(status, headers)).status == status


ETAG = ("ETag", '"a"')
MODIFIED = ("Last-Modified", "Mon, 13 Nov 2023 22:13:20 GMT")


@pytest.mark.parametrize(
    ("status", "headers", "fresh_for", "kept_for"),
    [
        # Stale at once, and yet of use: there is something to validate it by ...
        (200, [ETAG, *control("max-age=0")], 0, 1000),
        (200, [MODIFIED, *control("max-age=0")], 0, 1000),
        (200, [ETAG, *control("no-cache")], 0, 1000),
        (404, [ETAG, *control("no-cache")], 0, 1000),
        (200, [ETAG, *control("no-cache, max-age=60")], 0, 1000),
        (200, [ETAG, ("Expires", "0")], 0, 1000),
        (200, [ETAG, ("Age", "70"), *control("max-age=60")], -10, 990),
        # ... or it may be served stale.
        (200, control("max-age=0, stale-while-revalidate=30"), 0, 30),
        (200, control("max-age=0, stale-if-error=40"), 0, 40),
        (200, [("Age", "70"), *control("max-age=60, stale-if-error=40")], -10, 30),
        # Not so what is neither, for any length of time.
        (200, control("max-age=0"), None, None),
        (200, control("no-cache, stale-while-revalidate=30"), None, None),
        (200, control("max-age=0, must-revalidate, stale-if-error=40"), None, None),
        (200, [("Age", "100"), *control("max-age=60, stale-if-error=40")], None, None),
        (200, [ETAG, ("Age", "1060"), *control("max-age=60")], None, None),
        (200, [ETAG, ("Age", "1059"), *control("max-age=60")], -999, 1),
    ],
)
def test_what_is_stale_at_once(
    status: int, headers: Headers, fresh_for: float | None, kept_for: float | None
) -> None:
    result = outcome(respond_with(status, headers), Settings(keep=1000))
    if fresh_for is None or kept_for is None:
        assert result is Refusal.NO_LIFETIME
    else:
        assert isinstance(result, StoredResponse)
        assert (result.fresh_until, result.discard_at) == (NOW + fresh_for, NOW + kept_for)


def test_a_validator_is_of_no_use_without_time_to_use_it() -> None:
    headers = [ETAG, *control("max-age=0")]
    assert outcome(respond_with(200, headers), Settings(keep=0)) is Refusal.NO_LIFETIME


def test_no_cache_does_not_make_a_status_storable() -> None:
    for status, refusal in ((302, Refusal.REDIRECT), (401, Refusal.DENIED), (500, Refusal.STATUS)):
        assert outcome(respond_with(status, [ETAG, *control("no-cache")])) is refusal


@pytest.mark.parametrize(
    ("settings", "headers", "emitted"),
    [
        (PLAIN, FRESH, 0),
        (under(ttl=60), FRESH, 0),
        (under(ttl=60), {}, 1),
        (under(ttl=60, browser_ttl=9), {}, 0),
        (under(ttl=60, vary=["X-A"]), {"X-B": "1"}, 2),
        (under(ttl=60, browser_ttl=9, vary=["X-A"]), {"X-B": "1"}, 1),
    ],
)
def test_lines_of_ours_come_first_and_are_counted(
    settings: Settings, headers: dict[str, str], emitted: int
) -> None:
    result = stored(respond_with(200, headers), settings)
    assert result.emitted == emitted
    assert result.lines[emitted:] == respond_with(200, headers).lines


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (200, Refusal.NO_LIFETIME),
        (203, Refusal.NO_LIFETIME),
        (204, Refusal.STATUS),
        (299, Refusal.STATUS),
        (300, Refusal.REDIRECT),
        (399, Refusal.REDIRECT),
        (400, Refusal.STATUS),
        (401, Refusal.DENIED),
        (403, Refusal.DENIED),
        (500, Refusal.STATUS),
    ],
)
def test_a_status_that_is_not_an_answer_for_all(status: int, refusal: Refusal) -> None:
    assert status_refusal(status) is refusal


# --- which statuses a TTL is for (decision 5, P08) --------------------------------------------


@pytest.mark.parametrize(
    ("settings", "statuses"),
    [
        (under(ttl=60), {200, 203, 300, 301, 308}),
        (under(ttl=60, statuses=[404, 500]), {200, 203, 300, 301, 308, 404, 500}),
        (Settings(default_ttl=60), {200, 203, 300, 301, 308}),
        (Settings(), set()),
        (under(ttl=0), set()),
        (under(), set()),
    ],
)
def test_p08_a_ttl_is_for_its_statuses_only(settings: Settings, statuses: set[int]) -> None:
    found = {
        status
        for status in range(200, 600)
        if isinstance(outcome(respond_with(status), settings), StoredResponse)
    }
    assert found == statuses


def test_no_rule_overrides_what_the_app_forbids() -> None:
    settings = under(ttl=60, override=True, statuses=[200], public=True)
    for forbidding, refusal in (
        (control("no-store"), Refusal.NO_STORE),
        (control("private"), Refusal.PRIVATE),
        ([("Set-Cookie", "a=b")], Refusal.SET_COOKIE),
        ([("Vary", "*")], Refusal.VARY_ANY),
        ([("Vary", "Cookie")], Refusal.VARY_CREDENTIALS),
    ):
        assert outcome(respond_with(200, forbidding), settings) is refusal


# --- who may have it (§3.5, decisions 3 and 4) ------------------------------------------------

AUTHORIZATION = {"Authorization": "Basic YTpi"}
COOKIE = {"Cookie": "sid=1"}
API_KEY = {"X-API-Key": "k"}
BOTH = {**AUTHORIZATION, **COOKIE}

MUST_REVALIDATE = Settings(authorization_must_revalidate=True)
COOKIES_IGNORED = Settings(cookies="ignore")
WITHOUT_AUTHORIZATION = Settings(credential_fields=["Cookie"])

NOT_STORED = None
SHARED, AUTHORIZED = (True, True), (False, True)
UNAUTHORIZED, NEITHER = (True, False), (False, False)


@pytest.mark.parametrize(
    ("settings", "directives", "credentials", "flags"),
    [
        # A lifetime alone says nothing of sharing.
        (PLAIN, "max-age=60", {}, NEITHER),
        (PLAIN, "max-age=60", AUTHORIZATION, NOT_STORED),
        (PLAIN, "max-age=60", COOKIE, NOT_STORED),
        (PLAIN, "max-age=60", API_KEY, NOT_STORED),
        (PLAIN, "max-age=60, must-revalidate", AUTHORIZATION, NOT_STORED),
        (PLAIN, "max-age=60, must-revalidate", {}, NEITHER),
        # public and s-maxage do (L04).
        (PLAIN, "public, max-age=60", {}, SHARED),
        (PLAIN, "public, max-age=60", BOTH, SHARED),
        (PLAIN, "Public, max-age=60", AUTHORIZATION, SHARED),
        (PLAIN, "s-maxage=60", {}, SHARED),
        (PLAIN, "s-maxage=60", BOTH, SHARED),
        (PLAIN, "s-maxage=60", API_KEY, SHARED),
        # must-revalidate does for Authorization alone, where the setting says so.
        (MUST_REVALIDATE, "max-age=60, must-revalidate", {}, AUTHORIZED),
        (MUST_REVALIDATE, "max-age=60, must-revalidate", AUTHORIZATION, AUTHORIZED),
        (MUST_REVALIDATE, "max-age=60, must-revalidate", COOKIE, NOT_STORED),
        (MUST_REVALIDATE, "max-age=60, must-revalidate", BOTH, NOT_STORED),
        (MUST_REVALIDATE, "max-age=60", AUTHORIZATION, NOT_STORED),
        # cookies = "ignore" lifts it for Cookie.
        (COOKIES_IGNORED, "max-age=60", COOKIE, NEITHER),
        (COOKIES_IGNORED, "max-age=60", BOTH, NOT_STORED),
        (COOKIES_IGNORED, "max-age=60", {**COOKIE, **API_KEY}, NOT_STORED),
        # No setting lifts §3.5.
        (WITHOUT_AUTHORIZATION, "max-age=60", AUTHORIZATION, NOT_STORED),
        (WITHOUT_AUTHORIZATION, "max-age=60", API_KEY, NEITHER),
    ],
)
def test_who_may_have_it(
    settings: Settings,
    directives: str,
    credentials: dict[str, str],
    flags: tuple[bool, bool] | None,
) -> None:
    result = outcome(
        respond_with(200, control(directives)), settings, to=request(headers=credentials)
    )
    if flags is NOT_STORED:
        assert result is Refusal.NOT_SHARED
    else:
        assert isinstance(result, StoredResponse)
        assert (result.explicitly_shared, result.authorized_reuse) == flags


@pytest.mark.parametrize(
    ("credentials", "flags"),
    [({}, UNAUTHORIZED), (COOKIE, UNAUTHORIZED), (AUTHORIZATION, NOT_STORED)],
)
def test_a_targeted_field_says_shared_but_not_authorized(
    credentials: dict[str, str], flags: tuple[bool, bool] | None
) -> None:
    response = respond_with(200, {"ASGI-Cache-Control": "max-age=60", "Cache-Control": "no-store"})
    result = outcome(response, to=request(headers=credentials))
    if flags is NOT_STORED:
        assert result is Refusal.NOT_SHARED
    else:
        assert isinstance(result, StoredResponse)
        assert (result.explicitly_shared, result.authorized_reuse) == flags


@pytest.mark.parametrize(
    ("rule", "status", "headers", "flags"),
    [
        ({"ttl": 60}, 200, {}, SHARED),
        ({"ttl": 60}, 203, {}, SHARED),
        ({"ttl": 60}, 200, FRESH, SHARED),
        ({"ttl": 60}, 301, {}, NEITHER),
        ({"ttl": 60}, 404, FRESH, NEITHER),
        ({"ttl": 60, "statuses": [301, 404]}, 301, {}, SHARED),
        ({"ttl": 60, "statuses": [301, 404]}, 404, {}, SHARED),
        ({"ttl": 60}, 301, {"Cache-Control": "public, max-age=60"}, SHARED),
    ],
)
@pytest.mark.parametrize("credentials", [{}, AUTHORIZATION, COOKIE, {**BOTH, **API_KEY}])
def test_an_anonymous_fill_is_for_everybody(
    rule: dict[str, object],
    status: int,
    headers: Headers,
    flags: tuple[bool, bool],
    credentials: dict[str, str],
) -> None:
    result = stored(respond_with(status, headers), under(**rule), to=request(headers=credentials))
    assert (result.explicitly_shared, result.authorized_reuse) == flags


def test_a_rule_made_for_one_response_is_not_anonymous() -> None:
    # The app has seen the credentials before Settings.rule was asked.
    rule = Rule(ttl=60)
    assert not stored(respond_with(200), rule=rule).explicitly_shared
    for credentials in (COOKIE, AUTHORIZATION):
        result = outcome(respond_with(200), to=request(headers=credentials), rule=rule)
        assert result is Refusal.NOT_SHARED


# --- what is stored of it (§3.1) --------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        # Order and repeats stay (a wrong version: repeated fields collapsed into one).
        (
            [("Link", "<a>"), ("X-B", "1"), ("Link", "<b>"), ("Link", "<a>")],
            [("link", "<a>"), ("x-b", "1"), ("link", "<b>"), ("link", "<a>")],
        ),
        # L16: what belongs to one connection.
        (
            [
                *(("Connection", "close"), ("Keep-Alive", "1"), ("Proxy-Authenticate", "x")),
                *(("Proxy-Authentication-Info", "x"), ("Proxy-Authorization", "x")),
                *(("Proxy-Connection", "close"), ("TE", "gzip"), ("Trailer", "x-a")),
                *(("Transfer-Encoding", "chunked"), ("Upgrade", "h2c")),
            ],
            [],
        ),
        (
            [("Connection", "X-Foo, close"), ("X-Foo", "1"), ("X-Bar", "2"), ("Close", "3")],
            [("x-bar", "2")],
        ),
        ([("Connection", "x-a"), ("Connection", "X-B"), ("X-A", "1"), ("X-B", "2")], []),
        # L15: what belongs to one exchange.
        (
            [("X-Response-Time", "1ms"), ("Server-Timing", "app"), ("X-Request-ID", "7")],
            [],
        ),
        ([("Age", "7"), ("Date", "Tue, 14 Nov 2023 22:13:20 GMT")], [("date", None)]),
        # L08: a qualified directive, in any case and with white space.
        ([("X-User", "ann"), ("X-A", "1")], [("x-user", "ann"), ("x-a", "1")]),
    ],
)
def test_the_lines_that_are_kept(
    headers: list[tuple[str, str]], kept: list[tuple[str, str | None]]
) -> None:
    result = stored(respond_with(200, [*headers, ("Cache-Control", "max-age=60")]))
    assert [
        (name.decode(), None if name == b"date" else value.decode()) for name, value in result.lines
    ] == [*kept, ("cache-control", "max-age=60")]


@pytest.mark.parametrize("name", ["no-cache", "private", "Private", "NO-CACHE"])
@pytest.mark.parametrize("argument", ['"X-User"', '"x-other, x-user"', "x-user", '"\tX-USER ,"'])
def test_l08_a_qualified_directive_takes_its_fields_out(name: str, argument: str) -> None:
    headers = [("X-User", "ann"), ("X-A", "1"), *control(f"max-age=60, {name}={argument}")]
    assert [line for line, _ in stored(respond_with(200, headers)).lines] == [
        b"x-a",
        b"cache-control",
    ]


def test_a_validator_that_is_not_kept_validates_nothing() -> None:
    headers = [
        ("ETag", '"ann"'),
        ("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
        *control('max-age=60, private="etag, last-modified"'),
    ]
    result = stored(respond_with(200, headers))
    assert (result.etag, result.last_modified) == (None, None)
    assert result.discard_at == result.fresh_until


def test_unstored_fields_are_a_setting() -> None:
    settings = Settings(unstored_fields=["X-Trace"])
    result = stored(
        respond_with(200, [("X-Trace", "1"), ("X-Request-ID", "2"), *FRESH.items()]), settings
    )
    assert [name for name, _ in result.lines] == [b"x-request-id", b"cache-control"]


@pytest.mark.parametrize(
    ("headers", "etag", "modified"),
    [
        ([], None, None),
        ([("ETag", '"a"')], b'"a"', None),
        ([("ETag", 'W/"a"')], b'W/"a"', None),
        ([("ETag", f'"{"a" * 99}"')], b'"%b"' % (b"a" * 99), None),
        ([("ETag", "a")], None, None),
        ([("ETag", '"a"'), ("ETag", '"b"')], None, None),
        ([("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")], None, NOW),
        ([("Last-Modified", "yesterday")], None, None),
        ([("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")] * 2, None, None),
    ],
)
def test_validators(
    headers: list[tuple[str, str]], etag: bytes | None, modified: float | None
) -> None:
    result = stored(respond_with(200, with_fresh(*headers)), Settings(keep=1000))
    assert (result.etag, result.last_modified) == (etag, modified)
    # One object: of many stored responses every byte counts.
    assert etag is None or any(result.etag is value for _, value in result.lines)
    kept = etag is not None or modified is not None
    assert result.discard_at == NOW + 60 + (1000 if kept else 0)


def test_it_can_be_dropped_after_the_last_of_its_ends() -> None:
    directives = "max-age=60, stale-while-revalidate=30, stale-if-error=40"
    result = stored(respond_with(200, [("ETag", '"a"'), *control(directives)]), Settings(keep=1000))
    assert (result.revalidate_until, result.error_until) == (NOW + 90, NOW + 100)
    assert result.discard_at == NOW + 1100
    directives = "max-age=60, stale-while-revalidate=50, stale-if-error=40"
    assert stored(respond_with(200, control(directives))).discard_at == NOW + 110


# --- what it varies by (§4.1, decisions 4 and 8) ----------------------------------------------


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ([], []),
        ([("Vary", "accept-language ,Accept-Language")], ["accept-language"]),  # V02
        ([("Vary", "b,A"), ("Vary", "\tc ")], ["a", "b", "c"]),
        ([("Access-Control-Allow-Origin", "*")], []),
        ([("Access-Control-Allow-Origin", " * ")], []),
        ([("Access-Control-Allow-Origin", "https://a.example")], ["origin"]),
        ([("Access-Control-Allow-Origin", "null")], ["origin"]),
        ([("Content-Encoding", "gzip")], ["accept-encoding"]),
        (
            [("Vary", "Accept"), ("Content-Encoding", "br"), ("Access-Control-Allow-Origin", "x")],
            ["accept", "accept-encoding", "origin"],
        ),
    ],
)
def test_what_it_varies_by(headers: list[tuple[str, str]], names: list[str]) -> None:
    result = stored(respond_with(200, with_fresh(*headers)))
    assert [name.decode() for name, _ in result.nominated] == names


def test_names_only_grow_while_a_key_varies() -> None:
    result = stored(respond_with(200, with_fresh(("Vary", "b"))), known=["a", "c"])
    assert [name for name, _ in result.nominated] == [b"a", b"b", b"c"]
    known = [f"x-{n}" for n in range(MAX_NOMINATED)]
    assert len(stored(respond_with(200, FRESH), known=known).nominated) == MAX_NOMINATED
    full = outcome(respond_with(200, with_fresh(("Vary", "b"))), known=known)
    assert full is Refusal.VARY_TOO_MANY


def test_a_vary_is_read_up_to_its_limit() -> None:
    longest = "x-a," * (MAX_PARSED_BYTES // 4)
    result = stored(respond_with(200, with_fresh(("Vary", longest))))
    assert [name for name, _ in result.nominated] == [b"x-a"]
    longer = respond_with(200, with_fresh(("Vary", longest), ("Vary", "x")))
    assert outcome(longer) is Refusal.VARY_TOO_MANY


def test_it_carries_the_values_that_the_app_saw() -> None:
    headers = {"Accept-Language": "de, EN;q=0.5", "Accept-Encoding": "br;q=1, gzip", "X-A": ""}
    response = respond_with(200, with_fresh(("Vary", "Accept-Language, Accept-Encoding, X-A, X-B")))
    assert stored(response, to=request(headers=headers)).nominated == (
        (b"accept-encoding", b"gzip, br"),
        (b"accept-language", b"de,en;q=0.5"),
        (b"x-a", b""),
        (b"x-b", None),
    )


def test_a_rule_varies_as_if_the_app_said_so() -> None:
    settings = under(ttl=60, vary=["X-B", "x-a"], languages=["de"])
    result = stored(respond_with(200), settings, to=request(headers={"X-A": "1"}))
    assert result.nominated == ((b"accept-language", None), (b"x-a", b"1"), (b"x-b", None))


def test_so_does_a_rule_made_for_one_response() -> None:
    rule = Rule(ttl=60, vary=["X-Tenant"], languages=["de"])
    result = stored(respond_with(200), rule=rule, to=request(headers={"X-Tenant": "7"}))
    assert result.nominated == ((b"accept-language", None), (b"x-tenant", b"7"))
    wrong = Rule(ttl=60, vary=["X-API-Key"])
    assert outcome(respond_with(200), rule=wrong) is Refusal.VARY_CREDENTIALS
    # That of the path has shaped the request that the app saw, and counts as well.
    result = stored(respond_with(200), under(ttl=60, vary=["X-A"]), rule=Rule(ttl=60, vary=["X-B"]))
    assert [name for name, _ in result.nominated] == [b"x-a", b"x-b"]


# --- groups (RFC 9875) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "params", "expected"),
    [
        ([], {}, []),
        (["products"], {}, ["products"]),
        (["product:{id}", "{id}-{id}"], {"id": "7"}, ["product:7", "7-7"]),
        (["product:{id}"], {}, ["product:"]),
        (["product:{id}"], {"id": "{id}\ud800"}, ["product:{id}\ud800"]),
    ],
)
def test_groups_of_a_rule(groups: list[str], params: dict[str, str], expected: list[str]) -> None:
    assert rule_groups(Rule(groups=groups), params) == expected
    assert rule_groups(None, params) == []


def test_groups_of_the_rule_come_before_those_of_the_response() -> None:
    settings = Settings(paths={"/p/{id}": Rule(ttl=60, groups=["p:{id}", "p"])})
    response = respond_with(200, [("Cache-Groups", '"x", "p"'), ("Cache-Groups", '"a b"')])
    result = stored(response, settings, to=request("/p/7"))
    assert result.groups == ("p:7", "p", "x", "a b")
    assert stored(respond_with(200), settings, to=request("/p/7")).groups == ("p:7", "p")


def test_p13_a_client_cannot_name_groups() -> None:
    assert (
        stored(respond_with(200, FRESH), to=request(headers={"Cache-Groups": '"x"'})).groups == ()
    )


# --- lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        ([], None),
        (["0"], 0),
        (["007"], 7),
        (["9" * 18], 10**18 - 1),
        (["9" * 19], None),
        (["1", "1"], None),
        ([" 1"], None),
        (["\xb2"], None),
    ],
)
def test_declared_length(values: list[str], declared: int | None) -> None:
    head = respond_with(200, [("Content-Length", value) for value in values])
    assert declared_length(head) == declared
    if declared is not None:
        assert not is_malformed_length(head, declared)
    assert is_malformed_length(head, 12) is (declared is not None)


# --- totality ---------------------------------------------------------------------------------

RESPONSE_FIELDS = (
    b"cache-control asgi-cache-control expires date age last-modified etag vary set-cookie "
    b"content-length content-type content-encoding connection cache-groups "
    b"access-control-allow-origin"
).split()
DIRECTIVES = st.sampled_from(
    [
        b"max-age=60",
        b"s-maxage=99999999999999999999",
        b"public",
        b'private="x-a"',
        b'no-cache="x-b"',
        b"stale-if-error=5",
        b"must-understand",
    ]
)
RULES = [None, Rule(ttl=60, groups=["{a}"], statuses=[404]), Rule(ttl=0, override=True)]
FORBIDDEN_LINES = HOP_BY_HOP | {b"age", b"set-cookie"}


@untimed
@given(
    status=st.one_of(st.sampled_from([200, 404, 301, 206]), st.integers()),
    lines=any_headers(RESPONSE_FIELDS),
    directives=st.lists(DIRECTIVES),
    rule=st.sampled_from(RULES),
    personal=st.booleans(),
)
def test_whatever_the_app_sends_is_stored_well_or_refused(
    status: int,
    lines: tuple[Line, ...],
    directives: list[bytes],
    rule: Rule | None,
    personal: bool,
) -> None:
    head = ResponseHead(status, (*lines, (b"cache-control", b", ".join(directives))))
    exchange = exchange_of(request(headers=COOKIE if personal else {}))
    result = admit(exchange, head, PLAIN, rule)
    assert isinstance(result, StoredResponse | Refusal)
    if isinstance(result, StoredResponse):
        assert FORBIDDEN_LINES.isdisjoint(name for name, _ in result.lines)
        assert set(result.lines) <= {*head.lines, *result.lines[-1:]}
        assert result.generated_at <= NOW < result.discard_at
        assert result.fresh_until <= result.generated_at + PLAIN.max_ttl
        assert (
            result.fresh_until > NOW
            or result.etag
            or result.last_modified
            or (result.may_be_stale and max(result.revalidate_until, result.error_until) > NOW)
        )
        assert max(result.fresh_until, result.revalidate_until) <= result.discard_at
        assert result.error_until <= result.discard_at
        assert len(result.nominated) <= MAX_NOMINATED
        assert result.explicitly_shared or not personal


@untimed
@given(
    lines=any_headers([b"cache-control", b"cache-groups", b"x-a"]),
    path=st.text(st.characters(exclude_characters="\0"), max_size=20),
)
def test_nothing_in_a_request_makes_a_response_more_storable(
    lines: tuple[Line, ...], path: str
) -> None:
    settings = Settings(paths={"/{name}": Rule(groups=["{name}"])})
    plain = request("/a")
    head = RequestHead(
        "GET", "http", "", "/" + path, b"/a", b"", {b"host": b"shop.example", **dict(lines)}
    )
    for response in (respond_with(200), respond_with(200, control("no-store, max-age=9"))):
        assert outcome(response, settings, to=head) is outcome(response, settings, to=plain)
