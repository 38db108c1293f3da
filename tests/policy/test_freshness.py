"""RFC 9111 §4.2, decision 6: whose lifetime counts, how long it is, how old a response is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.model import ResponseHead
from asgi_cache.policy import freshness
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.freshness import (
    HEURISTIC_STATUSES,
    Lifetime,
    caching_of,
    corrected_initial_age,
    may_be_stale,
    requires_validation,
    rule_statuses,
    stale_windows,
)
from asgi_cache.settings import Rule, Settings
from tests.policy.builders import (
    NOW,
    PLAIN,
    any_headers,
    outcome,
    respond_with,
    stored,
    under,
    untimed,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from tests.policy.builders import Headers

AT_NOW = "Tue, 14 Nov 2023 22:13:20 GMT"
MINUTE_AGO = "Tue, 14 Nov 2023 22:12:20 GMT"
IN_A_MINUTE = "Tue, 14 Nov 2023 22:14:20 GMT"
IN_TWO_MINUTES = "Tue, 14 Nov 2023 22:15:20 GMT"
DAY_AGO = "Mon, 13 Nov 2023 22:13:20 GMT"
THOUSAND_DAYS_AGO = "Wed, 17 Feb 2021 22:13:20 GMT"

RULE = Rule(ttl=30)
OVERRIDE = Rule(ttl=30, override=True)
HEURISTIC = Settings(heuristic_fraction=0.1)


def lifetime(
    status: int,
    headers: Headers,
    rule: Rule | None = None,
    settings: Settings = PLAIN,
    draw: float = 0.0,
) -> Lifetime | None:
    head = respond_with(status, headers)
    return freshness.lifetime_of(head, caching_of(head, settings), rule, settings, NOW, draw)


# --- whose lifetime counts --------------------------------------------------------------------

EVERYTHING = {
    "ASGI-Cache-Control": "max-age=10",
    "Cache-Control": "s-maxage=20, max-age=40",
    "Expires": IN_A_MINUTE,
    "Last-Modified": DAY_AGO,
}
EVERY_SETTING = Settings(default_ttl=50, heuristic_fraction=0.01)


def without(*names: str, control: str | None = None) -> dict[str, str]:
    """``EVERYTHING`` but for *names*, with another Cache-Control."""
    headers = {name: value for name, value in EVERYTHING.items() if name not in names}
    return headers if control is None else {**headers, "Cache-Control": control}


@pytest.mark.parametrize(
    ("headers", "rule", "settings", "expected"),
    [
        (EVERYTHING, RULE, EVERY_SETTING, Lifetime(10, False)),
        (without("ASGI-Cache-Control"), RULE, EVERY_SETTING, Lifetime(20, False)),
        (
            without("ASGI-Cache-Control", control="max-age=40"),
            RULE,
            EVERY_SETTING,
            Lifetime(40, False),
        ),
        (without("ASGI-Cache-Control", "Cache-Control"), RULE, EVERY_SETTING, Lifetime(60, False)),
        ({"Last-Modified": DAY_AGO}, RULE, EVERY_SETTING, Lifetime(30, True)),
        ({"Last-Modified": DAY_AGO}, Rule(), EVERY_SETTING, Lifetime(50, True)),
        ({"Last-Modified": DAY_AGO}, None, EVERY_SETTING, Lifetime(50, True)),
        ({"Last-Modified": DAY_AGO}, None, HEURISTIC, Lifetime(8640, False)),
        ({"Last-Modified": DAY_AGO}, None, PLAIN, None),
        ({}, None, HEURISTIC, None),
        # override: the rule's before whatever the app said, where the rule has one.
        (EVERYTHING, OVERRIDE, EVERY_SETTING, Lifetime(30, True)),
        ({"Cache-Control": "max-age=0"}, OVERRIDE, PLAIN, Lifetime(30, True)),
        (EVERYTHING, Rule(override=True), EVERY_SETTING, Lifetime(10, False)),
        # An explicit 0 is explicit.
        ({"Cache-Control": "max-age=0"}, RULE, EVERY_SETTING, Lifetime(0, False)),
        ({"Expires": "0"}, RULE, EVERY_SETTING, Lifetime(0, False)),
        ({"Cache-Control": "public"}, RULE, PLAIN, Lifetime(30, True)),
    ],
)
def test_precedence(
    headers: Headers, rule: Rule | None, settings: Settings, expected: Lifetime | None
) -> None:
    assert lifetime(200, headers, rule, settings) == expected


def test_a_ttl_is_not_for_other_statuses() -> None:
    assert lifetime(404, {}, RULE) is None
    assert lifetime(404, {}, Rule(ttl=30, statuses=[404])) == Lifetime(30, True)
    assert lifetime(404, {"Cache-Control": "max-age=5"}, OVERRIDE) == Lifetime(5, False)
    assert lifetime(404, {"Last-Modified": DAY_AGO}, RULE, HEURISTIC) == Lifetime(8640, False)
    assert rule_statuses(None) == rule_statuses(RULE) == {200, 203, 300, 301, 308}
    assert rule_statuses(Rule(statuses=[404])) == {200, 203, 300, 301, 308, 404}


@pytest.mark.parametrize(
    ("headers", "rule", "settings"),
    [
        ({"Cache-Control": "max-age=60"}, None, Settings(max_ttl=7)),
        ({"Cache-Control": "max-age=99999999999999999999"}, None, Settings(max_ttl=7)),
        ({"Expires": IN_A_MINUTE}, None, Settings(max_ttl=7)),
        ({}, RULE, Settings(max_ttl=7)),
        ({"Cache-Control": "max-age=60"}, OVERRIDE, Settings(max_ttl=7)),
        ({}, None, Settings(max_ttl=7, default_ttl=60)),
        ({"Last-Modified": DAY_AGO}, None, Settings(max_ttl=7, heuristic_fraction=1)),
    ],
)
def test_max_ttl_caps_all(headers: Headers, rule: Rule | None, settings: Settings) -> None:
    found = lifetime(200, headers, rule, settings)
    assert found is not None
    assert found.seconds == 7


@pytest.mark.parametrize(
    ("headers", "rule", "draw", "seconds"),
    [
        ({}, Rule(ttl=100), 0.0, 100),
        ({}, Rule(ttl=100), 0.5, 90),
        ({}, None, 0.5, 45),
        ({"Cache-Control": "max-age=100"}, None, 0.5, 100),
        ({"Cache-Control": "max-age=100"}, Rule(ttl=10, override=True), 0.5, 9),
    ],
)
def test_jitter_shortens_only_what_a_setting_granted(
    headers: Headers, rule: Rule | None, draw: float, seconds: float
) -> None:
    settings = Settings(ttl_jitter=0.2, default_ttl=50)
    found = lifetime(200, headers, rule, settings, draw)
    assert found is not None
    assert found.seconds == pytest.approx(seconds)


# --- explicit lifetimes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # Several: the most restrictive; malformed: 0 (§4.2.1).
        ([("Cache-Control", "max-age=60, max-age=20")], 20),
        ([("Cache-Control", "max-age=20"), ("Cache-Control", "max-age=60")], 20),
        ([("Cache-Control", "max-age=60, s-maxage=x")], 0),
        ([("Cache-Control", "max-age=-1")], 0),
        ([("Cache-Control", "max-age=1.5")], 0),
        ([("Cache-Control", "max-age")], 0),
        ([("Cache-Control", 'max-age="60"')], 60),
        # Expires minus Date, or minus the time of the response.
        ([("Expires", IN_A_MINUTE)], 60),
        ([("Expires", IN_A_MINUTE), ("Date", AT_NOW)], 60),
        ([("Expires", IN_A_MINUTE), ("Date", MINUTE_AGO)], 120),
        ([("Expires", IN_A_MINUTE), ("Date", "then")], 60),
        ([("Expires", IN_A_MINUTE), ("Date", AT_NOW), ("Date", MINUTE_AGO)], 60),
        ([("Expires", "Tuesday, 14-Nov-23 22:14:20 GMT")], 60),
        ([("Expires", "Tue Nov 14 22:14:20 2023")], 60),
        ([("Expires", MINUTE_AGO)], 0),
        ([("Expires", "0")], 0),
        ([("Expires", "")], 0),
        ([("Expires", "-1")], 0),
        ([("Expires", IN_A_MINUTE), ("Expires", IN_A_MINUTE)], 0),
        # A targeted field replaces Cache-Control and Expires (RFC 9213).
        ([("ASGI-Cache-Control", "max-age=5"), ("Expires", IN_A_MINUTE)], 5),
        ([("ASGI-Cache-Control", "s-maxage=5, max-age=6")], 5),
        ([("ASGI-Cache-Control", "public"), ("Expires", IN_A_MINUTE)], None),
        ([("ASGI-Cache-Control", "public"), ("Cache-Control", "max-age=9")], None),
        # One that is empty, unparsable or of the wrong types counts as absent.
        ([("ASGI-Cache-Control", ""), ("Cache-Control", "max-age=9")], 9),
        ([("ASGI-Cache-Control", "max-age="), ("Cache-Control", "max-age=9")], 9),
        ([("ASGI-Cache-Control", 'max-age="5"'), ("Cache-Control", "max-age=9")], 9),
        # One that is not on the list passes by.
        ([("CDN-Cache-Control", "max-age=5"), ("Cache-Control", "max-age=9")], 9),
    ],
)
def test_explicit_lifetimes(headers: Headers, seconds: int | None) -> None:
    found = lifetime(200, headers)
    assert (None if found is None else found.seconds) == seconds


def test_the_first_targeted_field_that_is_valid_counts() -> None:
    settings = Settings(targeted_fields=["A-Cache-Control", "B-Cache-Control"])
    head = respond_with(200, {"B-Cache-Control": "max-age=2", "A-Cache-Control": "max-age=1"})
    assert caching_of(head, settings).directives.seconds("max-age") == 1
    head = respond_with(200, {"B-Cache-Control": "max-age=2", "A-Cache-Control": "(("})
    assert caching_of(head, settings).directives.seconds("max-age") == 2


@pytest.mark.parametrize(
    ("headers", "targeted", "silent"),
    [
        ({}, False, True),
        ({"Cache-Control": ""}, False, False),
        ({"Cache-Control": "public"}, False, False),
        ({"Expires": "0"}, False, False),
        ({"ASGI-Cache-Control": "public"}, True, False),
        ({"ASGI-Cache-Control": "(("}, False, True),
    ],
)
def test_what_was_said_at_all(headers: Headers, targeted: bool, silent: bool) -> None:
    caching = caching_of(respond_with(200, headers), PLAIN)
    assert (caching.targeted, caching.silent) == (targeted, silent)


@pytest.mark.parametrize("status", sorted(HEURISTIC_STATUSES))
@pytest.mark.parametrize("settings", [PLAIN, HEURISTIC])
def test_no_cache_without_a_lifetime_is_for_validation(status: int, settings: Settings) -> None:
    headers = {"Cache-Control": "no-cache", "Last-Modified": DAY_AGO}
    assert lifetime(status, headers, None, settings) == Lifetime(0, False)
    result = stored(respond_with(status, headers), settings)
    assert result.fresh_until == result.generated_at
    assert not result.may_be_stale


@pytest.mark.parametrize("status", [201, 302, 303, 307, 400, 401, 500])
def test_but_not_for_statuses_without_heuristics(status: int) -> None:
    assert lifetime(status, {"Cache-Control": "no-cache"}) is None
    # Qualified, it is about some fields only.
    assert lifetime(200, {"Cache-Control": 'no-cache="x-a"'}) is None


def test_no_cache_is_not_fresh_at_all() -> None:
    headers = {"Cache-Control": "no-cache, max-age=60"}
    for settings in (PLAIN, under(ttl=60, override=True), Settings(stale_if_error=60)):
        # Where nothing can validate it, it is of no use.
        assert outcome(respond_with(200, headers), settings) is Refusal.NO_LIFETIME
        result = stored(respond_with(200, {**headers, "ETag": '"a"'}), settings)
        assert result.fresh_until == result.generated_at == NOW
        assert result.error_until == result.revalidate_until == NOW
        assert not result.may_be_stale


# --- heuristics (§4.2.2) ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {"Last-Modified": DAY_AGO}, 8640),
        (204, {"Last-Modified": DAY_AGO}, 8640),
        (410, {"Last-Modified": DAY_AGO}, 8640),
        (201, {"Last-Modified": DAY_AGO}, None),
        (302, {"Last-Modified": DAY_AGO}, None),
        (302, {"Last-Modified": DAY_AGO, "Cache-Control": "public"}, 8640),
        (200, {"Last-Modified": THOUSAND_DAYS_AGO}, 86_400),
        (200, {"Last-Modified": IN_A_MINUTE}, 0),
        (200, {"Last-Modified": "yesterday"}, None),
        (200, [("Last-Modified", DAY_AGO), ("Last-Modified", DAY_AGO)], None),
    ],
)
def test_heuristics(status: int, headers: Headers, seconds: float | None) -> None:
    found = lifetime(status, headers, None, HEURISTIC)
    assert (None if found is None else found.seconds) == seconds
    assert found is None or not found.granted
    assert lifetime(status, headers) is None


# --- age (§4.2.3) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "delay", "age"),
    [
        # The app is the origin: without Age and Date nothing has passed on the way.
        ({}, 0, 0),
        ({}, 5, 0),
        ({"Date": AT_NOW}, 0, 0),
        ({"Date": AT_NOW}, 5, 5),
        ({"Date": MINUTE_AGO}, 0, 60),
        ({"Date": MINUTE_AGO}, 5, 60),
        ({"Date": IN_A_MINUTE}, 0, 0),
        ({"Date": "then"}, 5, 5),
        ([("Date", MINUTE_AGO), ("Date", MINUTE_AGO)], 5, 5),
        ({"Age": "7"}, 0, 7),
        ({"Age": "7"}, 5, 12),
        ({"Age": "7", "Date": MINUTE_AGO}, 5, 60),
        ({"Age": "70", "Date": MINUTE_AGO}, 5, 75),
        ({"Age": "7"}, -5, 7),
        ([("Age", "7"), ("Age", "9")], 0, 7),
        ({"Age": "7, 9"}, 0, 7),
        ({"Age": "-7"}, 0, 0),
        ({"Age": "old"}, 5, 5),
        ({"Age": "9" * 40}, 0, 2**31),
    ],
)
def test_corrected_initial_age(headers: Headers, delay: float, age: float) -> None:
    assert corrected_initial_age(respond_with(200, headers), NOW - delay, NOW) == age


def test_what_is_left_of_a_lifetime() -> None:
    headers = {"Cache-Control": "max-age=60", "Age": "20"}
    result = stored(respond_with(200, headers), started=NOW - 1, at=NOW)
    assert (result.generated_at, result.fresh_until) == (NOW - 21, NOW + 39)
    # From Expires the same: it counts from Date.
    headers = {"Expires": IN_TWO_MINUTES, "Date": MINUTE_AGO}
    result = stored(respond_with(200, headers))
    assert (result.generated_at, result.fresh_until) == (NOW - 60, NOW + 120)


# --- stale use (§4.2.4, RFC 5861) -------------------------------------------------------------

WINDOWS = Settings(stale_while_revalidate=1, stale_if_error=2)
RULE_WINDOWS = Rule(stale_while_revalidate=3, stale_if_error=4)


@pytest.mark.parametrize(
    ("directives", "rule", "settings", "windows"),
    [
        ("max-age=9", None, PLAIN, (0, 0)),
        ("max-age=9", None, WINDOWS, (1, 2)),
        ("max-age=9", RULE_WINDOWS, WINDOWS, (3, 4)),
        ("max-age=9", Rule(stale_while_revalidate=0), WINDOWS, (0, 2)),
        ("stale-while-revalidate=5, stale-if-error=6", RULE_WINDOWS, WINDOWS, (5, 6)),
        ("stale-while-revalidate=5", RULE_WINDOWS, WINDOWS, (5, 4)),
        ("stale-if-error=6", None, WINDOWS, (1, 6)),
        ("stale-if-error=-6, stale-while-revalidate=0", RULE_WINDOWS, WINDOWS, (0, 0)),
        ("must-revalidate, stale-if-error=6", RULE_WINDOWS, WINDOWS, (0, 0)),
        ("Proxy-Revalidate", RULE_WINDOWS, WINDOWS, (0, 0)),
        ("s-maxage=9", RULE_WINDOWS, WINDOWS, (0, 0)),
        ("no-cache", RULE_WINDOWS, WINDOWS, (0, 0)),
        ('no-cache="x"', RULE_WINDOWS, WINDOWS, (3, 4)),
    ],
)
def test_stale_windows(
    directives: str, rule: Rule | None, settings: Settings, windows: tuple[float, float]
) -> None:
    caching = caching_of(respond_with(200, {"Cache-Control": directives}), settings)
    assert stale_windows(caching, rule, settings) == windows
    forbidden = windows == (0, 0) and settings is WINDOWS and "-6" not in directives
    assert may_be_stale(caching) is not forbidden
    assert requires_validation(caching) is (directives == "no-cache")


def test_stale_windows_count_from_the_end_of_freshness() -> None:
    headers = {"Cache-Control": "max-age=60, stale-while-revalidate=5, stale-if-error=6"}
    result = stored(respond_with(200, headers))
    assert (result.revalidate_until, result.error_until) == (NOW + 65, NOW + 66)
    assert result.may_be_stale
    headers = {"Cache-Control": "max-age=60, must-revalidate, stale-if-error=6"}
    result = stored(respond_with(200, headers))
    assert (result.revalidate_until, result.error_until) == (NOW + 60, NOW + 60)
    assert not result.may_be_stale


# --- totality ---------------------------------------------------------------------------------


@untimed
@given(
    lines=any_headers([b"cache-control", b"asgi-cache-control", b"expires", b"date", b"age"]),
    rule=st.sampled_from([None, RULE, OVERRIDE]),
    settings=st.sampled_from([PLAIN, EVERY_SETTING]),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_whatever_was_sent_has_a_lifetime_and_an_age(
    lines: tuple[Line, ...], rule: Rule | None, settings: Settings, draw: float
) -> None:
    head = ResponseHead(200, lines)
    caching = caching_of(head, settings)
    found = freshness.lifetime_of(head, caching, rule, settings, NOW, draw)
    assert found is None or 0 <= found.seconds <= settings.max_ttl
    assert corrected_initial_age(head, NOW - 1, NOW) >= 0
    assert min(stale_windows(caching, rule, settings)) >= 0
