"""Whole histories, judged by the model: what the app does, who asks, how time passes.

``PROPERTY_EXAMPLES`` makes a run longer, and random: by default every run is the same.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.property.facts import Request, Terms
from tests.property.syntax import http_date
from tests.property.world import EPOCH, HONORS, LAST, Behaviour, Step, World, run

if TYPE_CHECKING:
    from tests.property.syntax import Pairs

LONG = os.environ.get("PROPERTY_EXAMPLES")
profile = settings(
    max_examples=int(LONG or "150"),
    derandomize=LONG is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)

CONTROLS = [
    *(("max-age=10",),) * 6,
    ("max-age=10, stale-while-revalidate=20",),
    ("max-age=10, stale-if-error=20",),
    ("max-age=5, stale-while-revalidate=5, stale-if-error=30",),
    ("public, max-age=10",),
    ("public, MAX-AGE=10",),
    ("s-maxage=10",),
    ("s-maxage=10, stale-while-revalidate=20, stale-if-error=20",),
    ("max-age=60, s-maxage=5",),
    ("max-age=5, max-age=20",),
    ('max-age="10"',),
    ("max-age=",),
    ("max-age=-1",),
    ("max-age=1.5",),
    ("max-age=99999999999",),
    ("max-age=0",),
    ("max-age=0, public, stale-while-revalidate=10",),
    (",, max-age=10 ,",),
    ("max-age=10", "public"),
    ("max-age=10", "no-store"),
    ('x="no-store, private", max-age=10',),
    ("no-store, max-age=10",),
    ("no-cache, max-age=10",),
    ("No-Cache",),
    ('no-cache="x-secret", public, max-age=10',),
    ("private, max-age=10",),
    ("PRIVATE; max-age=10",),
    ('private="x-secret", max-age=10',),
    ("must-understand, no-store, max-age=10",),
    ("must-understand, max-age=10",),
    ("must-revalidate, max-age=10",),
    ("must-revalidate, public, max-age=10, stale-if-error=30",),
    ("proxy-revalidate, max-age=10, stale-while-revalidate=30",),
    ("immutable, max-age=10",),
    ("public",),
    (),
    (),
]
LINES: list[Pairs] = [
    *((),) * 8,
    (("vary", "accept-language"),),
    (("vary", "Accept-Language , X-Flavour"),),
    (("vary", "x-flavour"), ("vary", "accept-encoding")),
    (("vary", "*"),),
    (("vary", "x-flavour, *"),),
    (("vary", "cookie"),),
    (("set-cookie", "sid=1"),),
    (("content-encoding", "gzip"),),
    (("access-control-allow-origin", "https://a.example"),),
    (("age", "3"),),
    (("age", "3, 100"),),
    (("age", "x"),),
    (("expires", "0"),),
    (("expires", "Tue, 14 Nov 2023 22:13:45 GMT"),),
    (("expires", "Tuesday, 14-Nov-23 22:13:35 GMT"), ("date", "Tue Nov 14 22:13:20 2023")),
    (("connection", "x-secret, close"), ("x-secret", "7")),
    (("x-secret", "7"), ("x-request-id", "9")),
    (("cache-status", "inner; hit"),),
    (("x-two", "1"), ("x-two", "2")),
    (("content-type", "text/event-stream"),),
    (("location", "/b"),),
]
FIELDS: list[Pairs] = [
    *((),) * 8,
    (("accept-language", "de"),),
    (("accept-language", "DE"),),
    (("accept-language", "en"),),
    (("x-flavour", "x"),),
    (("x-flavour", ""),),
    (("accept-encoding", "gzip"),),
    (("accept-encoding", "br, gzip;q=0"),),
    (("origin", "https://b.example"),),
    (("cookie", "sid=ann"),),
    (("cookie", "sid=bob"),),
    (("authorization", "ann"),),
    (("x-forwarded-host", "evil.example"),),
    (("if-none-match", LAST),),
    (("if-none-match", LAST),),
    (("if-none-match", '"v1", W/"v2"'),),
    (("if-none-match", "*"),),
    (("if-none-match", '"v9"'),),
    (("if-modified-since", LAST),),
    (("if-modified-since", http_date(EPOCH - 150)),),
    (("if-match", '"v1"'),),
    (("range", "bytes=0-9"),),
    (("range", "bytes=-5"),),
    (("range", "bytes=5-"), ("if-range", LAST)),
    (("range", "bytes=0-3, 10-12"),),
    (("range", "bytes=50-200"),),
    (("range", "bytes=500-"),),
    (("range", "bytes=9-2"),),
    (("range", "bytes=0-9"), ("if-none-match", LAST)),
]
DIRECTIVES = [
    *(None,) * 12,
    *("no-cache", "no-store", "max-age=0", "max-age=3", "min-fresh=5", "max-stale"),
    *("max-stale=15", "only-if-cached", "max-age=5, max-stale=20", "stale-if-error=60"),
]
METHODS = [*["GET"] * 14, "HEAD", "HEAD", "POST", "PUT", "OPTIONS", "FROB"]
SETTINGS = [
    Terms(),
    Terms(),
    Terms(stale_while_revalidate=15.0, stale_if_error=25.0),
    Terms(stale_if_error=100.0, keep=5.0),
    Terms(heuristic_fraction=0.1),
    Terms(cookies_ignored=True),
    Terms(default_ttl=10.0),
    Terms(max_ttl=8.0, authorization_must_revalidate=True),
    *[Terms(honor_request_directives=True)] * (2 * HONORS),
]

behaviours = st.builds(
    Behaviour,
    control=st.sampled_from(CONTROLS),
    lines=st.sampled_from(LINES),
    status=st.sampled_from([*[200] * 14, 203, 204, 299, 301, 302, 404, 500, 503, 503, 504]),
    etag=st.sampled_from([None, None, '"v1"', '"v1"', '"v2"', 'W/"v2"', "v3"]),
    modified=st.sampled_from([None, None, None, 100.0, 200.0]),
    date=st.sampled_from([None, None, None, None, 0.0, 4.0, -30.0]),
    delay=st.sampled_from([0.0, 0.0, 0.0, 0.0, 2.0]),
    fails=st.sampled_from([*[None] * 10, "before", "within"]),
    length=st.sampled_from(["right"] * 6 + [None, None, "wrong"]),
    lazy=st.booleans(),
    chunked=st.booleans(),
    conditional=st.sampled_from([True, True, True, False]),
    stubborn=st.sampled_from([False, False, False, True]),
    ranged=st.booleans(),
    size=st.sampled_from([60, 60, 500, 0]),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    fields = draw(st.sampled_from(FIELDS)) + draw(st.sampled_from(FIELDS[:21]))
    fields = tuple(dict(fields).items())
    directive = draw(st.sampled_from(DIRECTIVES))
    if directive is not None:
        fields += (("cache-control", directive),)
    method = draw(
        st.sampled_from(["GET"] * 14 + ["HEAD", "HEAD", "POST", "PUT", "OPTIONS", "FROB"])
    )
    body = method in ("POST", "PUT")
    if body:
        fields += (("content-length", "7"),)
    target = draw(st.sampled_from(["/a"] * 6 + ["/a?q=1", "/b"]))
    return Request(method, target, fields, 0.0, body)


pauses = st.sampled_from([0.0, 0.0, 1.0, 3.0, 4.5, 5.0, 7.0, 9.75, 10.0, 12.0, 25.0, 4000.0])
steps = st.builds(Step, pauses, requests(), behaviours)
simple_steps = st.builds(
    Step,
    pauses,
    st.builds(
        Request,
        method=st.sampled_from(["GET"] * 8 + ["HEAD", "POST"]),
        fields=st.sampled_from(FIELDS),
    ),
    st.builds(
        Behaviour,
        control=st.sampled_from(CONTROLS[:12]),
        etag=st.sampled_from([None, '"v1"', '"v1"', 'W/"v2"']),
        modified=st.sampled_from([None, 100.0]),
        status=st.sampled_from([*[200] * 4, 503]),
        lazy=st.booleans(),
        chunked=st.booleans(),
        fails=st.sampled_from([None, None, None, None, "before"]),
    ),
)
"""The cases that a cache is for, so that stored responses meet clients more often."""


def once(history: list[Step], terms: Terms) -> World:
    return asyncio.run(run(history, terms))


@profile
@given(st.lists(steps, min_size=2, max_size=10), st.sampled_from(SETTINGS))
def test_no_history_has_an_answer_that_the_model_forbids(history: list[Step], terms: Terms) -> None:
    once(history, terms)


@profile
@given(st.lists(simple_steps, min_size=3, max_size=12), st.sampled_from(SETTINGS))
def test_no_simple_history_either(history: list[Step], terms: Terms) -> None:
    once(history, terms)
