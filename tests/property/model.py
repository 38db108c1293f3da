"""The judge: whether a client may have got this answer, by the whole history of what the app said.

Not a second cache but a reading of RFC 9111 (with RFC 5861, RFC 9110 §13 and §14, and the
stricter rules of the design's decisions 2 to 5) as a question: which of the app's answers may this
one have come from, and may it have come from there now? Imports nothing of ``asgi_cache``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.property.facts import KEYED, NO_STALE, UNSHOWN, Version
from tests.property.looks import Looks
from tests.property.syntax import by_name, combined, tags, values

if TYPE_CHECKING:
    from tests.property.facts import Answer, Call, Request, Terms

SAFE = {"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT"}
FOREVER = 2**31
RETRY_SECONDS = 5.0


class Judge:
    """Judges one history; :meth:`judge` is called with every exchange in turn."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.calls: list[Call] = []
        self.spoiled: list[tuple[str, int]] = []
        """Targets, and the number of the call that spoiled what began before it (§4.4)."""
        self.looks = Looks(terms)
        self.served: list[Version] = []
        """What has been seen to be stored."""

    def judge(self, request: Request, answer: Answer) -> list[str]:
        """Nothing where *answer* is permitted, else what is wrong with each explanation."""
        wrong = [why for call in answer.calls if (why := self._asked(request, call))]
        self.calls += answer.calls
        mine = [call for call in answer.calls if call.foreground]
        wrong += self._explained(request, answer, mine)
        for call in answer.calls:
            if call.method not in SAFE and 200 <= call.status <= 399:
                self.spoiled.append((call.target, call.number))
                self.spoiled += [
                    (value, call.number)
                    for name in ("location", "content-location")
                    for value in values(call.lines, name)
                ]
        return wrong

    def _explained(self, request: Request, answer: Answer, mine: list[Call]) -> list[str]:
        if len(mine) > 1 and not (len(mine) == 2 and mine[0].status == 304):
            return ["the app ran more than once for one request"]
        if answer.raised:
            return [] if any(call.raised for call in mine) else ["an exception out of nothing"]
        wrong = []
        for call in reversed(mine):
            why = self.passed(request, answer, call)
            if why is None:
                return []
            wrong.append(f"call {call.number}, passed on: {why}")
        if request.method not in ("GET", "HEAD"):
            return [*wrong, "this method is for the app alone"]
        for version in self.versions(request.target):
            why = self.reused(request, answer, version, mine)
            if why is None:
                if answer.status not in (304, 416):  # which do not say whose they are
                    self.served.append(version)
                return []
            wrong.append(f"call {version.base.number}, freshened by {version.last.number}: {why}")
        asked_for = self.terms.honor_request_directives and "only-if-cached" in request.says()
        if asked_for and answer.status == 504 and not mine:
            return []
        return [*wrong, "made of nothing the app said"]

    def versions(self, target: str) -> list[Version]:
        """Everything that may be stored of *target*, the newest first."""
        found: list[Version] = []
        for call in self.calls:
            if call.target != target:
                continue
            for version in tuple(found):
                found += version.freshened(call)
            if call.method == "GET":
                found.append(Version.of(call))
        return sorted(found, key=lambda version: -version.last.number)

    # ------------------------------------------------------------------ to the app

    def _asked(self, request: Request, call: Call) -> str | None:
        """What is wrong with how the app was asked."""
        sent = [line for line in request.fields if line[0] not in UNSHOWN]
        shown = [line for line in call.seen if line[0] not in UNSHOWN]
        if call.foreground and sent != shown:
            return "the app was shown other fields than the client sent"
        allowed = tags(request.value("if-none-match") or "")
        for other in self.calls:
            allowed += values(other.lines, "etag")
        asked = tags(combined(call.seen, "if-none-match") or "")
        if not set(asked) <= set(allowed):
            return "the app was asked for an entity tag that neither it nor the client made"
        return None

    def passed(self, request: Request, answer: Answer, call: Call) -> str | None:
        """Why *answer* is not that of *call*, passed on as it came."""
        if call.method != request.method or call.target != request.target:
            return "another request's"
        if (answer.status, answer.body) != (call.status, call.body):
            return "another status or body"
        if answer.complete != call.complete:
            return "its end"
        if call.status in (206, 304, 412, 416):
            for name in ("if-none-match", "if-modified-since", "if-range", "range"):
                if combined(call.seen, name) not in (None, request.value(name)):
                    return f"the client did not send this {name}"
        came, went = by_name(call.lines), by_name(answer.lines)
        for name, lines in came.items():
            if name != "cache-status" and went.get(name) != lines:
                return f"{name} changed"
        version = Version.of(call)
        added = set(went) - set(came) - {"cache-status"}
        if not added <= {"etag"} | self.looks.granted(version):
            return f"added {added}"
        return self.looks.tag_of(version, answer) if "etag" in added else None

    # ------------------------------------------------------------------ from the store

    def reused(
        self, request: Request, answer: Answer, version: Version, mine: list[Call]
    ) -> str | None:
        """Why *answer* may not be made from *version* (RFC 9111 §4)."""
        terms, base = self.terms, version.base
        validated = version.last in mine
        if base.target != request.target:
            return "another target"
        for name in KEYED:
            if request.value(name) != base.request.value(name):
                return f"another {name}"
        # Who has just heard from the app that it holds may have it whatever the app added.
        held = Version.of(base) if validated else version
        first = held.unstorable(terms)
        if answer.status == 304 and base in mine and first in ("length", "incomplete"):
            first = None  # the head was enough
        if first is not None:
            return f"not storable: {first}"
        if not version.selected_by(request):
            return "another variant (§4.1)"
        if request.value("authorization") and not held.for_authorization(terms):
            return "not for requests with Authorization (§3.5)"
        if request.value("cookie") and not (held.shared or terms.cookies_ignored):
            return "not for requests with cookies (decision 4)"
        if request.value("if-match") or request.value("if-unmodified-since"):
            return "a precondition for the origin (§4.3.2)"
        if any(version.base.number < at for what, at in self.spoiled if what == request.target):
            return "invalidated (§4.4)"
        if not validated and any(self._newer(request, other, version) for other in self.served):
            return "a newer one was stored"
        why = None if validated else self._stale(request, answer, version, mine)
        return why or self.looks.shaped(request, answer, version, validated=validated)

    def _newer(self, request: Request, other: Version, version: Version) -> bool:
        return (
            other.base.target == version.base.target
            and other.last.number > version.last.number
            and other.selected_by(request)
            and not (other.date or version.date)
        )

    def _stale(
        self, request: Request, answer: Answer, version: Version, mine: list[Call]
    ) -> str | None:
        """Why it may not be used without validation (§4.2, §4.2.4, §5.2.1)."""
        terms, says = self.terms, version.says
        lifetime, age = version.lifetime(terms), version.age(request.at)
        if any(call.failed for call in mine):
            age = version.age(max(call.answered_at for call in mine))
        overdue = age - lifetime
        failed = any(call.failed for call in mine)
        if mine and not failed:
            return "the app answered, and this is older (§4.3.3)"
        wishes = request.says() if terms.honor_request_directives else None
        fresh = overdue < 0 and says.qualified("no-cache") != set()
        limit, margin = None, 0
        if wishes is not None:
            limit, margin = wishes.seconds("max-age"), wishes.seconds("min-fresh") or 0
            if not failed and wishes.qualified("no-cache") is not None:
                return "the request says no-cache"
        slack = self._max_stale(request)
        if fresh and not failed and (overdue + margin > 0 and slack is None):
            return "the request says min-fresh"
        if not failed and limit is not None and age > limit and slack is None:
            return "the request says max-age"
        if fresh:
            return None
        if any(name in says for name in NO_STALE if name != "no-cache") or (
            says.qualified("no-cache") == set()
        ):
            return f"stale by {overdue}, and a directive forbids that (§4.2.4)"
        windows = {}
        for name in ("stale-while-revalidate", "stale-if-error"):
            said = says.seconds(name)
            default = terms.stale_if_error if name[-1] == "r" else terms.stale_while_revalidate
            windows[name] = default if said is None else said
        if failed:
            asked = wishes.seconds("stale-if-error") if wishes is not None else None
            window = max(windows["stale-if-error"], asked or 0)
            return None if 0 < window >= overdue else f"stale by {overdue}, an error"
        if slack is not None and overdue <= slack:
            return None
        window = windows["stale-while-revalidate"]
        if not 0 < window >= overdue:
            return f"stale by {overdue} (§4.2.4)"
        return None if answer.calls or self.lately(request) else "stale, and nobody revalidates it"

    def lately(self, request: Request) -> bool:
        """Whether a revalidation behind an answer was tried a moment ago, so that one may wait."""
        return any(
            not call.foreground
            and call.target == request.target
            and call.answered_at > request.at - RETRY_SECONDS
            for call in self.calls
        )

    def _max_stale(self, request: Request) -> int | None:
        wishes = request.says()
        if not self.terms.honor_request_directives or "max-stale" not in wishes:
            return None
        bare = ("max-stale", None) in wishes.pairs
        return FOREVER if bare else wishes.seconds("max-stale")
