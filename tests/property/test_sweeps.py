"""Short histories, every one of a kind: what chance would rarely put together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.property.facts import Request, Terms
from tests.property.test_histories import CONTROLS, DIRECTIVES, FIELDS, LINES, SETTINGS
from tests.property.world import Behaviour, Step, run

if TYPE_CHECKING:
    from collections.abc import Iterable


async def sweep(histories: Iterable[list[Step]], terms: Terms) -> None:
    for history in histories:
        await run(history, terms)


def again(*requests_: Request, behaviour: Behaviour) -> list[Step]:
    """The first request at once, the others three seconds apart, the last after the lifetime."""
    last = Step(8.0, requests_[-1], behaviour)
    return [*(Step(3.0, request, behaviour) for request in requests_), last]


PLAIN = Request()
NINE = '"v9"'
CONDITIONAL = Request(fields=(("if-none-match", NINE),))
STALE = [
    *(("max-age=10",), ("max-age=10, stale-while-revalidate=20",), ("public, no-cache",)),
    *(("max-age=10, stale-if-error=20",), ("max-age=10, must-revalidate, stale-if-error=20",)),
]
PINNED = (("set-cookie", "a=1"), ("vary", "x-flavour"), ("content-length", "3"))


@pytest.mark.parametrize("terms", [Terms(), Terms(heuristic_fraction=0.1, default_ttl=10.0)])
def test_every_answer_asked_for_again(terms: Terms) -> None:
    """Each Cache-Control with each other field, and each status."""
    controls = CONTROLS if terms == Terms() else CONTROLS[6::5]
    told = [Behaviour(control, lines) for control in controls for lines in LINES]
    told += [
        Behaviour(control, status=status, ranged=status == 206)
        for control in [*CONTROLS[5:12], ()]
        for status in (203, 204, 206, 299, 301, 302, 304, 404, 410, 500, 503)
    ]
    told += [
        Behaviour(lines=(("x-more", "1"), *lines), **options)
        for lines in LINES
        for options in ({"length": "wrong"}, {"length": None, "date": 4.0}, {"fails": "within"})
    ]
    asyncio.run(sweep((again(PLAIN, PLAIN, behaviour=one) for one in told), terms))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "FROB"])
def test_every_request_after_every_other(method: str) -> None:
    """Each pair of request fields, of a method and a GET after it, for answers that may differ."""
    told = [
        Behaviour(etag='"v1"', modified=100.0, ranged=True),
        Behaviour(("public, max-age=10",), (("vary", "accept-language, x-flavour"),)),
        Behaviour(lines=(("access-control-allow-origin", "https://a.example"),), status=404),
        Behaviour(lines=(("content-encoding", "gzip"), ("location", "/a")), status=301),
    ]
    distinct = list(dict.fromkeys(FIELDS))
    histories = (
        again(Request(fields=one), Request(method, fields=other), behaviour=behaviour)
        for behaviour in told[: 2 if method == "GET" else 1]
        for one in distinct
        for other in (distinct if method == "GET" else FIELDS[:16:15])
    )
    asyncio.run(sweep(histories, Terms()))


def test_every_wish_of_a_request() -> None:
    """Each directive of a request with each Cache-Control, fresh and stale (§5.2.1)."""
    histories = [
        again(PLAIN, asked, behaviour=Behaviour(control, etag='"v1"'))
        for control in CONTROLS
        for directive in dict.fromkeys(filter(None, DIRECTIVES))
        for asked in [Request(fields=(("cache-control", directive),))]
    ]
    for terms in SETTINGS[:1] + SETTINGS[-1:]:
        asyncio.run(sweep(histories, terms))


@pytest.mark.parametrize("terms", [SETTINGS[0], SETTINGS[2]])
def test_every_way_to_become_stale(terms: Terms) -> None:
    """A response, then another answer of the app's, while the first is stale by little or more."""
    first = [
        Behaviour(control, etag=etag, modified=modified, date=date)
        for control in STALE
        for etag, modified in [(None, None), ('"v1"', None), ('W/"v2"', 100.0), (None, 100.0)]
        for date in ([None, 2.0] if control == STALE[0] else [None])
    ]
    then: list[dict[str, Any]] = [
        *({}, {"lazy": True}, {"etag": '"v9"', "modified": 50.0}, {"status": 503}, {"status": 404}),
        *(
            {"fails": "before"},
            {"fails": "within"},
            {"stubborn": True, "etag": NINE},
            {"control": ("no-store",)},
            {"lines": PINNED},
        ),
    ]
    histories = (
        [Step(0.0, PLAIN, one), *(Step(pause, asked, other) for asked in (second, PLAIN, PLAIN))]
        for one in first
        for other in (replace(one, **changed) for changed in then)
        for pause, second in [(12.0, PLAIN), (11.0, Request("HEAD")), (12.0, CONDITIONAL)]
    )
    asyncio.run(sweep(histories, terms))


@pytest.mark.parametrize("status", [200, 204, 302, 303, 404, 500])
@pytest.mark.parametrize("method", ["POST", "DELETE", "FROB", "OPTIONS"])
def test_every_answer_that_may_spoil(method: str, status: int) -> None:
    """A GET, another method for its target or another, with and without Location, a GET."""
    page, change = Behaviour(etag=NINE), Behaviour(status=status, control=())
    histories = [
        [
            Step(0.0, PLAIN, page),
            Step(1.0, Request(method, target), change_),
            Step(1.0, PLAIN, page),
        ]
        for target in ("/a", "/b", "/a?q=1")
        for where in ("location", "content-location")
        for change_ in (change, replace(change, lines=((where, "/a"),)))
    ]
    asyncio.run(sweep(histories, Terms()))


def test_every_variant_revalidated_behind() -> None:
    """What the background asks for is the variant that was served stale."""
    askers = [Request(fields=fields) for fields in dict.fromkeys(FIELDS[:16])]
    histories = [
        [Step(pause, asker, page) for pause, asker in [(0.0, one), (12.0, one), (1.0, other)]]
        for page in (
            Behaviour(STALE[1], (("vary", "accept-language, x-flavour"),)),
            Behaviour(STALE[1], (("content-encoding", "gzip"), ("vary", "origin"))),
        )
        for one in askers
        for other in askers
    ]
    asyncio.run(sweep(histories, Terms()))
