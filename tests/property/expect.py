"""The other side: where the model says that a cache has no excuse.

A cache that stores nothing makes no mistake. These are the simple cases in which the design
promises more than the RFC asks: one earlier answer with ``max-age`` and nothing unusual about it.
Imports nothing of ``asgi_cache``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.property.facts import Request, Terms, Version
from tests.property.syntax import combined, normal, ranges, tags, values

if TYPE_CHECKING:
    from tests.property.facts import Answer, Call
    from tests.property.model import Judge

PLAIN = {"max-age", "public", "stale-while-revalidate", "stale-if-error"}
SELECTING = ("accept-language", "accept-encoding", "x-flavour", "origin", "x-forwarded-host")
UNUSUAL = ("authorization", "cookie", "range", "if-match", "if-unmodified-since")
UNUSUAL_ANSWER = ("set-cookie", "date", "age", "expires", "connection", "vary")


@dataclass(frozen=True)
class Finished:
    """Which of the duties the cache under test has taken on yet."""

    validates: bool
    revalidates_behind: bool
    serves_on_error: bool
    slices: bool


def simple(request: Request, terms: Terms) -> bool:
    """A GET about which nothing is unusual."""
    told = "no-store" in request.says()
    told |= terms.honor_request_directives and bool(request.says().pairs)
    return (
        request.method == "GET"
        and not request.body
        and not told
        and not any(request.value(name) is not None for name in UNUSUAL)
    )


def clearly_stored(judge: Judge, request: Request) -> Version | None:
    """The one response that must be there for *request*, judged before its exchange."""
    calls = [call for call in judge.calls if call.target == request.target]
    if not calls or not simple(request, judge.terms):
        return None
    call = calls[-1]
    version = Version.of(call)
    conditions = ("if-none-match", "if-modified-since", "if-range")
    plain = (
        simple(call.request, judge.terms)
        and not any(combined(call.seen, name) for name in conditions)
        and call.foreground
        and not any(one.request is call.request for one in calls[:-1])
        and call.status == 200
        and version.unstorable(judge.terms) is None
        and not any(values(call.lines, name) for name in UNUSUAL_ANSWER)
        and {name for name, _ in version.says.pairs} <= PLAIN
        and [name for name, _ in version.says.pairs].count("max-age") == 1
    )
    alike = all(
        normal(name, request.value(name)) == normal(name, call.request.value(name))
        for name in SELECTING
    )
    spoiled = any(what == request.target and at > call.number for what, at in judge.spoiled)
    return version if plain and alike and not spoiled else None


def missed(
    version: Version | None, request: Request, answer: Answer, terms: Terms, finished: Finished
) -> str | None:
    """What *answer* should have been but was not; *version*: what :func:`clearly_stored` found."""
    if version is None:
        return None
    mine = [call for call in answer.calls if call.foreground]
    overdue = version.age(request.at) - version.lifetime(terms)
    serial = combined(version.lines, "x-serial")
    same = not mine and (answer.status == 304 or combined(answer.lines, "x-serial") == serial)
    if overdue < 0:
        return None if same else "fresh, simple, and not served"
    if _window(version, "stale-while-revalidate", terms) > overdue and finished.revalidates_behind:
        return None if same else "stale-while-revalidate, and not so served"
    if overdue > terms.keep or not mine:
        return None
    known = version.etag is not None or version.modified is not None
    if finished.validates and known and not _validates(version, mine[0]):
        return "stale, with a validator, and the app was not asked for it"
    if _window(version, "stale-if-error", terms) > overdue + mine[0].answered_at - request.at:
        served = combined(answer.lines, "x-serial") == serial or answer.status == 304
        if mine[0].failed and finished.serves_on_error and not served:
            return "stale-if-error, and the error was passed on"
    return None


def _validates(version: Version, call: Call) -> bool:
    if version.etag is not None:
        return version.etag in tags(combined(call.seen, "if-none-match") or "")
    modified = combined(version.lines, "last-modified")
    return combined(call.seen, "if-modified-since") == modified


def _window(version: Version, name: str, terms: Terms) -> float:
    said = version.says.seconds(name)
    default = terms.stale_if_error if name[-1] == "r" else terms.stale_while_revalidate
    return default if said is None else said


def unsliced(version: Version | None, request: Request, answer: Answer) -> str | None:
    """A single satisfiable range of a fresh stored response is a 206 (RFC 9110 §14)."""
    spans = ranges(request.value("range") or "", len(version.base.body)) if version else None
    if not spans or len(spans) > 1 or answer.calls:
        return None
    conditional = any(name.startswith("if-") for name, _ in request.fields)
    return None if conditional or answer.status == 206 else "one range, and no 206"
