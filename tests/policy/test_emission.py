"""Decisions 6 and 9, RFC 9211: what the cache says by itself, and when it says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.fields import parse_directives, parse_entity_tag, serialize_token_or_string
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.emission import (
    forward_status,
    forwarded,
    generated_etag,
    growing_cache_control,
    with_length,
)
from asgi_cache.settings import Rule, Settings
from tests.policy.builders import (
    PLAIN,
    respond_with,
    stored,
    under,
    untimed,
)

if TYPE_CHECKING:
    from tests.policy.builders import Headers


def emitted(settings: Settings, headers: Headers | None = None) -> tuple[list[str], float | None]:
    """The lines of Cache-Control that the app did not send, and the seconds of one that grows."""
    result = stored(respond_with(200, headers), settings)
    return [value.decode() for _, value in result.lines[: result.emitted]], result.browser_ttl


@pytest.mark.parametrize(
    ("settings", "lines", "browser_ttl"),
    [
        (Settings(default_ttl=30), ["max-age=30"], None),
        (under(ttl=60), ["max-age=60"], None),
        (under(ttl=60.9), ["max-age=60"], None),
        (under(ttl=60, public=True), ["public, max-age=60"], None),
        (
            under(ttl=60, stale_while_revalidate=5, stale_if_error=6),
            ["max-age=60, stale-while-revalidate=5, stale-if-error=6"],
            None,
        ),
        (
            under(ttl=60, stale_while_revalidate=0, stale_if_error=6),
            ["max-age=60, stale-if-error=6"],
            None,
        ),
        # The settings' stale windows are for us, not for browsers.
        (Settings(default_ttl=30, stale_if_error=6), ["max-age=30"], None),
        (under(ttl=60, browser_ttl=9), [], 9),
        (under(ttl=60, browser_ttl=9, public=True), ["public"], 9),
        (under(ttl=60, browser_ttl=9, stale_if_error=6), ["stale-if-error=6"], 9),
        (under(ttl=60, browser_ttl=0), ["no-cache"], None),
        (under(ttl=60, browser_ttl=0, public=True), ["public, no-cache"], None),
        # No purge reaches a browser.
        (under(ttl=60, groups=["g"]), ["no-cache"], None),
        (under(ttl=60, groups=["g"], browser_ttl=9), [], 9),
        (under(ttl=60, groups=["g"], browser_ttl=0), ["no-cache"], None),
        # A cache behind us must know what the rule says the answers differ by.
        (under(ttl=60, vary=["X-A", "X-B"]), ["max-age=60", "X-A, X-B"], None),
        (
            under(ttl=60, cookies=["lang"], languages=["de"], vary=["X-A"]),
            ["max-age=60", "Cookie, Accept-Language, X-A"],
            None,
        ),
        (under(ttl=60, browser_ttl=0, vary=["X-A"]), ["no-cache", "X-A"], None),
        (under(ttl=60, browser_ttl=9, vary=["X-A"]), ["X-A"], 9),
    ],
)
def test_where_a_ttl_applied_and_the_app_was_silent(
    settings: Settings, lines: list[str], browser_ttl: float | None
) -> None:
    assert emitted(settings) == (lines, browser_ttl)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        # The app's own lifetime, or none of ours.
        (under(ttl=60), {"Cache-Control": "max-age=5"}),
        (under(ttl=60, browser_ttl=9), {"Expires": "Tue, 14 Nov 2023 22:14:20 GMT"}),
        (under(ttl=60), {"ASGI-Cache-Control": "max-age=5"}),
        (Settings(heuristic_fraction=0.1), {"Last-Modified": "Mon, 13 Nov 2023 22:13:20 GMT"}),
        # A TTL of ours, but the app said something.
        (under(ttl=60, browser_ttl=9), {"Cache-Control": "public"}),
        (under(ttl=60), {"Cache-Control": ""}),
        (under(ttl=60, override=True, browser_ttl=9), {"Cache-Control": "max-age=5"}),
        (under(ttl=60), {"ASGI-Cache-Control": "public"}),
    ],
)
def test_otherwise_nothing(settings: Settings, headers: Headers) -> None:
    assert emitted(settings, headers) == ([], None)


def test_a_targeted_field_that_does_not_parse_is_no_word() -> None:
    lines, _ = emitted(under(ttl=60), {"ASGI-Cache-Control": "(("})
    assert lines == ["max-age=60"]


def test_jitter_is_told() -> None:
    settings = Settings(default_ttl=100, ttl_jitter=0.5)
    assert stored(respond_with(200), settings, draw=0.5).lines == (
        (b"cache-control", b"max-age=75"),
    )


@pytest.mark.parametrize(
    ("browser_ttl", "age", "value"), [(9, 0, b"max-age=9"), (9.5, 3.7, b"max-age=13")]
)
def test_the_lifetime_of_browsers_counts_from_now(
    browser_ttl: float, age: float, value: bytes
) -> None:
    assert growing_cache_control(browser_ttl, age) == (b"cache-control", value)


@untimed
@given(
    rule=st.builds(
        Rule,
        ttl=st.floats(1, 2**31 - 1),
        browser_ttl=st.one_of(st.none(), st.floats(0, 2**31 - 1)),
        stale_if_error=st.one_of(st.none(), st.floats(0, 2**31 - 1)),
        public=st.booleans(),
        groups=st.sampled_from([[], ["g"]]),
    )
)
def test_what_is_said_can_be_read(rule: Rule) -> None:
    lines, browser_ttl = emitted(Settings(paths={"/x": rule}))
    values = [line.encode() for line in lines]
    if browser_ttl is not None:
        values.append(growing_cache_control(browser_ttl, 0)[1])
    directives = parse_directives(values)
    assert ("public" in directives) is rule.public
    seconds = directives.seconds("max-age")
    assert (seconds is None) is ("no-cache" in directives)
    assert seconds is None or seconds <= PLAIN.max_ttl or browser_ttl is not None


# --- Content-Length and ETag ------------------------------------------------------------------

LENGTH = (b"content-length", b"3")


@pytest.mark.parametrize(
    ("lines", "status", "expected"),
    [
        ((), 200, (LENGTH,)),
        (((b"x-a", b"1"),), 404, ((b"x-a", b"1"), LENGTH)),
        # One that is there is never repaired.
        (((b"content-length", b"7"),), 200, ((b"content-length", b"7"),)),
        ((), 204, ()),
        ((), 205, ()),
    ],
)
def test_length(
    lines: tuple[tuple[bytes, bytes], ...], status: int, expected: tuple[tuple[bytes, bytes], ...]
) -> None:
    assert with_length(lines, status, 3) == expected


def test_a_generated_etag_is_weak_and_the_same_everywhere() -> None:
    name, value = generated_etag(b"body")
    assert (name, value) == (b"etag", b'W/"06b721c380b2160c50903e9f6c636b28"')
    assert parse_entity_tag(value) == (True, b"06b721c380b2160c50903e9f6c636b28")
    assert generated_etag(b"body ") != generated_etag(b"body")


# --- Cache-Status (RFC 9211) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "refusal", "is_stored", "value"),
    [
        (Decision.URI_MISS, None, True, b"c; fwd=uri-miss; stored"),
        (Decision.URI_MISS, None, False, b"c; fwd=uri-miss"),
        (
            Decision.URI_MISS,
            Refusal.STORE_UNAVAILABLE,
            False,
            b"c; fwd=uri-miss; detail=store-unavailable",
        ),
        (Decision.VARY_MISS, Refusal.NO_STORE, False, b"c; fwd=vary-miss; detail=no-store"),
        (Decision.STALE, None, True, b"c; fwd=stale; stored"),
        (Decision.BYPASS, Refusal.HOST, False, b"c; fwd=bypass; detail=host"),
        (Decision.METHOD, None, False, None),
        (Decision.OFF, None, False, None),
    ],
)
def test_cache_status(
    decision: Decision, refusal: Refusal | None, is_stored: bool, value: bytes | None
) -> None:
    expected = None if value is None else (b"cache-status", value)
    assert forward_status(b"c", decision, refusal, is_stored) == expected


@pytest.mark.parametrize(
    ("decision", "refusal", "is_stored", "status", "value"),
    [
        (Decision.STALE, None, True, 304, b"fwd=stale; fwd-status=304; stored"),
        (Decision.REQUEST, None, False, 304, b"fwd=request; fwd-status=304"),
        (
            Decision.STALE,
            Refusal.NO_STORE,
            False,
            304,
            b"fwd=stale; fwd-status=304; detail=no-store",
        ),
        (Decision.STALE_ON_ERROR, None, False, 503, b"fwd=stale; fwd-status=503"),
        # An app that raised has answered nothing.
        (Decision.STALE_ON_ERROR, Refusal.FAILED, False, None, b"fwd=stale; detail=failed"),
        (Decision.FRESH, None, False, None, b"hit"),
    ],
)
def test_what_the_app_answered_where_the_client_gets_another_status(
    decision: Decision, refusal: Refusal | None, is_stored: bool, status: int | None, value: bytes
) -> None:
    assert forwarded(decision, refusal, is_stored, status=status) == value


@pytest.mark.parametrize(
    ("decision", "refusal", "is_stored", "collapsed", "value"),
    [
        (Decision.URI_MISS, None, True, None, b"c; fwd=uri-miss; stored"),
        (Decision.URI_MISS, None, False, True, b"c; fwd=uri-miss; collapsed"),
        (Decision.URI_MISS, None, True, False, b"c; fwd=uri-miss; stored; collapsed=?0"),
        (
            Decision.BYPASS,
            Refusal.PRIVATE,
            False,
            False,
            b"c; fwd=bypass; collapsed=?0; detail=private",
        ),
        (Decision.METHOD, None, False, False, None),
    ],
)
def test_cache_status_of_one_that_has_waited(
    decision: Decision,
    refusal: Refusal | None,
    is_stored: bool,
    collapsed: bool | None,
    value: bytes | None,
) -> None:
    """RFC 9211 §2.6: a boolean, which is true where another request's fill answered."""
    line = forward_status(b"c", decision, refusal, is_stored, collapsed=collapsed)
    assert line == (None if value is None else (b"cache-status", value))
    if line is not None:
        members: Any = http_sf.parse(line[1], tltype="list")
        ((_, parameters),) = members
        assert parameters.get("collapsed") is collapsed


@pytest.mark.parametrize("name", ["asgi-cache", "Our Cache; really"])
@pytest.mark.parametrize("refusal", [None, *Refusal])
def test_cache_status_is_a_structured_list(name: str, refusal: Refusal | None) -> None:
    line = forward_status(serialize_token_or_string(name), Decision.URI_MISS, refusal, True)
    assert line is not None
    members: Any = http_sf.parse(line[1], tltype="list")
    ((member, parameters),) = members
    assert str(member) == name
    assert str(parameters["fwd"]) == "uri-miss"
    assert parameters["stored"] is True
    assert refusal is None or str(parameters["detail"]) == refusal.label
