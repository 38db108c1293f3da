"""What an answer made from a stored response looks like: RFC 9111 §3.1, §4.2.3, §4.3.2, and

RFC 9110 §13.2 (conditions), §14 (ranges) and §15.4.5 (304). Imports nothing of ``asgi_cache``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.property.facts import HOP_BY_HOP, ONE_EXCHANGE, Version
from tests.property.syntax import (
    by_name,
    combined,
    content_range,
    instant,
    members,
    parts,
    ranges,
    strongly_equal,
    tags,
    values,
    weakly_equal,
)

if TYPE_CHECKING:
    from tests.property.facts import Answer, Request, Terms

IN_A_304 = {"cache-control", "content-location", "date", "etag", "expires", "vary"}
"""RFC 9110 §15.4.5: what a 304 carries that a 200 would have carried."""
NAME = "asgi-cache; "
OURS = {"age", "content-length"}
"""What the cache may add to a stored response; checked by itself."""


class Looks:
    """Judges the status, the fields and the bytes of an answer against one stored response."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.tagged: dict[str, bytes] = {}
        """Entity tags that the cache made, and the one body each stands for."""

    def shaped(
        self, request: Request, answer: Answer, version: Version, *, validated: bool
    ) -> str | None:
        """Why *answer* is not what *version* looks like to *request*."""
        whole, size = version.base.body, len(version.base.body)
        if not answer.complete:
            return "incomplete"
        same = self._not_modified(request, answer, version)
        match answer.status:
            case 304 if version.base.status != 304:
                if not same:
                    return "a 304 that no condition of the client's asked for"
                body, length = b"", values(answer.lines, "content-length")[:1]
            case 206 | 416:
                if same:
                    return "If-None-Match comes before Range (RFC 9110 §13.2.2)"
                return self._ranged(request, answer, version) or (
                    None if answer.status == 416 else self._fields(answer, version, validated)
                )
            case status:
                if status != version.base.status:
                    return "another status"
                body, length = b"" if request.method == "HEAD" else whole, [str(size)]
        if answer.body != body:
            return "another body"
        if values(answer.lines, "content-length") not in ([], length):
            return "Content-Length"
        return self._aged(request, answer, version, validated) or self._fields(
            answer, version, validated
        )

    def _aged(
        self, request: Request, answer: Answer, version: Version, validated: bool
    ) -> str | None:
        ages = values(answer.lines, "age")
        if validated and ages in ([], values(version.last.lines, "age")):
            return None  # §4: Age is for what is used without validation
        now = max([request.at, *(call.answered_at for call in answer.calls if call.foreground)])
        if len(ages) != 1 or ages[0] not in {str(int(version.age(now) + d)) for d in (0, 1e-6)}:
            return f"Age is {ages}, not {version.age(now)} (§4.2.3)"
        return None

    def _not_modified(self, request: Request, answer: Answer, version: Version) -> bool:
        """Whether the client's condition says that it has this (§4.3.2)."""
        if not 200 <= version.base.status <= 299:
            return False
        listed = request.value("if-none-match")
        if listed is not None:
            etag = version.etag
            if etag is None:
                etag = combined(answer.lines, "etag")
                if etag is None or self.tagged.get(etag) != version.base.body:
                    return listed.strip() == "*"
            return listed.strip() == "*" or any(weakly_equal(etag, one) for one in tags(listed))
        since = instant(request.value("if-modified-since") or "")
        return since is not None and version.modified is not None and version.modified <= since

    def _ranged(self, request: Request, answer: Answer, version: Version) -> str | None:
        """Why this is no part of the stored response (RFC 9110 §14)."""
        whole = version.base.body
        wanted = ranges(request.value("range") or "", len(whole))
        if request.method != "GET" or version.base.status != 200 or wanted is None:
            return "no range was asked for"
        condition = request.value("if-range")
        if condition is not None and not strongly_equal(condition, version.etag or ""):
            date = combined(version.lines, "last-modified")
            if condition.startswith(('"', "W/")) or condition != date:
                return "If-Range is about another one (RFC 9110 §13.1.5)"
        spans = values(answer.lines, "content-range")
        if answer.status == 416:
            return None if not wanted and spans == [f"bytes */{len(whole)}"] else "no 416"
        if spans:
            span = content_range(spans[0])
            found = [] if span is None or len(spans) > 1 else [(span, answer.body)]
        else:
            found = parts(combined(answer.lines, "content-type") or "", answer.body) or []
        for (first, last, size), body in found:
            if size != len(whole) or body != whole[first : last + 1] or len(body) <= last - first:
                return "other bytes than Content-Range says"
        if not wanted:
            return "nothing of it can be satisfied"
        given = {place for (first, last, _), _ in found for place in range(first, last + 1)}
        asked = {place for first, last in wanted for place in range(first, last + 1)}
        if not found or not given >= asked:
            return "other ranges than those asked for"
        if values(answer.lines, "content-length") not in ([], [str(len(answer.body))]):
            return "Content-Length"
        return None

    def _fields(self, answer: Answer, version: Version, validated: bool) -> str | None:
        """Why these are not the stored fields (§3.1, §4.3.4, RFC 9110 §15.4.5)."""
        unstored = HOP_BY_HOP | ONE_EXCHANGE | OURS | {"set-cookie"}
        unstored |= {
            member.lower()
            for lines in (version.base.lines, version.lines)
            for member in members(combined(lines, "connection") or "")
        }
        for name in ("no-cache", "private"):
            unstored |= Version.of(version.base).says.qualified(name) or set()
            unstored |= version.says.qualified(name) or set()
        kept, sent = by_name(version.lines), by_name(answer.lines)
        told = sent.pop("cache-status", [])
        others = [line for line in told if not line.startswith(NAME)]
        if others != kept.pop("cache-status", []) or len(told) > len(others) + 1:
            return "Cache-Status: what was stored, and one of ours (RFC 9211 §2)"
        free = {"content-range"} if answer.status == 206 else set()
        if answer.status == 206 and not values(answer.lines, "content-range"):
            free.add("content-type")
        for name, lines in sent.items():
            if name in free | OURS:
                continue
            if name == "set-cookie" and validated and lines == kept.get(name):
                continue  # of the 304 that this client's request brought
            if name in ONE_EXCHANGE and validated and lines == kept.get(name):
                continue
            if name in unstored or (name not in kept and name not in self.granted(version)):
                if name == "etag":
                    continue
                return f"{name} does not belong there"
            if name in kept and lines != kept[name]:
                return f"{name} is not what was stored"
        missing = set(kept) - set(sent) - unstored - free
        if answer.status == 304:
            missing &= IN_A_304
        if missing:
            return f"without {missing}"
        return self.tag_of(version, answer) if "etag" not in kept and "etag" in sent else None

    def granted(self, version: Version) -> set[str]:
        """Cache-Control may be ours where the app was silent and our TTL applies (decision 6)."""
        names = {name for name, _ in version.lines}
        silent = not names & {"cache-control", "expires"}
        return {"cache-control"} if silent and self.terms.default_ttl is not None else set()

    def tag_of(self, version: Version, answer: Answer) -> str | None:
        """What is wrong with an entity tag that the cache made (decision 9)."""
        found, body = values(answer.lines, "etag"), version.base.body
        if len(found) != 1 or not found[0].startswith('W/"') or version.modified is not None:
            return "an entity tag of whose making?"
        return None if self.tagged.setdefault(found[0], body) == body else "one tag, two bodies"
