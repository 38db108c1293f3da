"""The checker's judge: a right answer passes, and each wrong one that is made by hand does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.checker.app import CONFIRMED, HEAD_TOLD, TOLD
from tests.security.checker.bodies import BrokenError, Told, body_of, line_of, told_by, told_in
from tests.security.checker.exchange import Asked, Got
from tests.security.checker.judge import SECOND, Fault, judge
from tests.security.checker.pages import KINDS, SITES, all_scopes, scopes_of

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_000 * SECOND
ANN = "user-ann-"
BOB = "user-bob-"


def question(kind: str = "ruled", **others: Any) -> Asked:
    asked = Asked(
        ask="0-1",
        site="first",
        host="a.example",
        path=f"/{kind}/1",
        query="q=1",
        sent="q=1",
        began=NOW,
    )
    return replace(asked, **others)


def made(asked: Asked, *fields: tuple[str, str], **others: Any) -> Told:
    """What the app says when it was called for *asked*, half a second before that."""
    told = Told(
        site=asked.site,
        worker=2,
        serial=7,
        ask="2-9",
        method="GET",
        host=asked.host,
        path=asked.path,
        query=asked.query,
        fields=(("host", asked.host), *fields),
        user=None,
        version=NOW - SECOND // 2,
        data=0,
        status=200,
        length=100,
    )
    return replace(told, **others)


def answer(told: Told, *lines: tuple[str, str], **others: Any) -> Got:
    body = body_of(told)
    got = Got(
        status=told.status,
        headers=[(TOLD, line_of(told)), (CONFIRMED, str(told.version)), *lines],
        body=body,
        started=NOW + SECOND // 100,
        ended=NOW + SECOND // 50,
    )
    return replace(got, **others)


def faults(asked: Asked, got: Got, **options: Any) -> set[Fault]:
    return {fault for fault, _ in judge(asked, got, **options)}


def test_a_body_says_what_it_was_made_of() -> None:
    told = made(question())
    assert told_in(body_of(told)) == told
    assert told_by(line_of(told)) == told
    assert len(body_of(told)) == len(line_of(told)) + 64 + 2 + told.length


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body + b"x",
        lambda body: b"",
        lambda body: body[:200] + b"x" + body[201:],
        lambda body: body[:-1] + bytes([body[-1] ^ 1]),
        lambda body: body + body,
    ],
)
def test_a_body_that_is_cut_mixed_or_changed_is_seen(change: Callable[[bytes], bytes]) -> None:
    asked = question()
    told = made(asked)
    with pytest.raises(BrokenError):
        told_in(change(body_of(told)))
    assert Fault.BROKEN in faults(asked, answer(told, body=change(body_of(told))))


def test_a_sealed_body_that_the_app_never_made_is_seen() -> None:
    """Its digest is right, and its filler another call's."""
    asked = question()
    told = made(asked)
    other = made(asked, serial=8)
    mixed = body_of(told).rpartition(b"\n")[0]
    assert faults(asked, answer(told, body=mixed + b"\n" + body_of(other)[-100:])) == {Fault.BROKEN}
    assert faults(asked, answer(told), issued=lambda worker: 6) == {Fault.BROKEN}
    assert faults(asked, answer(told), issued=lambda worker: 7) == set()


RIGHT: dict[str, tuple[Asked, Told | None, dict[str, Any]]] = {
    "another one's fill": (question(), made(question()), {}),
    "its own": (question(user=ANN), made(question(), ask="0-1", user=ANN), {}),
    "a private page of its own": (
        question("private", user=ANN),
        made(question("private"), ask="0-1", user=ANN),
        {},
    ),
    "a folded query": (question("query", sent="junk=1&q=1"), made(question("query")), {}),
    "a folded language": (
        question("lang", language="DE , xx"),
        made(question("lang"), ("accept-language", "de")),
        {},
    ),
    "its taste": (
        question("taste", taste="sweet", user=BOB),
        made(question("taste"), ("cookie", "taste=sweet")),
        {},
    ),
    "stale within its window": (
        question("stale"),
        made(question("stale"), version=NOW - 3 * SECOND),
        {},
    ),
    "old, but confirmed": (
        question("etag"),
        made(question("etag"), version=NOW - 60 * SECOND),
        {"headers": {CONFIRMED: str(NOW - SECOND)}},
    ),
    "soft purged, but confirmed": (
        question("etag", softened=NOW - 2 * SECOND),
        made(question("etag"), version=NOW - 60 * SECOND),
        {"headers": {CONFIRMED: str(NOW - SECOND)}},
    ),
    "an error of its own": (
        question("error"),
        made(question("error"), ask="0-1", status=500),
        {},
    ),
    "the app's exception": (question("error"), None, {"raised": "app:0-1"}),
    "its own short stream": (
        question("stream"),
        made(question("stream"), ask="0-1", fault="cut"),
        {"complete": False, "body": b""},
    ),
    "a client that left": (
        question(),
        made(question()),
        {"left": True, "body": b"", "complete": False},
    ),
    "a client that left at once": (question(), None, {"left": True}),
    "slow, as the app was": (
        question(),
        made(question()),
        {"ended": NOW + 9 * SECOND, "app_time": 9 * SECOND},
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name: str) -> None:
    asked, told, changes = RIGHT[name]
    assert judge(asked, changed(told, changes)) == []


def changed(told: Told | None, changes: dict[str, Any]) -> Got:
    got = Got(ended=NOW + SECOND) if told is None else answer(told)
    lines = {**dict(got.headers), **changes.get("headers", {})}
    return replace(got, **{**changes, "headers": list(lines.items())})


WRONG: dict[str, tuple[Fault, Asked, Told | None, dict[str, Any]]] = {
    "another site's": (Fault.FOREIGN, question(), made(question(), site="second"), {}),
    "another host's": (Fault.FOREIGN, question(), made(question(host="b.example")), {}),
    "another path's": (Fault.FOREIGN, question(), made(question(), path="/ruled/2"), {}),
    "another query's": (Fault.FOREIGN, question(), made(question(), query="q=2"), {}),
    "an unfolded query": (
        Fault.FOREIGN,
        question("query", sent="junk=1&q=1"),
        made(question("query"), query="junk=2&q=1"),
        {},
    ),
    "a poisoner's": (
        Fault.FOREIGN,
        question(),
        made(question(), ("x-forwarded-host", "evil.example")),
        {},
    ),
    "another variant": (
        Fault.FOREIGN,
        question("vary", flavour="x"),
        made(question("vary"), ("x-flavour", "y")),
        {},
    ),
    "another language": (
        Fault.FOREIGN,
        question("lang", language="de"),
        made(question("lang"), ("accept-language", "en")),
        {},
    ),
    "another taste": (
        Fault.FOREIGN,
        question("taste"),
        made(question("taste"), ("cookie", "taste=sweet")),
        {},
    ),
    "another user's": (
        Fault.USER,
        question(user=ANN),
        made(question(), ("cookie", f"user={BOB}"), user=BOB),
        {},
    ),
    "another user's, under one's own name": (
        Fault.USER,
        question(user=ANN),
        made(question(), ("cookie", f"user={ANN}"), ("referer", BOB), ask="0-1", user=ANN),
        {},
    ),
    "one's own, from the store": (
        Fault.USER,
        question(user=ANN),
        made(question(), ("cookie", f"user={ANN}"), user=ANN),
        {},
    ),
    "a shared private page": (Fault.USER, question("private"), made(question("private")), {}),
    "a shared uncached page": (Fault.USER, question("off"), made(question("off")), {}),
    "nobody's page for a user": (
        Fault.USER,
        question("maxage", user=ANN),
        made(question("maxage")),
        {},
    ),
    "a replayed cookie": (
        Fault.USER,
        question("cookie"),
        made(question("cookie")),
        {"headers": {"set-cookie": "sid=2-9"}},
    ),
    "the cookie of somebody else": (
        Fault.USER,
        question("cookie"),
        made(question("cookie"), ask="0-1"),
        {"headers": {"set-cookie": "sid=2-9"}},
    ),
    "the part that somebody asked for": (
        Fault.USER,
        question(),
        made(question(), ("range", "bytes=0-1")),
        {},
    ),
    "too old": (Fault.OLD, question(), made(question(), version=NOW - 6 * SECOND), {}),
    "too stale": (
        Fault.OLD,
        question("stale"),
        made(question("stale"), version=NOW - 5 * SECOND),
        {},
    ),
    "purged": (Fault.PURGED, question(purged=NOW - SECOND // 4), made(question()), {}),
    "purged, though confirmed": (
        Fault.PURGED,
        question("etag", purged=NOW - SECOND // 4),
        made(question("etag")),
        {"headers": {CONFIRMED: str(NOW)}},
    ),
    "soft purged": (Fault.PURGED, question(softened=NOW - SECOND // 4), made(question()), {}),
    "another one's error": (
        Fault.ERROR,
        question("error"),
        made(question("error"), status=500),
        {},
    ),
    "an error as a page": (
        Fault.ERROR,
        question("error"),
        made(question("error"), ask="0-1", status=500),
        {"status": 200},
    ),
    "another one's exception": (Fault.ERROR, question("error"), None, {"raised": "app:2-9"}),
    "an exception of ours": (Fault.ERROR, question(), None, {"raised": "KeyError('x')"}),
    "an exception after the end": (
        Fault.ERROR,
        question(),
        made(question()),
        {"raised": "KeyError()"},
    ),
    "a 500 that nobody made": (Fault.ERROR, question(), None, {"status": 500}),
    "no answer": (Fault.BROKEN, question(), None, {}),
    "no end": (Fault.BROKEN, question(), made(question()), {"complete": False}),
    "a short stream for everybody": (
        Fault.BROKEN,
        question("stream"),
        made(question("stream"), fault="cut"),
        {},
    ),
    "the wrong beginning": (
        Fault.BROKEN,
        question(),
        made(question()),
        {"left": True, "complete": False, "body": b"x"},
    ),
    "the fields of another answer": (
        Fault.BROKEN,
        question(),
        made(question()),
        {"headers": {TOLD: line_of(made(question(), serial=8))}},
    ),
    "fields that say nothing": (
        Fault.BROKEN,
        question(),
        made(question()),
        {"headers": {TOLD: "{"}},
    ),
    "a wrong length": (
        Fault.BROKEN,
        question(),
        made(question()),
        {"headers": {"content-length": "9"}},
    ),
    "an answer to HEAD": (Fault.BROKEN, question(), made(question(), method="HEAD"), {}),
    "a HEAD with a body": (Fault.HEAD, question(method="HEAD"), made(question()), {}),
    "a HEAD of another length": (
        Fault.HEAD,
        question(method="HEAD"),
        made(question()),
        {"body": b"", "headers": {"content-length": "9"}},
    ),
    "late": (Fault.LATE, question(), made(question()), {"ended": NOW + 9 * SECOND}),
    "a late hit": (
        Fault.LATE,
        question(),
        made(question()),
        {"ended": NOW + SECOND, "headers": {"cache-status": "asgi-cache; hit"}},
    ),
    "a 304 unasked": (Fault.CONDITION, question(), None, {"status": 304}),
    "a 304 about something else": (
        Fault.CONDITION,
        question(tag='"a"', tagged=made(question())),
        None,
        {"status": 304, "headers": {"etag": '"b"'}},
    ),
    "a 304 about what was purged": (
        Fault.PURGED,
        question(tag='"a"', tagged=made(question()), purged=NOW - 1),
        None,
        {"status": 304, "headers": {"etag": '"a"'}},
    ),
    "a 304 with a body": (
        Fault.CONDITION,
        question(tag='"a"', tagged=made(question())),
        None,
        {"status": 304, "headers": {"etag": '"a"'}, "body": b"x"},
    ),
    "a 416": (Fault.RANGE, question(range=(0, 9)), None, {"status": 416}),
    "a part unasked": (
        Fault.RANGE,
        question(),
        made(question()),
        {"status": 206, "body": b"", "headers": {"content-range": "bytes 0-0/1"}},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_seen(name: str) -> None:
    fault, asked, told, changes = WRONG[name]
    assert fault in faults(asked, changed(told, changes))


def test_a_part_is_judged_by_the_whole() -> None:
    told = made(question())
    body = body_of(told)
    asked = question(range=(5, 14), if_range='"t"')
    right = answer(
        told,
        ("content-range", f"bytes 5-14/{len(body)}"),
        ("etag", '"t"'),
        status=206,
        body=body[5:15],
    )
    assert faults(asked, right) == set()
    assert faults(asked, replace(right, body=body[6:16])) == {Fault.RANGE}
    assert faults(asked, replace(right, body=body[5:14])) == {Fault.RANGE}
    assert faults(replace(asked, range=(5, 15)), right) == {Fault.RANGE}
    assert faults(replace(asked, if_range='"u"'), right) == {Fault.RANGE}
    assert faults(replace(asked, purged=NOW), right) == {Fault.PURGED}


def test_a_head_is_judged_by_its_fields() -> None:
    asked = question(method="HEAD")
    told = made(asked, method="HEAD", ask="0-1")
    got = answer(told, body=b"")
    got.headers[0] = (HEAD_TOLD, line_of(told))
    assert faults(asked, got) == set()
    assert faults(replace(asked, host="b.example"), got) == {Fault.FOREIGN}


def test_a_304_to_who_asked_is_right() -> None:
    asked = question("etag", tag='W/"a"', tagged=made(question("etag")))
    assert faults(asked, Got(304, [("etag", '"a"')], ended=NOW)) == set()


def test_every_answer_belongs_to_known_scopes() -> None:
    known = set(all_scopes())
    for site in SITES:
        for kind in KINDS:
            assert set(scopes_of(site, "a.example", f"/{kind}/1", "q=1")) <= known
