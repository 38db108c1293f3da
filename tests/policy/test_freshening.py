"""RFC 9111 §3.2, §4.3.1, §4.3.4 and §4.3.5: asking the app whether what is stored still holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.fields import format_date
from asgi_cache.model import ResponseHead, StoredResponse
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.emission import generated_etag
from asgi_cache.policy.reuse import CLOCK_SLACK
from asgi_cache.policy.validation import (
    ERROR_STATUSES,
    OF_THE_BODY,
    conditional_fields,
    freshened,
    freshened_by_head,
    is_comparable,
    readmit,
    usable_on_error,
)
from asgi_cache.settings import Rule, Settings
from tests.policy.builders import (
    NOW,
    PLAIN,
    any_headers,
    exchange_of,
    lines_of,
    request,
    respond_with,
    stored,
    under,
    untimed,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from tests.policy.builders import Headers

AT_NOW = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
LATER = "Tue, 14 Nov 2023 22:13:50 GMT"
OLD_STYLE = "Tuesday, 14-Nov-23 22:13:20 GMT"
FRESH = ("Cache-Control", "max-age=60")
BODY = b"abc"


def before(
    *headers: tuple[str, str], status: int = 200, settings: Settings = PLAIN
) -> StoredResponse:
    """A response that was stored at ``NOW``."""
    return replace(stored(respond_with(status, [*headers, FRESH]), settings), body=BODY)


# --- our own condition (§4.3.1) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "fields"),
    [
        (200, [], {}),
        (200, [("ETag", '"a"')], {"If-None-Match": '"a"'}),
        (200, [("ETag", 'W/"a"')], {"If-None-Match": 'W/"a"'}),
        (200, [("Last-Modified", AT_NOW)], {"If-Modified-Since": AT_NOW}),
        (
            200,
            [("Last-Modified", AT_NOW), ("ETag", '"a"')],
            {"If-None-Match": '"a"', "If-Modified-Since": AT_NOW},
        ),
        # As the app sent it: it may compare bytes.
        (200, [("ETag", ' "a"\t')], {"If-None-Match": ' "a"\t'}),
        (200, [("Last-Modified", OLD_STYLE)], {"If-Modified-Since": OLD_STYLE}),
        # What is no validator is none here.
        (200, [("ETag", "a")], {}),
        (200, [("ETag", '"a"'), ("ETag", '"a"')], {}),
        (200, [("Last-Modified", "then")], {}),
        # A 304 stands for a 2xx only (RFC 9110 §15.4.5).
        (204, [("ETag", '"a"')], {"If-None-Match": '"a"'}),
        (299, [("ETag", '"a"')], {"If-None-Match": '"a"'}),
        (300, [("ETag", '"a"')], {}),
        (404, [("ETag", '"a"'), ("Last-Modified", AT_NOW)], {}),
    ],
)
def test_the_condition_is_what_the_app_can_compare(
    status: int, headers: list[tuple[str, str]], fields: Headers
) -> None:
    assert conditional_fields(before(*headers, status=status)) == lines_of(fields)


def test_a_status_below_success_has_no_condition() -> None:
    # Nothing stores one; the bound is the verb's own.
    tagged = before(("ETag", '"a"'))
    assert conditional_fields(replace(tagged, status=199)) == ()


def test_a_validator_without_its_line_is_no_condition() -> None:
    # Only whoever writes to the store can make such a record.
    whole = before(("ETag", '"a"'), ("Last-Modified", AT_NOW))
    assert len(conditional_fields(whole)) == 2
    assert conditional_fields(replace(whole, lines=())) == ()


def test_a_generated_tag_is_never_put_to_the_app() -> None:
    name, value = generated_etag(BODY)
    plain = before()
    assert conditional_fields(replace(plain, lines=(*plain.lines, (name, value)), etag=value)) == ()
    dated = before(("Last-Modified", AT_NOW))
    with_tag = replace(dated, lines=(*dated.lines, (name, value)), etag=value)
    assert conditional_fields(with_tag) == lines_of({"If-Modified-Since": AT_NOW})


def test_the_condition_skips_lines_of_ours() -> None:
    tagged = replace(stored(respond_with(200, {"ETag": '"a"'}), under(ttl=60)), body=BODY)
    assert tagged.emitted == 1
    assert conditional_fields(tagged) == lines_of({"If-None-Match": '"a"'})


# --- freshened by a 304 (§3.2, §4.3.4) --------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "said", "becomes"),
    [
        # Every field that comes takes the place of all lines of its name; the others stay.
        (
            [("X-A", "1"), ("X-B", "2"), ("X-A", "3")],
            [("X-A", "9")],
            [("X-B", "2"), FRESH, ("X-A", "9")],
        ),
        (
            [("X-B", "2")],
            [("X-A", "1"), ("X-A", "2")],
            [("X-B", "2"), FRESH, *[("X-A", "1"), ("X-A", "2")]],
        ),
        ([], [("Cache-Control", "no-cache")], [("Cache-Control", "no-cache")]),
        ([("Vary", "a")], [("Vary", "b")], [FRESH, ("Vary", "b")]),
        # A Date that does not come is the moment of receipt, where there was one.
        ([("Date", EARLIER)], [("Date", AT_NOW)], [FRESH, ("Date", AT_NOW)]),
        ([("X-A", "1"), ("Date", EARLIER)], [], [("X-A", "1"), ("Date", LATER), FRESH]),
        ([], [("Date", AT_NOW)], [FRESH, ("Date", AT_NOW)]),
        ([], [], [FRESH]),
    ],
)
def test_what_a_304_replaces(was: Headers, said: Headers, becomes: Headers) -> None:
    head = freshened(before(*was), respond_with(304, said), NOW + 30)
    assert head == ResponseHead(200, lines_of(becomes))


@pytest.mark.parametrize("name", sorted(OF_THE_BODY - {b"etag", b"content-length"}))
def test_a_304_changes_nothing_that_the_body_depends_on(name: bytes) -> None:
    response = before((name.decode(), "was"))
    head = freshened(response, respond_with(304, {name.decode(): "said", "X-A": "1"}), NOW)
    assert head is not None
    assert head.values(name) == (b"was",)
    # Nor brings it what it never had.
    head = freshened(before(), respond_with(304, {name.decode(): "said"}), NOW)
    assert head is not None
    assert head.values(name) == ()


def test_nor_its_length_nor_its_tag() -> None:
    response = before(("Content-Length", "3"), ("ETag", 'W/"a"'))
    head = freshened(response, respond_with(304, {"Content-Length": "0", "ETag": 'W/"a"'}), NOW)
    assert head is not None
    assert head.values(b"content-length") == (b"3",)
    assert head.values(b"etag") == (b'W/"a"',)


def test_what_we_said_before_is_said_anew() -> None:
    settings = under(ttl=60)
    response = stored(respond_with(200, {"X-A": "1"}), settings)
    assert response.lines[: response.emitted] == lines_of({"Cache-Control": "max-age=60"})
    head = freshened(response, respond_with(304), NOW)
    assert head == respond_with(200, {"X-A": "1"})


@pytest.mark.parametrize(
    ("was", "said", "same"),
    [
        ({}, {}, True),
        ({"ETag": '"a"'}, {}, True),
        ({"ETag": '"a"'}, {"ETag": '"a"'}, True),
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"a"'}, True),
        ({"ETag": '"a"'}, {"ETag": 'W/"a"'}, True),
        ({"ETag": '"a"'}, {"ETag": '"b"'}, False),
        ({"ETag": '"a"'}, {"ETag": "a"}, False),
        ({"ETag": '"a"'}, [("ETag", '"a"'), ("ETag", '"b"')], False),
        ({}, {"ETag": '"a"'}, False),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": AT_NOW}, True),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": OLD_STYLE}, True),
        ({"Last-Modified": AT_NOW}, {}, True),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": EARLIER}, False),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": LATER}, False),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": "then"}, False),
        ({}, {"Last-Modified": AT_NOW}, False),
        # Each that comes must be the stored one, unless a strong tag has decided.
        (
            {"ETag": '"a"', "Last-Modified": AT_NOW},
            {"ETag": '"a"', "Last-Modified": LATER},
            True,
        ),
        (
            {"ETag": 'W/"a"', "Last-Modified": AT_NOW},
            {"ETag": '"a"', "Last-Modified": LATER},
            False,
        ),
        (
            {"ETag": '"a"', "Last-Modified": AT_NOW},
            {"ETag": 'W/"a"', "Last-Modified": LATER},
            False,
        ),
        (
            {"ETag": '"a"', "Last-Modified": AT_NOW},
            {"ETag": '"b"', "Last-Modified": AT_NOW},
            False,
        ),
    ],
)
def test_a_304_about_another_representation_freshens_nothing(
    was: dict[str, str], said: Headers, same: bool
) -> None:
    head = freshened(before(*was.items()), respond_with(304, said), NOW)
    assert (head is not None) is same


@untimed
@given(lines=any_headers([b"etag", b"last-modified", b"date", b"content-length", b"cache-control"]))
def test_whatever_a_304_says(lines: tuple[Line, ...]) -> None:
    response = before(("ETag", '"a"'), ("X-A", "1"))
    for head in (freshened(response, ResponseHead(304, lines), NOW),):
        if head is not None:
            assert head.status == 200
            assert head.values(b"etag") == (b'"a"',)
            said = [value for name, value in lines if name == b"x-a"]
            assert head.values(b"x-a") == (tuple(said) or (b"1",))


# --- admitted again ---------------------------------------------------------------------------


def readmitted(
    response: StoredResponse,
    said: Headers,
    settings: Settings = PLAIN,
    rule: Rule | None = None,
    *,
    credentials: dict[str, str] | None = None,
) -> StoredResponse | Refusal:
    head = freshened(response, respond_with(304, said), NOW + 30)
    assert head is not None
    exchange = exchange_of(
        request(headers=credentials or {}), settings, started=NOW + 30, at=NOW + 30
    )
    return readmit(exchange, head, settings, rule, response)


def test_a_freshened_response_starts_anew() -> None:
    response = before(("ETag", '"a"'))
    found = readmitted(response, {"Cache-Control": "max-age=10, stale-if-error=5"})
    assert isinstance(found, StoredResponse)
    assert (found.generated_at, found.fresh_until) == (NOW + 30, NOW + 40)
    assert (found.error_until, found.body) == (NOW + 45, BODY)
    # Without a word of it, by the lifetime that it had.
    found = readmitted(response, {})
    assert isinstance(found, StoredResponse)
    assert (found.generated_at, found.fresh_until) == (NOW + 30, NOW + 90)


def test_age_is_that_of_the_304() -> None:
    found = readmitted(before(("ETag", '"a"'), ("Age", "50")), {"Age": "7"})
    assert isinstance(found, StoredResponse)
    assert found.generated_at == NOW + 23


def test_its_length_is_that_of_its_body() -> None:
    found = readmitted(before(), {"X-A": "1"})
    assert isinstance(found, StoredResponse)
    assert (b"content-length", b"3") in found.lines
    found = readmitted(before(("Content-Length", "3")), {})
    assert isinstance(found, StoredResponse)
    assert found.lines.count((b"content-length", b"3")) == 1


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("authorized", [True, False])
def test_a_304_may_narrow_whom_it_may_answer_but_not_widen_it(
    shared: bool, authorized: bool
) -> None:
    response = replace(before(), explicitly_shared=shared, authorized_reuse=authorized)
    for said, says in (
        ({"Cache-Control": "public, max-age=9"}, True),
        ({"Cache-Control": "max-age=9"}, False),
        ({}, False),
    ):
        found = readmitted(response, said)
        assert isinstance(found, StoredResponse)
        assert found.explicitly_shared is (shared and says)
        assert found.authorized_reuse is (authorized and says)


def test_what_we_emit_is_emitted_once() -> None:
    settings = under(ttl=60)
    response = stored(respond_with(200, {"X-A": "1"}), settings)
    rule = settings.paths["/{rest:path}"]
    assert isinstance(rule, Rule)
    found = readmitted(response, {}, settings, rule)
    assert isinstance(found, StoredResponse)
    assert found.emitted == 1
    assert [name for name, _ in found.lines].count(b"cache-control") == 1
    # Where the 304 says it itself, we say nothing any more.
    found = readmitted(response, {"Cache-Control": "max-age=9"}, settings, rule)
    assert isinstance(found, StoredResponse)
    assert (found.emitted, found.browser_ttl) == (0, None)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"Cache-Control": "no-store"}, Refusal.NO_STORE),
        ({"Cache-Control": "private"}, Refusal.PRIVATE),
        ({"Set-Cookie": "a=b"}, Refusal.SET_COOKIE),
        ({"Vary": "*"}, Refusal.VARY_ANY),
        ({"Cache-Control": "max-age=0"}, Refusal.NO_LIFETIME),
    ],
)
def test_a_304_may_say_that_it_is_not_to_be_stored_any_longer(
    said: Headers, refusal: Refusal
) -> None:
    assert readmitted(before(), said) is refusal


# --- freshened by a HEAD (§4.3.5) -------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "status", "said", "same"),
    [
        ([], 200, {"Content-Length": "3"}, True),
        ([], 200, {"Content-Length": "4"}, False),
        ([], 200, {"Content-Length": "03"}, False),
        ([], 200, [("Content-Length", "3"), ("Content-Length", "3")], False),
        ([("ETag", '"a"')], 200, {"ETag": '"a"'}, True),
        ([("ETag", '"a"')], 200, {"ETag": '"b"'}, False),
        ([("ETag", '"a"')], 200, {"ETag": '"a"', "Content-Length": "4"}, False),
        ([("ETag", '"a"')], 200, {"ETag": '"b"', "Content-Length": "3"}, False),
        ([("Last-Modified", AT_NOW)], 200, {"Last-Modified": AT_NOW}, True),
        ([("Last-Modified", AT_NOW)], 200, {"Last-Modified": LATER}, False),
        ([("ETag", '"a"')], 203, {"ETag": '"a"'}, False),
        ([("ETag", '"a"')], 404, {"ETag": '"a"'}, False),
    ],
)
def test_a_head_that_agrees_freshens(
    was: list[tuple[str, str]], status: int, said: Headers, same: bool
) -> None:
    head = freshened_by_head(before(*was), respond_with(status, said), NOW)
    assert (head is not None) is same


def test_its_fields_take_the_place_of_the_stored_ones() -> None:
    response = before(("X-A", "1"), ("Content-Encoding", "br"))
    said = {"X-A": "2", "X-B": "3", "Content-Length": "3", "Content-Encoding": "gzip"}
    assert freshened_by_head(response, respond_with(200, said), NOW) == respond_with(
        200, [("Content-Encoding", "br"), FRESH, ("X-A", "2"), ("X-B", "3")]
    )


@pytest.mark.parametrize(
    ("was", "headers", "comparable"),
    [
        ({"ETag": '"a"'}, {}, False),
        ({"ETag": '"a"'}, {"Date": AT_NOW, "X-A": "1"}, False),
        ({"ETag": '"a"'}, {"Content-Length": "3"}, False),
        ({"ETag": '"a"'}, {"X-A": "1", "ETag": '"a"'}, True),
        ({"ETag": '"a"'}, {"Last-Modified": AT_NOW}, False),
        ({"Last-Modified": AT_NOW}, {"Last-Modified": AT_NOW}, True),
        ({"Last-Modified": AT_NOW}, {"ETag": '"a"'}, False),
        ({}, {"ETag": '"a"', "Last-Modified": AT_NOW, "Content-Length": "3"}, False),
    ],
)
def test_a_head_without_a_validator_to_compare_says_nothing(
    was: Headers, headers: Headers, comparable: bool
) -> None:
    assert is_comparable(before(*dict(was).items()), respond_with(200, headers)) is comparable


# --- standing in for an app that fails (§4.2.4, RFC 5861 §4) ----------------------------------


@pytest.mark.parametrize(
    ("directives", "seconds", "usable"),
    [
        ("max-age=60", 60, False),
        ("max-age=60", 59, False),
        ("max-age=60, stale-if-error=30", 59, True),
        ("max-age=60, stale-if-error=30", 60, True),
        ("max-age=60, stale-if-error=30", 89.9, True),
        ("max-age=60, stale-if-error=30", 90, False),
        # stale-while-revalidate is another window.
        ("max-age=60, stale-while-revalidate=30", 60, False),
        ("max-age=60, stale-if-error=30, must-revalidate", 59, False),
        ("s-maxage=60, stale-if-error=30", 61, False),
        ("max-age=60, stale-if-error=30, proxy-revalidate", 61, False),
        # From the future by no more than clocks differ.
        ("max-age=60, stale-if-error=30", -CLOCK_SLACK, True),
        ("max-age=60, stale-if-error=30", -CLOCK_SLACK - 0.1, False),
    ],
)
def test_usable_on_error(directives: str, seconds: float, usable: bool) -> None:
    response = stored(respond_with(200, {"Cache-Control": directives}))
    assert usable_on_error(response, NOW + seconds) is usable


def test_what_counts_as_a_failure_of_the_app() -> None:
    assert {500, 502, 503, 504} == ERROR_STATUSES


def test_the_moment_of_receipt_is_written_as_a_date() -> None:
    assert format_date(NOW + 30) == LATER.encode()


@untimed
@given(
    said=any_headers([b"cache-control", b"vary", b"expires", b"age", b"date", b"set-cookie"]),
    age=st.floats(0, 1000),
)
def test_whatever_is_said_is_admitted_well_or_refused(said: tuple[Line, ...], age: float) -> None:
    response = before(("ETag", '"a"'))
    head = freshened(response, ResponseHead(304, said), NOW + age)
    assert head is not None
    exchange = exchange_of(request(), started=NOW + age, at=NOW + age)
    found = readmit(exchange, head, PLAIN, None, response)
    if isinstance(found, StoredResponse):
        assert found.body == BODY
        assert (found.explicitly_shared, found.authorized_reuse) == (False, False)
        assert found.discard_at > NOW + age
    else:
        assert isinstance(found, Refusal)
