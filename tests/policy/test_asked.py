"""RFC 9111 §5.2.1, §5.4, §4.2.4: a request's directives, where they are honoured; stale use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.fields import parse_directives
from asgi_cache.policy.decision import Action, Decision
from asgi_cache.policy.reuse import (
    CLOCK_SLACK,
    accepts,
    accepts_stale,
    as_asked,
    asked_by,
    decide,
)
from asgi_cache.settings import Settings
from tests.policy.builders import (
    NOW,
    OCTETS,
    PLAIN,
    looked_up,
    request,
    respond_with,
    stored,
    untimed,
)

HONOURED = Settings(honor_request_directives=True)
COOKIE = {"Cookie": "sid=1"}

FRESH = Decision.FRESH
STALE = Decision.STALE
REQUEST = Decision.REQUEST
REVALIDATE = Decision.STALE_WHILE_REVALIDATE
BYPASS = Decision.BYPASS


def asked(control: str) -> dict[str, str]:
    return {"Cache-Control": control}


# --- what was asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "directives"),
    [
        ({}, None),
        (asked("max-age=5"), "max-age=5"),
        (asked("No-Cache"), "no-cache"),
        (asked(""), ""),
        # Pragma counts without Cache-Control only (§5.4).
        ({"Pragma": "no-cache"}, "no-cache"),
        ({"Pragma": "x, No-Cache"}, "no-cache"),
        ({"Pragma": "no-cache", "Cache-Control": "max-age=5"}, "max-age=5"),
        ({"Pragma": "no-cache", "Cache-Control": ""}, ""),
        ({"Pragma": "max-age=0"}, None),
        ({"Pragma": ""}, None),
    ],
)
def test_what_a_request_asks(headers: dict[str, str], directives: str | None) -> None:
    found = asked_by(request(headers=headers))
    assert (found is None) is (directives is None)
    if found is not None and directives is not None:
        names = ("no-cache", "max-age")
        expected = parse_directives((directives.encode(),))
        assert [name in found for name in names] == [name in expected for name in names]
        assert found.seconds("max-age") == expected.seconds("max-age")


@pytest.mark.parametrize("headers", [asked("no-cache"), {"Pragma": "no-cache"}, asked("max-age=0")])
def test_a_gateway_takes_no_advice_unless_it_is_told_to(headers: dict[str, str]) -> None:
    response = stored(respond_with(200, {"Cache-Control": "max-age=60"}))
    assert looked_up(request(headers=headers)).asked is None
    assert decide(looked_up(request(headers=headers)), response, NOW + 1) is FRESH
    assert decide(looked_up(request(headers=headers), HONOURED), response, NOW + 1) is REQUEST


# --- which age it accepts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "age", "left", "accepted"),
    [
        ("", 0, 60, True),
        ("no-cache", 0, 60, False),
        ("max-age=5", 5, 55, True),
        ("max-age=5", 5.1, 54.9, False),
        ("max-age=0", 0, 60, True),
        ("max-age=0", 0.1, 59.9, False),
        ("max-age=x", 1, 59, False),
        ("min-fresh=5", 55, 5, True),
        ("min-fresh=5", 55.1, 4.9, False),
        ("max-age=60, min-fresh=50", 20, 40, False),
        ("max-age=10, min-fresh=5", 20, 40, False),
        ("max-age=20, min-fresh=40", 20, 40, True),
        # What is stale is another question.
        ("max-stale=5", 61, -1, True),
        ("max-stale", 61, -1, True),
        ("only-if-cached", 61, -1, True),
    ],
)
def test_what_it_accepts(control: str, age: float, left: float, accepted: bool) -> None:
    assert accepts(parse_directives((control.encode(),)), age, left) is accepted


@pytest.mark.parametrize(
    ("control", "seconds", "accepted"),
    [
        ("", 1, False),
        ("max-age=99", 1, False),
        ("max-stale", 1e9, True),
        ("max-stale=5", 5, True),
        ("max-stale=5", 5.1, False),
        ("max-stale=0", 0, True),
        ("max-stale=x", 1, False),
        ("max-stale=-1", 1, False),
    ],
)
def test_how_stale_it_accepts(control: str, seconds: float, accepted: bool) -> None:
    assert accepts_stale(parse_directives((control.encode(),)), seconds) is accepted


# --- all together -----------------------------------------------------------------------------

PLAIN_60 = "max-age=60"
WINDOW = "max-age=60, stale-while-revalidate=30"


@pytest.mark.parametrize(
    ("directives", "control", "seconds", "decision"),
    [
        # Nothing asked: fresh, then within the window, then stale.
        (PLAIN_60, None, 59.9, FRESH),
        (PLAIN_60, None, 60, STALE),
        (WINDOW, None, 59.9, FRESH),
        (WINDOW, None, 60, REVALIDATE),
        (WINDOW, None, 89.9, REVALIDATE),
        (WINDOW, None, 90, STALE),
        # Each directive that forbids stale use does (§4.2.4).
        (WINDOW + ", must-revalidate", None, 60, STALE),
        (WINDOW + ", proxy-revalidate", None, 60, STALE),
        ("s-maxage=60, stale-while-revalidate=30", None, 60, STALE),
        # Age and freshness that is left.
        (PLAIN_60, "max-age=10", 10, FRESH),
        (PLAIN_60, "max-age=10", 11, REQUEST),
        (PLAIN_60, "max-age=10", 61, STALE),
        (PLAIN_60, "min-fresh=10", 50, FRESH),
        (PLAIN_60, "min-fresh=10", 51, REQUEST),
        (PLAIN_60, "no-cache", 0, REQUEST),
        (PLAIN_60, "no-cache", 60, STALE),
        (WINDOW, "no-cache", 61, STALE),
        (WINDOW, "max-age=10", 61, STALE),
        (PLAIN_60, "", 59, FRESH),
        (WINDOW, "", 60, REVALIDATE),
        # max-stale, where nothing forbids stale use.
        (PLAIN_60, "max-stale", 1000, FRESH),
        (PLAIN_60, "max-stale=5", 65, FRESH),
        (PLAIN_60, "max-stale=5", 66, STALE),
        (WINDOW, "max-stale=5", 66, REVALIDATE),
        (PLAIN_60 + ", must-revalidate", "max-stale", 61, STALE),
        (PLAIN_60 + ", proxy-revalidate", "max-stale", 61, STALE),
        ("s-maxage=60", "max-stale", 61, STALE),
        # Beside max-age it counts for what is stale, not for what is old.
        (PLAIN_60, "max-age=10, max-stale", 11, REQUEST),
        (PLAIN_60, "max-age=99, max-stale", 61, FRESH),
    ],
)
def test_what_becomes_of_a_request(
    directives: str, control: str | None, seconds: float, decision: Decision
) -> None:
    response = stored(respond_with(200, {"Cache-Control": directives}))
    headers = {} if control is None else asked(control)
    assert (
        decide(looked_up(request(headers=headers), HONOURED), response, NOW + seconds) is decision
    )


def test_no_cache_is_never_used_without_validation() -> None:
    # Whatever the request accepts, and whatever the settings allow (§5.2.2.4).
    settings = Settings(honor_request_directives=True, stale_while_revalidate=60)
    headers = {"Cache-Control": "no-cache, max-age=60", "ETag": '"a"'}
    response = stored(respond_with(200, headers), settings)
    for control in ("max-stale", "max-age=99", ""):
        assert decide(looked_up(request(headers=asked(control)), settings), response, NOW) is STALE
    assert decide(looked_up(request()), response, NOW) is STALE


@pytest.mark.parametrize(
    ("seconds", "decision"),
    [(-CLOCK_SLACK, FRESH), (-CLOCK_SLACK - 0.1, STALE), (-1e9, STALE)],
)
@pytest.mark.parametrize("directives", [PLAIN_60, WINDOW])
@pytest.mark.parametrize("control", [None, "max-stale"])
def test_what_seems_to_come_from_the_future_is_validated(
    directives: str, control: str | None, seconds: float, decision: Decision
) -> None:
    response = stored(respond_with(200, {"Cache-Control": directives}))
    headers = {} if control is None else asked(control)
    found = decide(looked_up(request(headers=headers), HONOURED), response, NOW + seconds)
    assert found is decision


@pytest.mark.parametrize(
    ("directives", "seconds", "decision"),
    [
        # A fresh one that is not for them: the app answers, and it stays for the others.
        (PLAIN_60, 59, BYPASS),
        (WINDOW, 59, BYPASS),
        (PLAIN_60, -CLOCK_SLACK - 1, BYPASS),
        # A stale one is validated.
        (PLAIN_60, 60, STALE),
        (WINDOW, 61, STALE),
        ("public, " + WINDOW, 59, FRESH),
        ("public, " + WINDOW, 61, REVALIDATE),
        ("public, " + PLAIN_60, -CLOCK_SLACK - 1, STALE),
    ],
)
@pytest.mark.parametrize("control", [None, ""])
def test_what_is_not_for_everybody(
    directives: str, seconds: float, decision: Decision, control: str | None
) -> None:
    response = stored(respond_with(200, {"Cache-Control": directives}))
    headers = COOKIE if control is None else {**COOKIE, **asked(control)}
    found = decide(looked_up(request(headers=headers), HONOURED), response, NOW + seconds)
    assert found is decision


def test_a_stale_one_that_is_not_for_them_is_not_accepted_by_max_stale() -> None:
    response = stored(respond_with(200, {"Cache-Control": PLAIN_60}))
    screened = looked_up(request(headers={**COOKIE, **asked("max-stale")}), HONOURED)
    assert decide(screened, response, NOW + 61) is STALE
    assert decide(screened, response, NOW + 59) is BYPASS


# --- only-if-cached (§5.2.1.7) ----------------------------------------------------------------


@pytest.mark.parametrize("decision", Decision)
def test_only_if_cached_refuses_what_would_go_forward(decision: Decision) -> None:
    screened = looked_up(request(headers=asked("only-if-cached")), HONOURED)
    answered = {FRESH, REVALIDATE, Decision.STALE_ON_ERROR, Decision.ONLY_IF_CACHED}
    expected = decision if decision in answered else Decision.ONLY_IF_CACHED
    assert as_asked(screened, decision) is expected
    assert as_asked(looked_up(request(headers=asked("only-if-cached"))), decision) is decision
    for control in ("", "no-cache"):
        screened = looked_up(request(headers=asked(control)), HONOURED)
        assert as_asked(screened, decision) is decision
    assert as_asked(looked_up(request(), HONOURED), decision) is decision


# --- totality ---------------------------------------------------------------------------------


@untimed
@given(control=OCTETS, seconds=st.floats(-200, 200), public=st.booleans())
def test_whatever_is_asked_is_decided(control: bytes, seconds: float, public: bool) -> None:
    response = stored(respond_with(200, {"Cache-Control": WINDOW + (", public" if public else "")}))
    head = request()
    head = head._replace(fields={**head.fields, b"cache-control": control})
    for settings in (PLAIN, HONOURED):
        decision = decide(looked_up(head, settings), response, NOW + seconds)
        assert decision in (FRESH, REQUEST, REVALIDATE, STALE)
        if settings is PLAIN and -CLOCK_SLACK <= seconds < 60:
            assert decision is FRESH
        if decision.action is Action.SERVE_AND_REVALIDATE:
            assert 60 <= seconds < 90
        unbound = replace(response, may_be_stale=False)
        bound = decide(looked_up(head, settings), unbound, NOW + seconds)
        assert seconds < 60 or bound is STALE
