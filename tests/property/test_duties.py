"""The judge is judged: what an app said must reach its client, and where a cache has no excuse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.property.expect import Finished, clearly_stored, missed, unsliced
from tests.property.facts import Answer, Request, Terms
from tests.property.hand import (
    BODY,
    FULL,
    OLD,
    ask,
    call_of,
    forbidden,
    history,
    hit,
    replaced,
    validated,
)

if TYPE_CHECKING:
    from tests.property.syntax import Pairs

ALL = Finished(True, True, True, True)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(200, FULL, b"other"), "status or body"),
        (Answer(203, FULL, BODY), "status or body"),
        (Answer(200, FULL, BODY, complete=False), "its end"),
        (Answer(200, FULL[1:], BODY), "cache-control changed"),
        (Answer(200, (*FULL, ("x-a", "1")), BODY), "added"),
        (Answer(200, (*FULL, ("set-cookie", "a=1")), BODY), "added"),
        (hit(20), "the app answered, and this is older"),
    ],
)
def test_what_the_app_said_is_passed_on_whole(answer: Answer, why: str) -> None:
    request = ask(20)
    forbidden(history(), request, replace(answer, calls=[call_of(request, 2)]), why)


def test_the_app_runs_once() -> None:
    request = ask(20)
    answer = Answer(200, FULL, BODY, calls=[call_of(request, 2), call_of(request, 3)])
    forbidden(history(), request, answer, "more than once")


def test_a_304_that_the_cache_asked_for_is_not_the_clients() -> None:
    lines = (("etag", '"v1"'),)
    forbidden(history(), ask(20), Answer(304, lines, calls=[validated(lines)]), "did not send")


def test_a_304_about_another_response_validates_nothing() -> None:
    answer = hit(0, calls=[validated((("etag", '"v2"'),), '"v2"')])
    judge = history()
    judge.calls.append(call_of(ask(0, target="/b"), 1, lines=(("etag", '"v2"'),)))
    forbidden(judge, ask(20), answer, "older")


def test_the_app_is_asked_as_the_client_asked() -> None:
    request = ask(20, ("cookie", "a=1"))
    call = replace(call_of(request, 2), seen=())
    forbidden(history(), request, Answer(200, FULL, BODY, calls=[call]), "other fields")
    call = replace(call_of(ask(20), 2), seen=(("if-none-match", 'W/"ours"'),))
    forbidden(history(), ask(20), Answer(200, FULL, BODY, calls=[call]), "neither")


# ------------------------------------------------------------------ no excuse


def due(terms: Terms, request: Request, answer: Answer, lines: Pairs = FULL) -> str | None:
    judge = history(terms, lines)
    return missed(clearly_stored(judge, request), request, answer, terms, ALL)


def test_a_cache_that_never_serves_does_not_pass() -> None:
    request = ask(3)
    answer = Answer(200, FULL, BODY, calls=[call_of(request, 2)])
    assert due(Terms(), request, answer) == "fresh, simple, and not served"
    assert due(Terms(), request, hit(3)) is None
    behind = "stale-while-revalidate, and not so served"
    assert due(OLD, ask(12), answer) == behind
    unasked = "stale, with a validator, and the app was not asked for it"
    assert due(Terms(), ask(12), answer) == unasked
    failed = replace(validated(request=ask(12)), status=503)
    lines = replaced("cache-control", "max-age=10, stale-if-error=9")
    wrong = Answer(503, (), b"", calls=[failed])
    assert due(Terms(), ask(12), wrong, lines) == "stale-if-error, and the error was passed on"


def test_a_cache_that_never_slices_does_not_pass() -> None:
    request = ask(3, ("range", "bytes=0-1"))
    version = clearly_stored(history(), ask(3))
    assert unsliced(version, request, hit(3)) == "one range, and no 206"
    assert unsliced(version, ask(3), hit(3)) is None
