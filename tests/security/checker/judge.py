"""The judge: what is wrong with one answer, from the question and the answer alone. Pure.

What is judged stands in :class:`Fault`. Everything that an answer says of itself comes from its
body, or from the field that repeats its first line: a 304 and a HEAD have no body, and a part of
one says little.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from tests.security.checker.app import CONFIRMED, HEAD_TOLD, TOLD
from tests.security.checker.bodies import BrokenError, body_of, told_by, told_in
from tests.security.checker.pages import KINDS, LANGUAGES, MOST_APP_SECONDS, USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.security.checker.bodies import Told
    from tests.security.checker.exchange import Asked, Got

COLLAPSE_SECONDS: Final = 1.0
"""How long the caches under test let a request wait for another's fill."""
BUDGET_SECONDS: Final = 0.15
"""What a request may spend on its store."""
SLACK_SECONDS: Final = 0.4
"""What a busy machine adds beyond the stalls that are measured, and clocks that disagree."""
LATEST_SECONDS: Final = 2 * COLLAPSE_SECONDS + 2 * MOST_APP_SECONDS + 4 * BUDGET_SECONDS
"""What a request may add to its own app time when it has waited for others, some of them lost."""
SECOND: Final = 1_000_000_000
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Fault(Enum):
    """What can be wrong."""

    BROKEN = "broken"
    """Cut, mixed, changed, or with another answer's fields."""
    FOREIGN = "foreign"
    """Made for other keyed inputs."""
    USER = "user"
    """It shows another user, or is one user's and shared."""
    OLD = "old"
    """Older than freshness and the stale windows allow."""
    PURGED = "purged"
    """From before a purge that had returned when this was asked: in this worker, or in any of them

    so long ago that no lease of a near tier can hold any more."""
    ERROR = "error"
    """An error or an exception that the app did not make for this request."""
    LATE = "late"
    """Beyond the app's time and the budget."""
    RANGE = "range"
    """Other bytes than those asked for."""
    CONDITION = "condition"
    """A 304 that nobody asked for, or that is not so."""
    HEAD = "head"
    """A HEAD with a body, or of another length than the GET."""


Wrong = tuple[Fault, str]


def judge(asked: Asked, got: Got, issued: Callable[[int], int] | None = None) -> list[Wrong]:
    """All that is wrong. *issued*: how many answers the app of a worker has made."""
    try:
        return list(_judged(asked, got, issued))
    except BrokenError as error:
        return [(Fault.BROKEN, str(error))]


def _judged(asked: Asked, got: Got, issued: Callable[[int], int] | None) -> Iterator[Wrong]:
    yield from _on_time(asked, got)
    if got.raised is not None and got.raised != f"app:{asked.ask}":
        yield Fault.ERROR, f"{got.raised} was raised"
    if not got.status:
        if got.raised is None and not got.left:
            yield Fault.BROKEN, "no answer"
        return
    told = _told_of(asked, got)
    if told is None:
        if got.status == 304:
            yield from _not_modified(asked, got)
        else:
            fault = Fault.RANGE if got.status == 416 else Fault.ERROR
            yield fault, f"a {got.status} that is not the app's"
        return
    if issued is not None and told.serial > issued(told.worker):
        yield Fault.BROKEN, "the app never made it"
    yield from _whole(asked, got, told)
    yield from _same_inputs(asked, told)
    yield from _own_user(asked, got, told)
    yield from _status(asked, got, told)
    yield from _young(asked, got, told)


def is_shared(asked: Asked, told: Told) -> bool:
    """Whether the answer was made for another request, or for nobody's."""
    return told.ask != asked.ask


def _told_of(asked: Asked, got: Got) -> Told | None:
    line = got.value(TOLD) or got.value(HEAD_TOLD)
    return None if line is None else told_by(line)


def _on_time(asked: Asked, got: Got) -> Iterator[Wrong]:
    added = (got.ended - asked.began - got.app_time - got.stalled) / SECOND
    most = (BUDGET_SECONDS if got.hit else LATEST_SECONDS) + SLACK_SECONDS
    if added > most:
        what = "a hit" if got.hit else "an answer"
        yield Fault.LATE, f"{what} took {added:.3f} s more than the app"


def _whole(asked: Asked, got: Got, told: Told) -> Iterator[Wrong]:
    """Complete, and the very bytes that the app made for this call."""
    whole = b"" if told.status == 204 else body_of(told)
    if asked.method == "HEAD":
        if got.body:
            yield Fault.HEAD, f"{len(got.body)} bytes of body"
        length = got.value("content-length")
        if length is not None and int(length) != len(whole) and told.status != 204:
            yield Fault.HEAD, f"says {length} bytes, has {len(whole)}"
        return
    if told.method != "GET":
        yield Fault.BROKEN, f"made for {told.method}"
    if got.status == 206:
        yield from _part(asked, got, whole)
        return
    if not got.complete or got.left:
        if not whole.startswith(got.body):
            yield Fault.BROKEN, "what came first is not how the body begins"
        if not (got.left or (told.fault and not is_shared(asked, told))):
            yield Fault.BROKEN, f"ended after {len(got.body)} of {len(whole)} bytes"
        return
    length = got.value("content-length")
    if length is not None and int(length) != len(got.body):
        yield Fault.BROKEN, f"says {length} bytes, has {len(got.body)}"
    if told.status == 204:
        if got.body:
            yield Fault.BROKEN, "a 204 with a body"
    elif got.body != whole and told_in(got.body) != told:
        # The whole body describes itself by what the fields say; any other one has to be read.
        yield Fault.BROKEN, f"the fields are those of {told}"
    if told.fault:
        yield Fault.BROKEN, "the app never ended it"


def _part(asked: Asked, got: Got, whole: bytes) -> Iterator[Wrong]:
    found = _CONTENT_RANGE.fullmatch(got.value("content-range") or "")
    if asked.range is None or found is None:
        yield Fault.RANGE, f"206 with {got.value('content-range')!r}"
        return
    first, last = asked.range[0], min(asked.range[1], len(whole) - 1)
    if tuple(map(int, found.groups())) != (first, last, len(whole)):
        yield Fault.RANGE, f"{found[0]} of {len(whole)} for {asked.range}"
    if got.body != whole[first : last + 1] and not (
        got.left and whole[first:].startswith(got.body)
    ):
        yield Fault.RANGE, "other bytes than those of the whole"
    if asked.if_range is not None and asked.if_range != got.value("etag"):
        yield Fault.RANGE, f"a part of {got.value('etag')}, not of {asked.if_range}"


def _same_inputs(asked: Asked, told: Told) -> Iterator[Wrong]:
    """An answer may differ in what the key leaves out, and in nothing else."""
    shared = is_shared(asked, told)
    kind = asked.kind
    pairs: list[tuple[str, object, tuple[object, ...]]] = [
        ("site", told.site, (asked.site,)),
        ("host", (told.host, told.value("host")), ((asked.host, asked.host),)),
        ("path", told.path, (asked.path,)),
        ("query", told.query, (asked.query,) if shared else (asked.query, asked.sent)),
        ("x-forwarded-host", told.value("x-forwarded-host"), (asked.proxy,)),
    ]
    if kind == "vary" or not shared:
        pairs.append(("x-flavour", told.value("x-flavour"), (asked.flavour,)))
    if kind == "taste":
        cookies = (told.value("cookie") or "").split("; ")
        tastes = [text.removeprefix("taste=") for text in cookies if text.startswith("taste=")]
        pairs.append(("taste", tastes, ([asked.taste] if asked.taste else [],)))
    if kind == "lang":
        folded = LANGUAGES[asked.language]
        seen = told.value("accept-language")
        pairs.append(("language", seen, (folded,) if shared else (folded, asked.language)))
    for name, seen_by_app, right in pairs:
        if seen_by_app not in right:
            yield Fault.FOREIGN, f"{name} is {seen_by_app!r}, not {right[0]!r}"


def _own_user(asked: Asked, got: Got, told: Told) -> Iterator[Wrong]:
    shared = is_shared(asked, told)
    if told.user is not None and (shared or told.user != asked.user):
        yield Fault.USER, f"made for {told.user}, given to {asked.user}"
    if not KINDS[asked.kind].shared and shared:
        yield Fault.USER, f"{told.ask}'s own, given to {asked.ask}"
    if asked.kind == "maxage" and told.user != asked.user:
        yield Fault.USER, f"made for {told.user}, given to {asked.user}"
    if shared and set(dict(told.fields)) & {"authorization", "range"}:
        yield Fault.USER, f"made of what one client sent: {told.fields}"
    for user in USERS:
        shown = any(user in value for _, value in got.headers) or user.encode() in got.body
        if shown and user != asked.user:
            yield Fault.USER, f"{user} is shown to {asked.user}"
    for name, value in got.headers:
        if name == "set-cookie" and (shared or value != f"sid={asked.ask}"):
            yield Fault.USER, f"another one's cookie, {value}"


def _status(asked: Asked, got: Got, told: Told) -> Iterator[Wrong]:
    if told.status not in (200, 404) and is_shared(asked, told):
        yield Fault.ERROR, f"another request's {told.status}"
    if got.status == 206 and told.status == 200:
        return
    if got.status != told.status:
        yield Fault.ERROR, f"{got.status} for the app's {told.status}"


def _young(asked: Asked, got: Got, told: Told) -> Iterator[Wrong]:
    if told.version < asked.purged:
        yield Fault.PURGED, f"read {_ms(asked.purged - told.version)} before a purge"
    kind = KINDS[asked.kind]
    confirmed = max(told.version, int(got.value(CONFIRMED) or 0))
    if not kind.window and confirmed < asked.softened:
        yield Fault.PURGED, f"confirmed {_ms(asked.softened - confirmed)} before a soft purge"
    if is_shared(asked, told):
        age = (got.started - confirmed - got.stalled) / SECOND
        most = kind.ttl + kind.window
        if age > most + MOST_APP_SECONDS + SLACK_SECONDS:
            yield Fault.OLD, f"{age:.3f} s old, of at most {most:g}"


def _not_modified(asked: Asked, got: Got) -> Iterator[Wrong]:
    if asked.tag is None or asked.tagged is None:
        yield Fault.CONDITION, "a 304 to a request without a condition"
        return
    if got.body:
        yield Fault.CONDITION, "a 304 with a body"
    if (got.value("etag") or "").removeprefix("W/") != asked.tag.removeprefix("W/"):
        yield Fault.CONDITION, f"a 304 of {got.value('etag')}, asked about {asked.tag}"
    if asked.tagged.version < asked.purged:
        before = _ms(asked.purged - asked.tagged.version)
        yield Fault.PURGED, f"a 304 about what was read {before} before a purge"
    if got.value("set-cookie") is not None:
        yield Fault.USER, "a 304 with a cookie"


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"
