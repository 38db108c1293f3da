"""What is known of a history, and what RFC 9111 §3 and §4.2 make of one response in it.

Imports nothing of ``asgi_cache``: a second, slow and obvious reading of the same text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from tests.property.syntax import (
    Directives,
    Pairs,
    combined,
    delta_seconds,
    http_date,
    instant,
    is_tag,
    members,
    normal,
    tags,
    values,
    weakly_equal,
)

HEURISTIC = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}
"""RFC 9110 §15.1, without 206."""
UNDERSTOOD = HEURISTIC | {302, 303, 307, 400, 401, 403, 421, 451, 500, 502, 503, 504}
GRANTED = {200, 203, 300, 301, 308}
"""What ``default_ttl`` applies to (design: decision 5)."""
ERRORS = {500, 502, 503, 504}
"""RFC 5861 §4."""
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info"),
    *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
}
ONE_EXCHANGE = {"x-response-time", "server-timing", "x-request-id"}
OF_THE_BODY = {"content-length", "content-encoding", "content-range", "etag"}
"""What a 304 never updates (§3.2); its ETag is weakly equal, and the stored one keeps its kind."""
KEYED = ("x-forwarded-host",)
"""Request fields that are part of the key (decision 2)."""
NO_STALE = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
"""§4.2.4, §5.2.2.10."""
UNSHOWN = {"accept-encoding", "accept-language", "if-none-match", "if-modified-since"}
UNSHOWN |= {"if-range", "range"}
"""Request fields that the app may see otherwise than the client sent them."""


@dataclass(frozen=True)
class Terms:
    """The settings that change what is permitted."""

    honor_request_directives: bool = False
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    heuristic_fraction: float = 0.0
    default_ttl: float | None = None
    max_ttl: float = 31 * 86400.0
    keep: float = 3600.0
    cookies_ignored: bool = False
    authorization_must_revalidate: bool = False


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str = "GET"
    target: str = "/a"
    fields: Pairs = ()
    at: float = 0.0
    body: bool = False

    def value(self, name: str) -> str | None:
        """A field's combined value."""
        return combined(self.fields, name)

    def says(self) -> Directives:
        """Its Cache-Control; ``Pragma`` where there is none (§5.4)."""
        lines = values(self.fields, "cache-control")
        return Directives(lines or values(self.fields, "pragma"))


@dataclass
class Call:
    """One run of the app, and what it answered."""

    number: int
    request: Request
    """Of the client: whose exchange this was."""
    seen: Pairs
    """The fields as the app saw them."""
    method: str
    target: str
    asked_at: float
    answered_at: float = 0.0
    status: int = 0
    lines: Pairs = ()
    body: bytes = b""
    complete: bool = False
    raised: bool = False
    foreground: bool = True

    @property
    def failed(self) -> bool:
        """An error in the sense of RFC 5861 §4."""
        return self.status in ERRORS or (self.raised and not self.status)


@dataclass
class Answer:
    """What the client got; of a body, what came of it."""

    status: int = 0
    lines: Pairs = ()
    body: bytes = b""
    complete: bool = True
    raised: bool = False
    calls: list[Call] = field(default_factory=list)
    """The app's runs in this exchange; background ones after the answer included."""


@dataclass(frozen=True, eq=False)
class Version:
    """A response as a cache may hold it: an app's answer, perhaps freshened since (§4.3.4)."""

    base: Call
    last: Call
    """Who said last that it is current: ``base``, or the call that was answered 304."""
    lines: Pairs
    date: tuple[str, ...]
    """Date lines that the age is counted from."""
    askers: tuple[Request, ...]
    """Whose request this was an answer to."""

    @classmethod
    def of(cls, call: Call) -> Version:
        """The response of *call* as it came."""
        return cls(call, call, call.lines, tuple(values(call.lines, "date")), (call.request,))

    @cached_property
    def says(self) -> Directives:
        """Its Cache-Control."""
        return Directives(values(self.lines, "cache-control"))

    @cached_property
    def etag(self) -> str | None:
        """The app's entity tag."""
        found = values(self.base.lines, "etag")
        return found[0] if len(found) == 1 and is_tag(found[0]) else None

    @cached_property
    def modified(self) -> float | None:
        """Last-Modified."""
        found = values(self.lines, "last-modified")
        return instant(found[0]) if len(found) == 1 else None

    def age(self, now: float) -> float:
        """§4.2.3; an app that sent neither Date nor Age is the origin, and its answer new."""
        received = self.last.answered_at
        ages = members(combined(self.last.lines, "age") or "")
        if not self.date and not values(self.last.lines, "age"):
            return max(0.0, now - received)
        date = instant(self.date[0]) if len(self.date) == 1 else None
        apparent = 0.0 if date is None else max(0.0, received - date)
        corrected = (delta_seconds(ages[0]) or 0 if ages else 0) + received - self.last.asked_at
        return max(apparent, corrected) + max(0.0, now - received)

    def lifetime(self, terms: Terms) -> float:
        """§4.2.1 and §4.2.2, in seconds; 0 where nothing grants one."""
        return min(self._lifetime(terms), terms.max_ttl)

    def _lifetime(self, terms: Terms) -> float:
        for name in ("s-maxage", "max-age"):
            seconds = self.says.seconds(name)
            if seconds is not None:
                return seconds
        received, expires = self.last.answered_at, values(self.lines, "expires")
        if expires:
            end = instant(expires[0]) if len(expires) == 1 else None
            date = instant(self.date[0]) if len(self.date) == 1 else None
            return 0.0 if end is None else end - (received if date is None else date)
        if terms.default_ttl is not None and self.base.status in GRANTED:
            return terms.default_ttl
        if self.modified is None or not self.heuristic:
            return 0.0
        return min(max(0.0, received - self.modified) * terms.heuristic_fraction, 86400.0)

    @property
    def heuristic(self) -> bool:
        """Whether §4.2.2 permits a heuristic lifetime."""
        return self.base.status in HEURISTIC or "public" in self.says

    @property
    def shared(self) -> bool:
        """The app said that a shared cache may give it to anybody, and has not taken it back."""
        return self._permits("public", "s-maxage")

    def for_authorization(self, terms: Terms) -> bool:
        """§3.5, with ``must-revalidate`` as the setting says."""
        more = ("must-revalidate",) if terms.authorization_must_revalidate else ()
        return self._permits("public", "s-maxage", *more)

    def _permits(self, *names: str) -> bool:
        first = Directives(values(self.base.lines, "cache-control"))
        return all(any(name in says for name in names) for says in (first, self.says))

    def selected_by(self, request: Request) -> bool:
        """§4.1, and the key: whether this may have been the answer to *request*."""
        return any(self._alike(request, asker) for asker in self.askers)

    def _alike(self, request: Request, asker: Request) -> bool:
        names = [name.lower() for name in members(combined(self.lines, "vary") or "")]
        names += ["accept-encoding"] * bool(values(self.lines, "content-encoding"))
        origins = values(self.lines, "access-control-allow-origin")
        names += ["origin"] * any(origin != "*" for origin in origins)
        return all(
            normal(name, request.value(name)) == normal(name, asker.value(name))
            for name in (*names, *KEYED)
        )

    def unstorable(self, terms: Terms) -> str | None:
        """Why §3 or the design's decisions 4 and 5 forbid storing this; ``None``: they do not."""
        base, status, says = self.base, self.base.status, self.says
        understood = "must-understand" in says and status in UNDERSTOOD
        granted = terms.default_ttl is not None and status in GRANTED
        lengths = values(self.lines, "content-length")
        varies = members(combined(self.lines, "vary") or "")
        expiring = bool(values(self.lines, "expires")) or any(
            name in says for name in ("public", "max-age", "s-maxage")
        )
        asked, says_then = [base, self.last], [Version.of(base), self]
        reasons = {
            "only GET": base.method != "GET" or base.request.body,
            "incomplete": not base.complete or base.raised,
            "length": base is self.last
            and bool(lengths)
            and (len(lengths) > 1 or lengths[0] != str(len(base.body))),
            "status": not 200 <= status <= 599 or status in (206, 304),
            "not understood": "must-understand" in says and status not in UNDERSTOOD,
            "no-store": "no-store" in says and not understood,
            "endless": "text/event-stream" in values(self.lines, "content-type"),
            "private": says.qualified("private") == set(),
            "set-cookie": bool(values(self.lines, "set-cookie")),
            "vary": bool({"*", "cookie", "authorization"} & {one.lower() for one in varies}),
            "request no-store": any("no-store" in call.request.says() for call in asked),
            # Each by what was said to whoever asked then: a 304 to anybody is for anybody.
            "authorization": any(
                combined(call.seen, "authorization") and not one.for_authorization(terms)
                for call, one in zip(asked, says_then, strict=True)
            ),
            "cookie": any(
                combined(call.seen, "cookie") and not (one.shared or terms.cookies_ignored)
                for call, one in zip(asked, says_then, strict=True)
            ),
            "§3, last condition": not (expiring or granted or status in HEURISTIC),
        }
        return next((name for name, forbids in reasons.items() if forbids), None)

    def freshened(self, call: Call) -> list[Version]:
        """What *call*'s 304 (§4.3.4), or its answer to a HEAD (§4.3.5), may make of this.

        Where it has no Date, the recipient's clock (RFC 9110 §6.6.1) and the old one both do.
        """
        if not self.validated_by(call):
            return []
        news = tuple(line for line in call.lines if line[0] not in OF_THE_BODY)
        names = {name for name, _ in news}
        old = tuple(line for line in self.lines if line[0] not in names and line[0] != "age")
        made = replace(self, last=call, lines=old + news, askers=(*self.askers, call.request))
        dates = tuple(values(call.lines, "date"))
        if dates or not values(self.lines, "date"):
            return [replace(made, date=dates)]
        now = http_date(call.answered_at)
        dated = tuple((name, now if name == "date" else value) for name, value in made.lines)
        return [replace(made, lines=dated, date=(now,)), replace(made, date=self.date)]

    def validated_by(self, call: Call) -> bool:
        """Whether *call* said that this is still what a GET would get."""
        if call.number <= self.last.number or not self.selected_by(call.request):
            return False
        etag = next(iter(values(call.lines, "etag")), None)
        modified = combined(call.lines, "last-modified")
        if call.method == "HEAD" and call.status == self.base.status == 200:
            lengths = values(call.lines, "content-length")
            same = etag is None or (self.etag is not None and weakly_equal(etag, self.etag))
            same &= modified in (None, combined(self.lines, "last-modified"))
            return same and lengths in ([], [str(len(self.base.body))])
        if call.status != 304:
            return False
        asked = tags(combined(call.seen, "if-none-match") or "")
        since = combined(call.seen, "if-modified-since")
        if etag is not None and not (self.etag is not None and weakly_equal(self.etag, etag)):
            return False
        if (
            etag is None
            and modified is not None
            and modified != combined(self.lines, "last-modified")
        ):
            return False
        if asked:
            return self.etag is not None and any(weakly_equal(one, self.etag) for one in asked)
        return since is not None and since == combined(self.lines, "last-modified")
