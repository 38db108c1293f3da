"""A second opinion: hishel's I/O-free core (RFC 9111 as a state machine), on what both claim.

Is a response stored, is it fresh after a while, what is its age? Where the two disagree the RFC
decides. Each class of disagreement has a predicate below, with the text that settles it; the test
demands that the two agree everywhere else, and that each class still is one: when hishel changes,
its predicate has to go.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_cache import Settings
from asgi_cache.fields import format_date
from asgi_cache.model import ResponseHead, StoredResponse
from asgi_cache.policy.decision import Decision
from asgi_cache.policy.reuse import decide
from asgi_cache.policy.storing import admit
from tests.policy.builders import exchange_of, lines_of, looked_up, request

hishel = pytest.importorskip("hishel")

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = os.environ.get("PROPERTY_EXAMPLES")
profile = settings(
    max_examples=int(LONG or "200"), derandomize=LONG is None, database=None, deadline=None
)
NOW = 1_700_000_000.0


def date(offset: float) -> str:
    return format_date(NOW + offset).decode()


AHEAD = date(30)
PLAIN = Settings(heuristic_fraction=0.1, cookies="ignore", authorization_must_revalidate=True)
"""As near to hishel's fixed choices as ours can be set."""
URL = "http://shop.example/x"


@dataclass(frozen=True)
class Case:
    """One response, and when it is asked for again."""

    status: int
    control: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    """Others than Cache-Control."""
    authorization: bool = False
    later: float = 1.0

    @property
    def headers(self) -> list[tuple[str, str]]:
        control = ", ".join(self.control)
        return [*([("cache-control", control)] if control else []), *self.fields]

    def has(self, name: str) -> bool:
        return any(name == field for field, _ in self.fields)

    @property
    def names(self) -> list[str]:
        return [directive.partition("=")[0].lower() for directive in self.control]

    def says(self, name: str) -> bool:
        return name in self.names


@dataclass(frozen=True)
class Verdict:
    """What a cache makes of a :class:`Case`."""

    stored: bool
    fresh: bool = False
    age: int | None = None
    """Of a fresh one, as sent."""


def ours(case: Case) -> Verdict:
    """By ``admit`` and ``decide``."""
    fields = {"authorization": "a"} if case.authorization else {}
    head = request(headers=fields)
    response = ResponseHead(case.status, lines_of(case.headers))
    stored = admit(exchange_of(head, PLAIN, at=NOW, started=NOW), response, PLAIN, None)
    if not isinstance(stored, StoredResponse):
        return Verdict(False)
    later = NOW + case.later
    fresh = decide(looked_up(head, PLAIN), stored, later) is Decision.FRESH
    return Verdict(True, fresh, int(max(0.0, later - stored.generated_at)) if fresh else None)


def theirs(case: Case) -> Verdict:
    """By the state machine, its clock held still."""
    options = hishel.CacheOptions(shared=True, supported_methods=["GET"], allow_stale=False)
    fields = {"authorization": "a"} if case.authorization else {}
    asked = hishel.Request("GET", URL, hishel.Headers(fields))
    combined: dict[str, list[str]] = {}
    for name, value in case.headers:
        combined.setdefault(name, []).append(value)
    response = hishel.Response(case.status, hishel.Headers(combined))
    clock = "hishel._core._spec.time.time"
    with mock.patch(clock, return_value=NOW):
        outcome = hishel.CacheMiss(request=asked, options=options).next(response)
    if not isinstance(outcome, hishel.StoreAndUse):
        return Verdict(False)
    entry = hishel.Entry(uuid.UUID(int=1), asked, outcome.response)
    with mock.patch(clock, return_value=NOW + case.later):
        found = hishel.IdleClient(options).next(asked, [entry])
    if not isinstance(found, hishel.FromCache):
        return Verdict(True)
    return Verdict(True, True, int(found.entry.response.headers["age"]))


# ------------------------------------------------------------------ where the two disagree


def useless(case: Case) -> bool:
    """§3: a cache MUST NOT store unless ...; nothing says that it has to.

    What can never be used (no lifetime, no validator; ``Vary: *``, §4.1) we do not store; hishel
    does.
    """
    return ours(case) == Verdict(False) and not theirs(case).fresh


def cookie_set(case: Case) -> bool:
    """§7.3: Set-Cookie does not inhibit caching by itself; who wants that says so.

    The design (decision 4) goes further than the RFC: never stored.
    """
    return case.has("set-cookie")


def must_understand(case: Case) -> bool:
    """§5.2.2.3: no-store is to be ignored where must-understand stands beside it and the status

    is understood; and a cache that does not understand the status MUST NOT store. hishel parses
    the directive and does not look at it.
    """
    return case.says("must-understand")


def aged(case: Case) -> bool:
    """§4.2.3: corrected_age_value is age_value + response_delay: the Age field counts.

    hishel derives the age from Date alone.
    """
    return case.has("age")


def undated(case: Case) -> bool:
    """RFC 9110 §6.6.1: who receives a response without Date records the time of receipt; so it

    ages. hishel's age is 0 for ever: its callers must add a Date first.
    """
    return not case.has("date")


def heuristic_by_now(case: Case) -> bool:
    """§4.2.2: a fraction of the interval since Last-Modified, reckoned as the lifetime of a stored

    response, which does not grow. hishel computes it from the clock at each look, and it grows.
    """
    explicit = case.says("max-age") or case.says("s-maxage") or case.has("expires")
    return case.has("last-modified") and not explicit


def conflicting(case: Case) -> bool:
    """§4.2.1: where a directive has more than one value, either the first is used or the response

    is considered stale. We take the smallest, and of ``private`` the one for the whole response;
    hishel takes the last.
    """
    return any(case.names.count(name) > 1 for name in ("max-age", "s-maxage", "private"))


def malformed(case: Case) -> bool:
    """§4.2.1: caches are encouraged to consider responses with invalid freshness information (a

    max-age without a number) stale. hishel reads it as absent and goes on to Expires.
    """
    return any(
        name in ("max-age", "s-maxage") and not directive.partition("=")[2].strip('"').isdigit()
        for name, directive in zip(case.names, case.control, strict=True)
    )


def loose_date(case: Case) -> bool:
    """RFC 9110 §5.6.7 has three forms of HTTP-date; RFC 9111 §4.2 says of other forms that they

    MUST be read as the past. hishel reads them with e-mail's parser, which takes time zones, a
    missing name of the day, and more.
    """
    return any(value.endswith(("+0100", "-0000", "UTC")) for _, value in case.fields)


def dated_ahead(case: Case) -> bool:
    """§4.2.3: current_age is corrected_initial_age + resident_time, and the latter runs from the

    time of receipt. hishel's age is the clock minus Date: a Date ahead keeps it 0 for a while.
    """
    return ("date", AHEAD) in case.fields


DATE = ("date", date(0))
DISAGREEMENTS: dict[Callable[[Case], bool], Case] = {
    useless: Case(200, (), (DATE,)),
    cookie_set: Case(200, ("max-age=10",), (DATE, ("set-cookie", "a=1"))),
    must_understand: Case(200, ("must-understand", "no-store", "max-age=10"), (DATE,)),
    aged: Case(200, ("max-age=10",), (DATE, ("age", "4"))),
    undated: Case(200, ("max-age=10",), (), later=11.0),
    heuristic_by_now: Case(200, (), (DATE, ("last-modified", date(-200))), later=21.0),
    conflicting: Case(200, ("max-age=10", "max-age=60"), (DATE,), later=11.0),
    malformed: Case(200, ("max-age=x",), (DATE, ("expires", date(20)))),
    loose_date: Case(200, (), (DATE, ("expires", "Tue, 14 Nov 2023 23:13:50 +0100"))),
    dated_ahead: Case(200, ("max-age=10",), (("date", AHEAD),), later=11.0),
}
"""Every class with a case that belongs to it alone."""

# ------------------------------------------------------------------ the cases


controls = st.lists(
    st.sampled_from(
        [
            *("max-age=10", "max-age=60", 'max-age="10"', "max-age=0", "max-age=99999999999"),
            *("max-age=-1", "max-age=x", "max-age", "s-maxage=5", "s-maxage=60", "s-maxage=1.5"),
            *("public", "private", 'private="x-a"', "no-store", "no-cache", 'no-cache="x-a"'),
            *("must-revalidate", "proxy-revalidate", "must-understand", "immutable", "x=1"),
            *("MAX-AGE=10", "No-Store", "no-transform", "stale-if-error=60"),
        ]
    ),
    max_size=3,
).map(tuple)
fields = st.lists(
    st.one_of(
        st.sampled_from([("date", date(0)), ("date", date(-7)), ("date", AHEAD)]),
        st.sampled_from([("expires", date(20)), ("expires", date(-5)), ("expires", "0")]),
        st.sampled_from([("last-modified", date(-200)), ("etag", '"v1"'), ("vary", "x-a")]),
        st.sampled_from([("age", "4"), ("age", "x"), ("vary", "*"), ("set-cookie", "a=1")]),
        st.sampled_from(
            [("expires", "Tue, 14 Nov 2023 23:13:50 +0100"), ("date", "14 Nov 2023 22:13:20 UTC")]
        ),
    ),
    max_size=3,
    unique_by=lambda line: line[0],
).map(tuple)
cases = st.builds(
    Case,
    status=st.sampled_from([200, 200, 200, 203, 204, 206, 301, 302, 304, 404, 410, 500, 503, 299]),
    control=controls,
    fields=fields,
    authorization=st.sampled_from([False, False, True]),
    later=st.sampled_from([0.0, 1.0, 4.0, 6.0, 9.5, 11.0, 21.0, 25.0, 70.0]),
)
dated = cases.filter(lambda case: case.has("date"))


@profile
@given(st.one_of(cases, dated))
def test_the_two_agree_or_the_rfc_has_decided(case: Case) -> None:
    assert ours(case) == theirs(case) or any(predicate(case) for predicate in DISAGREEMENTS)


@pytest.mark.parametrize("predicate", DISAGREEMENTS, ids=lambda predicate: predicate.__name__)
def test_each_disagreement_is_one(predicate: Callable[[Case], bool]) -> None:
    case = DISAGREEMENTS[predicate]
    assert ours(case) != theirs(case)
    holding = {one for one in DISAGREEMENTS if one(case)} - {useless}
    assert holding == {predicate} - {useless}
