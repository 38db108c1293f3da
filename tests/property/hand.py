"""Judges with a little history, requests and answers, made by hand in one line each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.property.facts import Answer, Call, Request, Terms
from tests.property.model import Judge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.property.syntax import Pairs

NOW = 1_700_000_000.0
BODY = b"0123456789abcdef"
FULL = (
    ("cache-control", "max-age=10"),
    ("x-serial", "1"),
    ("etag", '"v1"'),
    ("content-type", "text/plain"),
)
PLAIN = Terms()
FIRST = Request(at=NOW)
OLD = Terms(stale_while_revalidate=5.0, stale_if_error=5.0)


def history(
    terms: Terms = PLAIN, lines: Pairs = FULL, request: Request = FIRST, **others: Any
) -> Judge:
    """A judge that has seen one call, its answer passed on."""
    judge = Judge(terms)
    call = call_of(request, 1, lines=lines, **others)
    assert judge.judge(request, Answer(call.status, call.lines, call.body, calls=[call])) == []
    return judge


def call_of(
    request: Request,
    number: int,
    *,
    lines: Pairs = FULL,
    status: int = 200,
    body: bytes = BODY,
    **others: Any,
) -> Call:
    """The app's answer to *request*, which it saw as it came."""
    made = Call(number, request, request.fields, request.method, request.target, request.at)
    options = {"answered_at": request.at, "complete": True, **others}
    return replace(made, status=status, lines=lines, body=body, **options)


def ask(after: float, *fields: tuple[str, str], method: str = "GET", target: str = "/a") -> Request:
    return Request(method, target, tuple(fields), NOW + after)


def hit(
    age: int,
    *,
    lines: Pairs = FULL,
    status: int = 200,
    body: bytes = BODY,
    drop: Iterable[str] = (),
    **others: Any,
) -> Answer:
    """An answer made of what :func:`history` stored."""
    kept = tuple(line for line in lines if line[0] not in drop)
    return Answer(status, (*kept, ("age", str(age))), body, **others)


def forbidden(judge: Judge, request: Request, answer: Answer, why: str) -> None:
    reasons = judge.judge(request, answer)
    assert any(why in reason for reason in reasons), reasons


def replaced(name: str, value: str, lines: Pairs = FULL) -> Pairs:
    return (*(line for line in lines if line[0] != name), (name, value))


def validated(
    lines: Pairs = (("etag", '"v1"'), ("x-fresh", "2")),
    asked: str = '"v1"',
    request: Request | None = None,
) -> Call:
    request = request or ask(20)
    seen = (*request.fields, ("if-none-match", asked))
    return replace(call_of(request, 2, status=304, lines=lines, body=b""), seen=seen)
