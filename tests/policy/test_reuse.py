"""RFC 9111 §4: what is looked up, and what becomes of what was found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.model import RequestHead
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.reuse import (
    LONGEST_REMEMBERED,
    METHOD,
    OFF,
    Screened,
    Screening,
    decide,
    decide_again,
    is_hiding,
    screen,
)
from asgi_cache.settings import Rule, Settings
from asgi_cache.settings.plan import GLIMPSE_LIMIT, LONGEST_SHAPE, MEMO_LIMIT
from tests.policy.builders import (
    NOW,
    OCTETS,
    PLAIN,
    TEXTS,
    looked_up,
    request,
    respond_with,
    stored,
    under,
    untimed,
)
from tests.stores.records import stored_response

NEVER = Settings(paths={"/x": False})
DISABLED = Settings(enabled=False)


def raising(head: RequestHead) -> str:
    raise RuntimeError(head.method)


def wrong(head: RequestHead) -> Any:
    return len(head)


def bypass(refusal: Refusal) -> Screening:
    return Screening(Decision.BYPASS, refusal)


NOT_LOOKED_UP: list[tuple[RequestHead, Settings, Screening]] = [
    # METHOD comes before OFF, so that invalidation works where nothing is cached.
    *[(request(method=method), PLAIN, METHOD) for method in ("POST", "PUT", "DELETE", "PURGE")],
    *[(request(method=method), PLAIN, METHOD) for method in ("OPTIONS", "get", "QUERY", "")],
    (request(method="POST"), NEVER, METHOD),
    (request(method="POST"), DISABLED, METHOD),
    (request(), NEVER, OFF),
    (request(method="HEAD"), NEVER, OFF),
    (request("/%78"), NEVER, OFF),
    (request(host=None), NEVER, OFF),
    (request(), DISABLED, OFF),
    # The host.
    (request(host=None), PLAIN, bypass(Refusal.HOST)),
    (request(host="b"), Settings(authorities=["a", "a:80"]), bypass(Refusal.AUTHORITY)),
    (request(host="a:81"), Settings(authorities=["a", "a:80"]), bypass(Refusal.AUTHORITY)),
    # The path.
    (request("x"), PLAIN, bypass(Refusal.PATH)),
    (request("/" + "x" * 9000), PLAIN, bypass(Refusal.TARGET_TOO_LONG)),
    # The fields.
    (
        request()._replace(fields={b"host": b"a", b"Authorization": b"x"}),
        PLAIN,
        bypass(Refusal.REQUEST_FIELDS),
    ),
    # Content: it is not part of the key.
    (request(headers={"Content-Length": "1"}), PLAIN, bypass(Refusal.REQUEST_BODY)),
    (request(headers={"Content-Length": "x"}), PLAIN, bypass(Refusal.REQUEST_BODY)),
    (request(headers={"Content-Length": "0, 1"}), PLAIN, bypass(Refusal.REQUEST_BODY)),
    (request(headers={"Transfer-Encoding": "chunked"}), PLAIN, bypass(Refusal.REQUEST_BODY)),
    (request(headers={"Transfer-Encoding": ""}), PLAIN, bypass(Refusal.REQUEST_BODY)),
    # Conditions that only an origin evaluates.
    (request(headers={"If-Match": '"a"'}), PLAIN, bypass(Refusal.PRECONDITION)),
    (request(headers={"If-Unmodified-Since": "x"}), PLAIN, bypass(Refusal.PRECONDITION)),
    # anonymous = false on a rule with a TTL.
    *[
        (
            request(headers={name: "x"}),
            under(ttl=60, anonymous=False),
            bypass(Refusal.CREDENTIALS),
        )
        for name in ("Cookie", "Authorization", "X-API-Key", "X-Amzn-Oidc-Identity")
    ],
    # Settings.key is the user's own code.
    (request(), Settings(key=raising), bypass(Refusal.KEY)),
    (request(), Settings(key=wrong), bypass(Refusal.KEY)),
]


@pytest.mark.parametrize(("head", "settings", "screening"), NOT_LOOKED_UP)
def test_what_is_not_looked_up(head: RequestHead, settings: Settings, screening: Screening) -> None:
    assert screen(head, settings) == screening


LOOKED_UP: list[tuple[RequestHead, Settings, Refusal | None]] = [
    (request(), PLAIN, None),
    (request(host="A:80"), Settings(authorities=["a", "a:80"]), None),
    (request(headers={"Content-Length": "0"}), PLAIN, None),
    (request(headers={"Content-Length": ""}), PLAIN, None),
    (request(headers={"If-None-Match": '"a"'}), PLAIN, None),
    (request(headers={"Cookie": "x"}), under(ttl=60), None),
    (request(headers={"Cookie": "x"}), under(anonymous=False), None),
    (request(), under(ttl=60, anonymous=False), None),
    # What keeps a request from a fill of its own: it may hit.
    (request(method="HEAD"), PLAIN, Refusal.HEAD),
    (request(headers={"Range": "bytes=0-1"}), PLAIN, Refusal.RANGE),
    (request(headers={"Range": ""}), under(ttl=60), Refusal.RANGE),
    (request(headers={"Cache-Control": "no-store"}), PLAIN, Refusal.REQUEST_NO_STORE),
    (request(headers={"Cache-Control": "x, NO-Store"}), PLAIN, Refusal.REQUEST_NO_STORE),
    # Other directives are advice that a gateway does not take (decision 7, D11).
    (request(headers={"Cache-Control": "no-cache, max-age=0"}), PLAIN, None),
    (request(headers={"Cache-Control": "only-if-cached"}), PLAIN, None),
    (request(headers={"Cache-Control": "no-storage"}), PLAIN, None),
    (request(headers={"Cache-Control": 'x="no-store"'}), PLAIN, None),
    (request(headers={"Pragma": "no-cache"}), PLAIN, None),
    # R11: a HEAD never fills, whatever else it says.
    (
        request(method="HEAD", headers={"Cache-Control": 'x="no-store"'}),
        PLAIN,
        Refusal.HEAD,
    ),
    (
        request(method="HEAD", headers={"Cache-Control": "no-store"}),
        PLAIN,
        Refusal.REQUEST_NO_STORE,
    ),
    (
        request(headers={"Cache-Control": "no-storage", "Range": "bytes=0-1"}),
        PLAIN,
        Refusal.RANGE,
    ),
]


@pytest.mark.parametrize(("head", "settings", "obstacle"), LOOKED_UP)
def test_what_is_looked_up(head: RequestHead, settings: Settings, obstacle: Refusal | None) -> None:
    assert looked_up(head, settings).obstacle is obstacle


def test_every_refusal_of_a_request_has_a_row() -> None:
    members = list(Refusal)
    of_a_request = members[: members.index(Refusal.STATUS)]
    found = {screening.refusal for _, _, screening in NOT_LOOKED_UP}
    found |= {obstacle for _, _, obstacle in LOOKED_UP}
    # Refusal.RULE is Settings.rule's, which the responder of a fill asks.
    assert set(of_a_request) - {Refusal.RULE} == found - {None}


def test_what_the_look_up_needs() -> None:
    settings = Settings(paths={"/p/{id}": Rule(ttl=60, query=["q"])})
    head = request("/r/p/7?q=1&x=2", host="A.example", root_path="/r")
    screened = looked_up(head, settings)
    assert screened.request is head
    assert screened.match is not None
    assert screened.match.params == {"id": "7"}
    assert screened.compiled is settings.plan.rules["/p/{id}"]
    assert (screened.authority, screened.query) == (b"a.example", b"q=1")
    assert screened.target == b"a.example\0/r/p/7\0q=1"
    assert screened.key == screened.target + b"\0http\0/r\0/p/7"
    # All of it is remembered: the second time is the same.
    assert screen(head, settings) == screened


def test_an_odd_path_is_granted_no_ttl() -> None:
    for path in ("/a/../x", "//x", "/x;a", "/x\\", "/%2fx", "/x%2f"):
        assert looked_up(request(path), under(ttl=60)).compiled is None
        assert screen(request(path), Settings(paths={"/{rest:path}": False})) is OFF


def test_the_key_function_gets_the_folded_request() -> None:
    seen = []

    def key(head: RequestHead) -> bytes:
        seen.append(head)
        return head.fields.get(b"x-tenant", b"")

    settings = Settings(key=key, paths={"/x": Rule(ttl=60, ignore_query=["utm_*"])})
    headers = {"Cookie": "sid=1", "X-Tenant": "7", "Accept-Encoding": "gzip, x"}
    screened = looked_up(request("/x?utm_a=1&b=2", headers), settings)
    assert seen[0].query == b"b=2"
    assert seen[0].fields == {
        b"host": b"shop.example",
        b"x-tenant": b"7",
        b"accept-encoding": b"gzip",
    }
    assert screened.key.endswith(b"\0c7")
    assert looked_up(request("/x"), settings).key.endswith(b"\0c")


@pytest.mark.parametrize(
    ("settings", "cookie", "personal"),
    [
        # What the key holds of a cookie is no credential: but only anonymous fills key it.
        (under(ttl=60, cookies=["lang"]), "lang=de", False),
        (under(ttl=60, cookies=["lang"]), "lang=de; sid=1", True),
        (under(cookies=["lang"]), "lang=de", True),
        (under(ttl=60), "lang=de", True),
        (Settings(cookies="ignore"), "lang=de", False),
    ],
)
def test_which_cookies_make_a_request_personal(
    settings: Settings, cookie: str, personal: bool
) -> None:
    for headers in ({"Cookie": cookie}, {"Cookie": cookie, "X-Host": "a"}):
        assert looked_up(request(headers=headers), settings).personal is personal


@pytest.mark.parametrize(
    ("settings", "headers", "hiding"),
    [
        (under(ttl=60), {"Cookie": "sid=1"}, True),
        (under(ttl=60), {"Authorization": "Basic YTpi"}, True),
        (under(ttl=60), {}, False),
        (under(ttl=60, cookies=["lang"]), {"Cookie": "lang=de"}, False),
        (under(ttl=60, cookies=["lang"]), {"Cookie": "lang=de; sid=1"}, True),
        # Where there is no anonymous fill the app sees it all.
        (under(ttl=60, anonymous=False), {}, False),
        (PLAIN, {"Cookie": "sid=1"}, False),
    ],
)
def test_what_a_fill_would_hide(settings: Settings, headers: dict[str, str], hiding: bool) -> None:
    assert is_hiding(looked_up(request(headers=headers), settings)) is hiding


# --- after the look-up ------------------------------------------------------------------------

MUST_REVALIDATE = Settings(authorization_must_revalidate=True)
COOKIES_IGNORED = Settings(cookies="ignore")
ANONYMOUS = under(ttl=60)
KEYED_COOKIES = under(ttl=60, cookies=["lang"])
COOKIE = {"Cookie": "sid=1"}
KEYED = {"Cookie": "lang=de"}
AUTHORIZATION = {"Authorization": "Basic YTpi"}
BOTH = {**COOKIE, **AUTHORIZATION}
API_KEY = {"X-API-Key": "k"}
FRESH, BYPASS, STALE = Decision.FRESH, Decision.BYPASS, Decision.STALE


@pytest.mark.parametrize(
    ("settings", "status", "directives", "credentials", "decision"),
    [
        (PLAIN, 200, "max-age=60", {}, FRESH),
        (PLAIN, 200, "max-age=60", COOKIE, BYPASS),
        (PLAIN, 200, "max-age=60", AUTHORIZATION, BYPASS),
        (PLAIN, 200, "max-age=60", API_KEY, BYPASS),
        (PLAIN, 200, "public, max-age=60", COOKIE, FRESH),
        (PLAIN, 200, "public, max-age=60", BOTH, FRESH),
        (PLAIN, 200, "s-maxage=60", {**BOTH, **API_KEY}, FRESH),
        (PLAIN, 200, "max-age=60, must-revalidate", AUTHORIZATION, BYPASS),
        (MUST_REVALIDATE, 200, "max-age=60, must-revalidate", AUTHORIZATION, FRESH),
        (MUST_REVALIDATE, 200, "max-age=60, must-revalidate", COOKIE, BYPASS),
        (MUST_REVALIDATE, 200, "max-age=60, must-revalidate", BOTH, BYPASS),
        (COOKIES_IGNORED, 200, "max-age=60", COOKIE, FRESH),
        (COOKIES_IGNORED, 200, "max-age=60", AUTHORIZATION, BYPASS),
        (COOKIES_IGNORED, 200, "max-age=60", BOTH, BYPASS),
        (COOKIES_IGNORED, 200, "max-age=60", API_KEY, BYPASS),
        (Settings(credential_fields=["X-User"]), 200, "max-age=60", AUTHORIZATION, BYPASS),
        (Settings(credential_fields=["X-User"]), 200, "max-age=60", COOKIE, BYPASS),
        # Under a rule with a TTL: one answer for everybody, where it is an answer.
        (ANONYMOUS, 200, "max-age=60", {**BOTH, **API_KEY}, FRESH),
        (ANONYMOUS, 404, "max-age=60", {}, FRESH),
        (ANONYMOUS, 404, "max-age=60", COOKIE, BYPASS),
        (ANONYMOUS, 404, "public, max-age=60", COOKIE, FRESH),
        # A cookie that is keyed is no credential; beside one, it is.
        (KEYED_COOKIES, 404, "max-age=60", KEYED, FRESH),
        (KEYED_COOKIES, 404, "max-age=60", {"Cookie": "lang=de; sid=1"}, BYPASS),
        (KEYED_COOKIES, 404, "max-age=60", {**KEYED, **AUTHORIZATION}, BYPASS),
    ],
)
def test_who_is_answered(
    settings: Settings,
    status: int,
    directives: str,
    credentials: dict[str, str],
    decision: Decision,
) -> None:
    response = stored(respond_with(status, {"Cache-Control": directives}), settings)
    screened = looked_up(request(headers=credentials), settings)
    assert decide(screened, response, NOW) is decision
    assert decide(screened, response, NOW + 60) is STALE


def test_a_targeted_field_is_not_enough_for_authorization() -> None:
    response = stored(respond_with(200, {"ASGI-Cache-Control": "max-age=60"}))
    for credentials, decision in ((COOKIE, FRESH), (AUTHORIZATION, BYPASS), ({}, FRESH)):
        assert decide(looked_up(request(headers=credentials)), response, NOW) is decision


@pytest.mark.parametrize(
    ("seconds", "decision"), [(-9, FRESH), (0, FRESH), (59.9, FRESH), (60, STALE), (1e9, STALE)]
)
def test_freshness_ends(seconds: float, decision: Decision) -> None:
    response = stored(respond_with(200, {"Cache-Control": "max-age=60, stale-if-error=60"}))
    assert decide(looked_up(request()), response, NOW + seconds) is decision


# --- totality ---------------------------------------------------------------------------------

HOSTS = st.sampled_from([b"shop.example", b"a", b"", b"a b"])
FIELDS = st.dictionaries(
    st.one_of(
        st.sampled_from(
            [
                *(b"cookie", b"authorization", b"forwarded", b"x-host", b"range", b"if-match"),
                *(b"cache-control", b"content-length", b"accept-language", b"Cookie", b"x-a"),
            ]
        ),
        OCTETS,
    ),
    OCTETS,
    max_size=5,
)
EVERY_RULE = [
    PLAIN,
    under(ttl=60, cookies=["lang"], ignore_query=["a*"], languages=["de"]),
    under(ttl=60, anonymous=False, query=["a"]),
    Settings(key=lambda head: head.query, authorities=["shop.example"]),
]


@untimed
@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    scheme=TEXTS,
    root_path=TEXTS,
    path=TEXTS,
    raw_path=st.one_of(OCTETS, OCTETS.map(lambda octets: b"/" + octets)),
    query=OCTETS,
    fields=FIELDS,
    host=HOSTS,
)
def test_any_request_is_screened(
    method: str,
    scheme: str,
    root_path: str,
    path: str,
    raw_path: bytes,
    query: bytes,
    fields: dict[bytes, bytes],
    host: bytes,
) -> None:
    fields = {b"host": host, **fields}
    head = RequestHead(method, scheme, root_path, path, raw_path, query, fields)
    response = stored(respond_with(200, {"Cache-Control": "max-age=60"}))
    for settings in EVERY_RULE:
        screened = screen(head, settings)
        if isinstance(screened, Screened):
            decision = decide(screened, response, NOW)
            credentials = settings.plan.shape(tuple(fields)).credentials
            assert decision is FRESH or (decision is BYPASS and credentials)
            assert screened.key.startswith(screened.target + b"\0")
        else:
            assert screened is METHOD or screened.decision is BYPASS


# --- what is remembered of requests -----------------------------------------------------------

NEIGHBOURS: list[RequestHead] = [
    RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b"a"}),
    RequestHead("HEAD", "http", "", "/a", b"/a", b"", {b"host": b"a"}),
    RequestHead("POST", "http", "", "/a", b"/a", b"", {b"host": b"a"}),
    RequestHead("GET", "https", "", "/a", b"/a", b"", {b"host": b"a"}),
    RequestHead("GET", "http", "/r", "/a", b"/a", b"", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/b", b"/a", b"", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/a", b"/b", b"", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/a", b"/%61", b"", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/a", b"/a", b"a", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/a", b"/a", b"b", {b"host": b"a"}),
    RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b"b"}),
    RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b"A"}),
    RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b""}),
    RequestHead("GET", "http", "", "/a", b"/a", b"", {}),
    *[
        RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b"a", name: value})
        for name in (b"cookie", b"authorization", b"x-api-key", b"x-api_key", b"range", b"x")
        for value in (b"session=1", b"session=2", b"lang=en", b"lang=de", b"bytes=0-1")
    ],
    *[
        RequestHead("GET", "http", "", "/a", b"/a", b"", {b"host": b"a", name: value})
        for name in (b"x-forwarded-host", b"x-forwarded-hosu", b"if-match", b"cache-control")
        for value in (b"a", b"b", b"no-store")
    ],
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"authorities": ["a"]},
        {"paths": {"/a": 60}},
        {"paths": {"/a": {"ttl": 60, "cookies": ["lang"]}}},
        {"paths": {"/a": {"ttl": 60, "anonymous": False}}},
        {"paths": {"/a": {"ttl": 60, "query": ["q"]}, "/b": False}},
        {"key": lambda head: head.fields.get(b"x", b"")},
        {"honor_request_directives": True},
    ],
    ids=[*("plain", "authorities", "rule", "cookies", "not-anonymous", "query", "key", "asked")],
)
def test_what_is_remembered_is_what_would_be_found_anew(options: dict[str, Any]) -> None:
    """Whatever differs by one byte, a name or a value, is screened as if it came first."""
    warm = Settings(**options)
    for _ in range(4):
        for one in NEIGHBOURS:
            found, anew = screen(one, warm), screen(one, Settings(**options))
            if isinstance(found, Screened) and isinstance(anew, Screened):
                assert found.request is one
                # Rules compiled twice, and matches, are equal and not the same.
                assert repr(found._replace(asked=None)) == repr(anew._replace(asked=None))
                assert (found.asked is None) is (anew.asked is None)
            else:
                assert found == anew


def test_what_is_remembered_is_bounded() -> None:
    warm = Settings()
    for number in range(MEMO_LIMIT + 1):
        for _ in range(2):
            screen(request(f"/{number}"), warm)
        assert len(warm.plan.screened) <= MEMO_LIMIT
    assert len(warm.plan.screened) == 1
    # What a stranger can make long is not remembered.
    for _ in range(2):
        screen(request("/" + "x" * LONGEST_REMEMBERED), warm)
        screen(request("/x", headers={"x" * (LONGEST_SHAPE + 1): "1"}), warm)
    assert len(warm.plan.screened) == 1


def test_what_is_asked_but_once_pushes_out_nothing() -> None:
    warm = Settings()
    for _ in range(2):
        screen(request("/often"), warm)
    for number in range(3 * GLIMPSE_LIMIT):
        screen(request(f"/{number}"), warm)
    assert [path for _, _, _, path, *_ in warm.plan.screened] == ["/often"]
    # What has been seen so is bounded as well, and still does its work.
    for _ in range(2):
        screen(request("/again"), warm)
    assert len(warm.plan.screened) == 2


def test_what_folding_takes_out_of_a_query_is_not_held_either() -> None:
    """A key may have little of it."""
    warm = Settings(paths={"/x": Rule(ttl=60, query=["q"])})
    target = "/x?q=1&n=" + "x" * (LONGEST_REMEMBERED - 6)
    for longer in (target, target + "x"):
        for _ in range(2):
            screened = looked_up(request(longer), warm)
            assert screened.query == b"q=1"
    assert [len(query) for *_, query, _, _ in warm.plan.screened] == [LONGEST_REMEMBERED]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Decision.VARY_MISS),
        # What is stored by now may be fresh, but this request was to ask the app.
        (stored_response(fresh_until=NOW + 1), Decision.REQUEST),
        (stored_response(fresh_until=NOW), Decision.STALE),
        (stored_response(fresh_until=NOW, revalidate_until=NOW + 1), Decision.STALE),
    ],
)
def test_what_a_request_is_that_has_waited(found: Any, expected: Decision) -> None:
    decided = decide_again(looked_up(request()), found, Decision.REQUEST, Decision.VARY_MISS, NOW)
    assert decided is expected
