"""Every pure verb is total: whatever bytes a client or an app sends, it answers and never raises.

Field parsers by themselves are judged in ``tests/test_fields.py``. Here whole requests and
responses are arbitrary: the names and values of fields too, NUL and line ends included.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_cache import Rule, Settings
from asgi_cache.fields import entity_tag
from asgi_cache.model import CarriedStamp, RequestHead, ResponseHead, StoredResponse
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.folding import Folded, fold
from asgi_cache.policy.invalidation import is_unsafe, targets_to_invalidate
from asgi_cache.policy.keys import Target, key_of, nominated_values, target_of, variant_slots
from asgi_cache.policy.ranges import range_of
from asgi_cache.policy.reuse import Screened, Screening, as_asked, decide, screen
from asgi_cache.policy.storing import Exchange, admit
from asgi_cache.policy.validation import (
    conditional_fields,
    freshened,
    freshened_by_head,
    is_not_modified,
    not_modified_lines,
    readmit,
    usable_on_error,
)

LONG = os.environ.get("PROPERTY_EXAMPLES")
profile = settings(
    max_examples=int(LONG or "60"), derandomize=LONG is None, database=None, deadline=None
)

SETTINGS = [
    Settings(),
    Settings(default_ttl=60, heuristic_fraction=0.1, cookies="ignore", authorities=["a.example"]),
    Settings(
        stale_while_revalidate=5,
        stale_if_error=5,
        authorization_must_revalidate=True,
        key=lambda request: request.query,
        honor_request_directives=True,
    ),
    Settings(
        paths={
            "/p/{n}": Rule(
                ttl=60, query=["q"], languages=["en", "de"], cookies=["taste"], groups=["g:{n}"]
            ),
            "/{rest:path}": Rule(ttl=5, ignore_query=["utm_*"], vary=["X-A"], anonymous=False),
        },
        ttl_jitter=0.5,
    ),
]

PIECES = [
    *(b"max-age", b"=", b"60", b"no-store", b"private", b"public", b"s-maxage", b'"', b",", b";"),
    *(b"no-cache", b"stale-if-error", b"stale-while-revalidate", b"must-understand", b"max-stale"),
    *(b"only-if-cached", b"min-fresh", b"W/", b'"v1"', b"*", b"bytes=", b"0-", b"-5", b"9" * 400),
    *(b"Tue, 14 Nov 2023 22:13:20 GMT", b"Tuesday, 14-Nov-99 22:13:20 GMT", b"-1", b"gzip", b"q=0"),
    *(b"host=x", b"for=", b"\\", b"://", b"//", b"[", b"]", b"%", b"?", b"/p/1", b"accept"),
    *(b"cookie", b"\0", b"\r\n", b" ", b"\t", b"\xff", b"\x80", b"\xd9\xa0", b"?1", b"(", b"1.5"),
]  # fmt: skip
octets = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join)
)
texts = octets.map(lambda value: value.decode("utf-8", "surrogateescape"))
names = st.one_of(
    st.sampled_from(
        b"host cookie authorization cache-control pragma vary etag last-modified expires date age "
        b"set-cookie content-length transfer-encoding range if-range if-none-match forwarded "
        b"if-modified-since if-match accept-encoding accept-language x-forwarded-host connection "
        b"asgi-cache-control cache-groups cache-group-invalidation location content-location "
        b"content-type content-encoding access-control-allow-origin content-range x-a".split()
    ),
    octets,
)
lines = st.lists(st.tuples(names, octets), max_size=7).map(tuple)
moments = st.one_of(
    st.just(1_700_000_000.0),
    st.floats(-1e12, 1e12),
    st.sampled_from([0.0, -1.0, 1e300, -1e300]),
)
requests = st.builds(
    RequestHead,
    method=st.one_of(st.sampled_from(["GET", "HEAD", "POST", ""]), texts),
    scheme=st.sampled_from(["http", "https", "", "\udcff"]),
    root_path=st.one_of(st.sampled_from(["", "/root"]), texts),
    path=st.one_of(st.sampled_from(["/p/1", "/x", "/p/\0", "*"]), texts),
    raw_path=st.one_of(st.sampled_from([b"/p/1", b"/x", b"/p/%00"]), octets),
    query=octets,
    fields=st.one_of(
        lines.map(dict), lines.map(lambda found: {b"host": b"a.example", **dict(found)})
    ),
)
heads = st.builds(
    ResponseHead,
    status=st.one_of(st.sampled_from([200, 200, 301, 304, 404, 503, 206]), st.integers(-9, 1000)),
    lines=lines,
)
tags = st.builds(entity_tag, st.booleans(), octets)
stored_responses = st.builds(
    StoredResponse,
    status=st.integers(100, 599),
    lines=lines,
    body=st.binary(max_size=50),
    generated_at=moments,
    fresh_until=moments,
    revalidate_until=moments,
    error_until=moments,
    may_be_stale=st.booleans(),
    discard_at=moments,
    etag=st.none() | tags,
    last_modified=st.none() | moments,
    explicitly_shared=st.booleans(),
    authorized_reuse=st.booleans(),
    browser_ttl=st.none() | st.floats(0, 1e6),
    nominated=lines,
    groups=st.just(()),
    stamps=st.lists(st.builds(CarriedStamp, octets, octets, octets), max_size=2).map(tuple),
    **({"emitted": st.just(0)} if "emitted" in StoredResponse.__slots__ else {}),
)
choices = st.sampled_from(SETTINGS)


@profile
@given(requests, choices, stored_responses, moments)
def test_before_and_after_the_look_up(
    request: RequestHead, configured: Settings, stored: StoredResponse, now: float
) -> None:
    screened = screen(request, configured)
    if isinstance(screened, Screening):
        assert isinstance(screened.decision, Decision)
        return
    assert isinstance(screened, Screened)
    assert isinstance(decide(screened, stored, now), Decision)
    assert isinstance(as_asked(screened, Decision.STALE), Decision)


@profile
@given(requests, choices, octets)
def test_keys_and_folding(request: RequestHead, configured: Settings, name: bytes) -> None:
    shape = configured.plan.shape(tuple(request.fields))
    match = configured.plan.matcher.match(request.path, request.raw_path)
    compiled = configured.plan.compiled(match)
    assert isinstance(key_of(b"a\0b\0c\0d\0e\0f", request, shape, compiled), bytes | None)
    assert isinstance(fold(request, shape, compiled), Folded)
    values = nominated_values((name, *sorted(request.fields)), request, compiled)
    first, second = variant_slots(values, 32)
    assert 1 <= first <= 32
    assert 1 <= second <= 32
    assert first != second


@profile
@given(texts, choices, octets, octets, octets, texts)
def test_targets_of_urls(
    url: str, configured: Settings, authority: bytes, path: bytes, query: bytes, root: str
) -> None:
    for base in (None, Target(authority, path, query)):
        assert isinstance(target_of(url, configured, base, root), Target | None)


@profile
@given(requests, heads, choices, st.booleans(), moments, moments)
def test_storing(
    request: RequestHead,
    head: ResponseHead,
    configured: Settings,
    flag: bool,
    started: float,
    ended: float,
) -> None:
    match = configured.plan.matcher.match(request.path, request.raw_path)
    compiled = configured.plan.compiled(match)
    fill = Exchange(
        request, compiled, {}, flag, not flag, flag, (b"x-b",), started, ended, 0.5
    )  # fmt: skip
    rule = None if compiled is None else compiled.rule
    assert isinstance(admit(fill, head, configured, rule), StoredResponse | Refusal)


@profile
@given(requests, heads, choices)
def test_what_is_spoiled(request: RequestHead, head: ResponseHead, configured: Settings) -> None:
    spoiled = targets_to_invalidate(request, head, configured)
    assert all(isinstance(name, bytes) for name in spoiled)
    assert isinstance(is_unsafe(request.method), bool)


@profile
@given(requests, stored_responses, moments)
def test_conditions_of_clients(request: RequestHead, stored: StoredResponse, now: float) -> None:
    assert isinstance(is_not_modified(request, stored, now), bool)
    kept = not_modified_lines(stored.lines)
    assert set(kept) <= set(stored.lines)
    own = {value for _, value in conditional_fields(stored)}
    assert own <= {value for _, value in stored.lines}


def admitted(request: RequestHead, head: ResponseHead, configured: Settings, now: float) -> Any:
    """What is stored of an arbitrary response, made storable where it is not."""
    shown = request._replace(path="/x", raw_path=b"/x")
    left_out = {b"set-cookie", b"vary", b"cache-control", b"cache-groups", b"content-length"}
    kept = tuple(line for line in head.lines if line[0] not in left_out)
    fill = Exchange(shown, None, {}, False, False, False, (), now, now, 0.0)
    fresh = ResponseHead(200, (*kept, (b"cache-control", b"max-age=60, stale-if-error=9")))
    return fill, admit(fill, fresh, configured, None)


@profile
@given(requests, heads, heads, st.sampled_from(SETTINGS[:3]))
def test_own_conditions_and_what_comes_back(
    request: RequestHead, head: ResponseHead, answer: ResponseHead, configured: Settings
) -> None:
    now = 1_700_000_000.0
    fill, stored = admitted(request, head, configured, now)
    if not isinstance(stored, StoredResponse):
        return
    for name, _ in conditional_fields(stored):
        assert name in (b"if-none-match", b"if-modified-since")
    assert isinstance(usable_on_error(stored, now), bool)
    for freshen in (freshened, freshened_by_head):
        fresh = freshen(stored, answer, now)
        assert isinstance(fresh, ResponseHead | None)
        if fresh is not None:
            outcome = readmit(fill, fresh, configured, None, stored)
            assert isinstance(outcome, StoredResponse | Refusal)


@profile
@given(requests, stored_responses, octets, octets | st.none(), moments)
def test_ranges(
    request: RequestHead, stored: StoredResponse, wanted: bytes, condition: bytes | None, now: float
) -> None:
    fields = {**request.fields, b"range": b"bytes=" + wanted}
    if condition is not None:
        fields[b"if-range"] = condition
    for asked in (request, request._replace(fields=fields)):
        part = range_of(asked, stored, stored.lines, now)
        assert part is None or part.status in (206, 416)
