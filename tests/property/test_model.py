"""The judge is judged: answers made by hand, wrong ones that it must forbid and right ones.

Whoever weakens the model fails here; a model that forbids nothing would pass everything else.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from tests.property import expect, facts, looks, model, syntax
from tests.property.facts import Answer, Request, Terms
from tests.property.hand import (
    BODY,
    FULL,
    NOW,
    OLD,
    ask,
    call_of,
    forbidden,
    history,
    hit,
    replaced,
    validated,
)
from tests.property.syntax import http_date

if TYPE_CHECKING:
    from tests.property.syntax import Pairs


def test_the_model_shares_no_code_with_the_cache() -> None:
    for module in (expect, facts, looks, model, syntax):
        source = inspect.getsource(module)
        assert "import asgi_cache" not in source
        assert "from asgi_cache" not in source


# ------------------------------------------------------------------ right ones


@pytest.mark.parametrize(
    ("terms", "lines", "request_", "answer"),
    [
        (Terms(), FULL, ask(9), hit(9)),
        (Terms(), FULL, ask(9, method="HEAD"), hit(9, body=b"")),
        (Terms(), FULL, ask(3, ("if-none-match", '"v1"')), hit(3, status=304, body=b"")),
        (Terms(), FULL, ask(3, ("if-none-match", 'W/"v1", "x"')), hit(3, status=304, body=b"")),
        (
            Terms(),
            FULL,
            ask(3, ("range", "bytes=2-4")),
            hit(3, lines=(*FULL, ("content-range", "bytes 2-4/16")), status=206, body=b"234"),
        ),
        (Terms(), FULL, ask(3, ("range", "bytes=2-4")), hit(3)),
        (
            Terms(),
            FULL,
            ask(3, ("range", "bytes=99-")),
            hit(3, lines=(*FULL, ("content-range", "bytes */16")), status=416, body=b""),
        ),
        (
            Terms(honor_request_directives=True),
            FULL,
            ask(14, ("cache-control", "max-stale=5")),
            hit(14),
        ),
    ],
)
def test_what_is_right_is_permitted(
    terms: Terms, lines: Pairs, request_: Request, answer: Answer
) -> None:
    assert history(terms, lines).judge(request_, answer) == []


def test_stale_while_something_revalidates() -> None:
    request = ask(12)
    behind = call_of(request, 2, foreground=False)
    assert history(OLD).judge(request, hit(12, calls=[behind])) == []


def test_stale_where_the_app_fails() -> None:
    request = ask(12)
    failing = call_of(request, 2, status=503, lines=(), body=b"")
    assert history(OLD).judge(request, hit(12, calls=[failing])) == []


def test_validated_by_a_304_and_fresh_again() -> None:
    judge, lines = history(), (*FULL, ("x-fresh", "2"))
    assert judge.judge(ask(20), hit(0, lines=lines, calls=[validated()])) == []
    assert judge.judge(ask(29), hit(9, lines=lines)) == []
    forbidden(judge, ask(31), hit(11, lines=lines), "stale by")
    forbidden(judge, ask(29), hit(9), "x-fresh")


# ------------------------------------------------------------------ wrong ones: from the store

WRONG = {
    "stale": (Terms(), ask(10), hit(10), "stale by"),
    "stale, and nobody revalidates": (OLD, ask(12), hit(12), "nobody revalidates"),
    "stale for too long": (OLD, ask(16), hit(16), "stale by 6"),
    "no Age": (Terms(), ask(3), Answer(200, FULL, BODY), "Age is []"),
    "another Age": (Terms(), ask(3), hit(0), "Age is"),
    "another target": (Terms(), ask(3, target="/b"), hit(3), "made of nothing"),
    "another body": (Terms(), ask(3), hit(3, body=b"other"), "another body"),
    "another status": (Terms(), ask(3), hit(3, status=203), "another status"),
    "a HEAD's body for a GET": (Terms(), ask(3), hit(3, body=b""), "another body"),
    "a body for a HEAD": (Terms(), ask(3, method="HEAD"), hit(3), "another body"),
    "a method that is none of the cache's": (Terms(), ask(3, method="POST"), hit(3), "alone"),
    "incomplete": (Terms(), ask(3), hit(3, complete=False), "incomplete"),
    "a 304 to a client without condition": (
        Terms(), ask(3), hit(3, status=304, body=b""), "no condition",
    ),
    "a 304 for another tag": (
        Terms(), ask(3, ("if-none-match", '"v2"')), hit(3, status=304, body=b""), "no condition",
    ),
    "a 304 without its validator": (
        Terms(),
        ask(3, ("if-none-match", '"v1"')),
        hit(3, status=304, body=b"", drop=("etag",)),
        "without {'etag'}",
    ),
    "a part that nobody wanted": (
        Terms(),
        ask(3),
        hit(3, lines=(*FULL, ("content-range", "bytes 2-4/16")), status=206, body=b"234"),
        "no range",
    ),
    "other bytes": (
        Terms(),
        ask(3, ("range", "bytes=2-4")),
        hit(3, lines=(*FULL, ("content-range", "bytes 2-4/16")), status=206, body=b"345"),
        "other bytes",
    ),
    "another range": (
        Terms(),
        ask(3, ("range", "bytes=2-4")),
        hit(3, lines=(*FULL, ("content-range", "bytes 0-1/16")), status=206, body=b"01"),
        "other ranges",
    ),
    "a part of what If-Range does not mean": (
        Terms(),
        ask(3, ("range", "bytes=2-4"), ("if-range", '"v0"')),
        hit(3, lines=(*FULL, ("content-range", "bytes 2-4/16")), status=206, body=b"234"),
        "If-Range",
    ),
    "a part of what the client has": (
        Terms(),
        ask(3, ("range", "bytes=2-4"), ("if-none-match", '"v1"')),
        hit(3, lines=(*FULL, ("content-range", "bytes 2-4/16")), status=206, body=b"234"),
        "before Range",
    ),
    "a 416 for a range that is there": (
        Terms(),
        ask(3, ("range", "bytes=2-4")),
        hit(3, lines=(*FULL, ("content-range", "bytes */16")), status=416, body=b""),
        "no 416",
    ),
    "a field of nobody's": (Terms(), ask(3), hit(3, lines=(*FULL, ("x-a", "1"))), "x-a"),
    "the Cache-Status of another exchange": (
        Terms(),
        ask(3),
        hit(3, lines=(*FULL, *[("cache-status", "asgi-cache; hit")] * 2)), "one of ours",
    ),
    "a field lost": (Terms(), ask(3), hit(3, drop=("content-type",)), "without"),
    "another tag": (Terms(), ask(3), hit(3, lines=replaced("etag", '"v2"')), "etag is not"),
    "a cookie's request": (Terms(), ask(3, ("cookie", "a=1")), hit(3), "cookies"),
    "Authorization": (Terms(), ask(3, ("authorization", "a")), hit(3), "§3.5"),
    "a precondition": (Terms(), ask(3, ("if-match", '"v1"')), hit(3), "precondition"),
    "another proxy": (Terms(), ask(3, ("x-forwarded-host", "e")), hit(3), "x-forwarded-host"),
    "no-cache": (
        Terms(honor_request_directives=True),
        ask(3, ("cache-control", "no-cache")), hit(3), "says no-cache",
    ),
    "max-age": (
        Terms(honor_request_directives=True),
        ask(3, ("cache-control", "max-age=2")), hit(3), "says max-age",
    ),
    "min-fresh": (
        Terms(honor_request_directives=True),
        ask(3, ("cache-control", "min-fresh=8")), hit(3), "says min-fresh",
    ),
    "max-stale": (
        Terms(honor_request_directives=True),
        ask(14, ("cache-control", "max-stale=3")), hit(14), "stale by",
    ),
    "max-stale, not honoured": (Terms(), ask(14, ("cache-control", "max-stale")), hit(14), "stale"),
    "only-if-cached, not honoured": (
        Terms(), ask(14, ("cache-control", "only-if-cached")), Answer(504), "made of nothing",
    ),
    "an exception of the cache's own": (Terms(), ask(3), Answer(raised=True), "out of nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("terms", "request_", "answer", "why"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_forbidden(
    terms: Terms, request_: Request, answer: Answer, why: str
) -> None:
    forbidden(history(terms), request_, answer, why)


UNSTORABLE = {
    "no-store": (("cache-control", "no-store, max-age=10"),),
    "private": (("cache-control", "PRIVATE , max-age=10"),),
    "set-cookie": (("cache-control", "max-age=10"), ("set-cookie", "a=1")),
    "vary": (("cache-control", "max-age=10"), ("vary", "x, *")),
    "§3, last": (("x-none", "1"),),
    "length": (("cache-control", "max-age=10"), ("content-length", "3")),
    "stale by": (("cache-control", "no-cache, max-age=10"),),
    "x-secret does not": (("cache-control", 'no-cache="x-secret", max-age=10'), ("x-secret", "1")),
    "close does not": (("cache-control", "max-age=10"), ("connection", "close"), ("close", "1")),
}


@pytest.mark.parametrize("why", UNSTORABLE)
def test_what_may_not_be_stored_may_not_be_served(why: str) -> None:
    lines, status = UNSTORABLE[why], 299 if why.startswith("§3") else 200
    drop = {"set-cookie", "connection", "content-length"}
    answer = hit(3, lines=lines, status=status, drop=drop)
    forbidden(history(lines=lines, status=status), ask(3), answer, why)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ((("cookie", "a=1"),), "cookie"),
        ((("authorization", "a"),), "authorization"),
        ((("cache-control", "no-store"),), "request no-store"),
    ],
)
def test_another_users_page_is_forbidden(fields: Pairs, why: str) -> None:
    judge = history(request=Request(fields=fields, at=NOW))
    forbidden(judge, ask(3), hit(3), why)


def test_another_variant_is_forbidden() -> None:
    lines = (*FULL, ("vary", "Accept-Language"))
    judge = history(lines=lines, request=Request(fields=(("accept-language", "de"),), at=NOW))
    forbidden(judge, ask(3, ("accept-language", "en")), hit(3, lines=lines), "§4.1")
    forbidden(judge, ask(3), hit(3, lines=lines), "§4.1")
    assert judge.judge(ask(3, ("accept-language", "DE")), hit(3, lines=lines)) == []


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "s-maxage=10"])
def test_stale_is_forbidden_where_a_directive_says_so(directive: str) -> None:
    lines = replaced("cache-control", f"max-age=10, {directive}, stale-if-error=60")
    request = ask(12)
    failing = call_of(request, 2, status=503, lines=(), body=b"")
    forbidden(history(OLD, lines), request, hit(12, lines=lines, calls=[failing]), "§4.2.4")


@pytest.mark.parametrize(("status", "spoils"), [(200, True), (303, True), (404, False)])
@pytest.mark.parametrize("method", ["POST", "FROB", "OPTIONS"])
def test_what_an_unsafe_method_spoiled_is_forbidden(method: str, status: int, spoils: bool) -> None:
    judge, request = history(), ask(1, method=method)
    call = call_of(request, 2, lines=(), status=status)
    assert judge.judge(request, Answer(status, (), BODY, calls=[call])) == []
    wrong = judge.judge(ask(3), hit(3))
    assert bool(wrong) == (spoils and method != "OPTIONS")


def test_ages_and_dates_of_the_app_count() -> None:
    old = (*FULL, ("age", "4"))
    forbidden(history(lines=old), ask(7), hit(7, lines=FULL), "stale by 1")
    dated = (*FULL, ("date", http_date(NOW - 4)))
    forbidden(history(lines=dated), ask(7), hit(7, lines=dated), "stale by 1")
    assert history(lines=dated).judge(ask(3), hit(7, lines=dated)) == []
    expires = (("expires", "0"),)
    forbidden(history(lines=expires), ask(0), hit(0, lines=expires), "stale by")
