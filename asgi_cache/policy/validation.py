"""RFC 9111 §4.3: conditions, a client's answered from the store and the store's put to the app.

A client's condition is answered with a 304 (§4.3.2); one of our own (§4.3.1) may bring a 304,
which freshens what is stored (§4.3.4), as a HEAD's answer may (§4.3.5). Conditions that only an
origin may evaluate never get here: ``screen`` lets them pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_cache.fields import (
    format_date,
    is_any,
    is_weak,
    opaque_of,
    parse_entity_tag,
    parse_entity_tags,
)
from asgi_cache.fields.dates import parse_date
from asgi_cache.model import ResponseHead, StoredResponse
from asgi_cache.policy.emission import generated_etag, with_length
from asgi_cache.policy.reuse import CLOCK_SLACK
from asgi_cache.policy.storing import admit

if TYPE_CHECKING:
    from asgi_cache.model import Line, RequestHead
    from asgi_cache.policy.decision import Refusal
    from asgi_cache.policy.storing import Exchange
    from asgi_cache.settings import Rule, Settings

NOT_MODIFIED_FIELDS: Final = frozenset(
    {
        b"age",
        b"cache-control",
        b"cache-status",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
    }
)
"""RFC 9110 §15.4.5; Age as for every answer from the store (RFC 9111 §4), Last-Modified for clients

that have no other validator."""

OF_THE_BODY: Final = frozenset(
    {
        b"content-digest",
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"digest",
        b"etag",
        b"repr-digest",
    }
)
"""What the stored body depends on, or is known by: no 304 changes it (§3.2)."""

ERROR_STATUSES: Final = frozenset({500, 502, 503, 504})
"""For which a stale response may stand in (RFC 5861 §4)."""

GONE_STATUSES: Final = frozenset({404, 410})
"""Which say that what is stored is no more."""


# ---------------------------------------------------------------------- the client's condition


def is_not_modified(request: RequestHead, stored: StoredResponse, now: float) -> bool:
    """Whether the client has what *stored* says, so that it gets a 304 (RFC 9110 §13.2.2).

    If-None-Match comes first, compared weakly; If-Modified-Since counts only without it, and only
    against a Last-Modified: the Date that §4.3.2 would have in its stead is the same for two
    responses of one second, also where a purge came between them. *now*: seconds since the epoch,
    for dates with a year of two digits.
    """
    if not 200 <= stored.status <= 299:
        return False
    tags = request.fields.get(b"if-none-match")
    if tags is not None:
        if is_any(tags):
            return True
        if stored.etag is None:
            return False
        own = opaque_of(stored.etag)
        return any(opaque == own for _, opaque in parse_entity_tags(tags))
    since = request.fields.get(b"if-modified-since")
    if since is None or stored.last_modified is None:
        return False
    instant = parse_date(since, now)
    return instant is not None and stored.last_modified <= instant


def not_modified_lines(lines: tuple[Line, ...]) -> list[Line]:
    """Those of *lines* that a 304 carries."""
    return [line for line in lines if line[0] in NOT_MODIFIED_FIELDS]


# ---------------------------------------------------------------------- our own condition


def conditional_fields(stored: StoredResponse) -> tuple[Line, ...]:
    """§4.3.1: the condition by which the app can say that *stored* still holds; or nothing.

    Its own validators as it sent them, never a tag that was generated here (decision 9).
    """
    if not 200 <= stored.status <= 299:
        return ()
    fields: list[Line] = []
    if stored.etag is not None and generated_etag(stored.body) not in stored.lines:
        fields += _sent_as(stored, b"etag", b"if-none-match")
    if stored.last_modified is not None:
        fields += _sent_as(stored, b"last-modified", b"if-modified-since")
    return tuple(fields)


def freshened(stored: StoredResponse, head: ResponseHead, now: float) -> ResponseHead | None:
    """§4.3.4: the head of *stored* after a 304 to our condition; *now*: when it came.

    Every field of the 304 takes the place of the stored lines of that name, but for those that
    belong to the body (§3.2). ``None`` where it names another validator than the stored one: it
    is then about another representation. One that names none speaks of the only one asked about.
    """
    if not _names_the_same(stored, head, now):
        return None
    new = {name for name, _ in head.lines} - OF_THE_BODY
    lines = [line for line in stored.lines[stored.emitted :] if line[0] not in new]
    if b"date" not in new:
        # The moment of receipt takes the place of a Date that was not sent (RFC 9110 §6.6.1).
        date = (b"date", format_date(now))
        lines = [date if line[0] == b"date" else line for line in lines]
    lines += [line for line in head.lines if line[0] in new]
    return ResponseHead(stored.status, tuple(lines))


def freshened_by_head(
    stored: StoredResponse, head: ResponseHead, now: float
) -> ResponseHead | None:
    """§4.3.5: as :func:`freshened`, by the 200 that a HEAD got.

    ``None`` where a validator or the length is not the stored one: *stored* then is not what a
    GET would get now.
    """
    lengths = head.values(b"content-length")
    if stored.status != head.status or (lengths and lengths != (b"%d" % len(stored.body),)):
        return None
    return freshened(stored, head, now)


def is_comparable(stored: StoredResponse, head: ResponseHead) -> bool:
    """Whether a HEAD's answer can show that the stored body is the present one: by a validator.

    One without would match (§4.3.5), and so would a page of the same length; it says nothing
    here, so that no body is called fresh again that nobody has compared.
    """
    return any(
        (name == b"etag" and stored.etag is not None)
        or (name == b"last-modified" and stored.last_modified is not None)
        for name, _ in head.lines
    )


def readmit(
    exchange: Exchange,
    head: ResponseHead,
    settings: Settings,
    rule: Rule | None,
    before: StoredResponse,
) -> StoredResponse | Refusal:
    """*before* with its freshened *head*, or why it is not to be stored any longer.

    Directives are read anew; whom it may answer was decided when its body was made, and a 304 may
    narrow that, but not widen it.
    """
    outcome = admit(exchange, head, settings, rule)
    if not isinstance(outcome, StoredResponse):
        return outcome
    return replace(
        outcome,
        lines=with_length(outcome.lines, outcome.status, len(before.body)),
        body=before.body,
        explicitly_shared=before.explicitly_shared and outcome.explicitly_shared,
        authorized_reuse=before.authorized_reuse and outcome.authorized_reuse,
    )


def usable_on_error(stored: StoredResponse, now: float) -> bool:
    """Whether *stored* may stand in for an app that fails (§4.2.4, RFC 5861 §4)."""
    return (
        stored.may_be_stale
        and stored.fresh_until < stored.error_until
        and now < stored.error_until
        and stored.generated_at <= now + CLOCK_SLACK
    )


def _sent_as(stored: StoredResponse, name: bytes, condition: bytes) -> list[Line]:
    """The *condition* that gives the value of *name* back; none where a store has lost its line."""
    return [(condition, value) for own, value in stored.lines if own == name][:1]


def _names_the_same(stored: StoredResponse, head: ResponseHead, now: float) -> bool:
    """Whether *head* is about the representation that *stored* is of (§4.3.4).

    A strong tag decides alone; else every validator has to be the stored one (weak comparison).
    """
    decided = False
    for value in head.values(b"etag"):
        tag = parse_entity_tag(value)
        if tag is None or stored.etag is None or tag[1] != opaque_of(stored.etag):
            return False
        decided = not (tag[0] or is_weak(stored.etag))
    return decided or all(
        parse_date(value, now) == stored.last_modified for value in head.values(b"last-modified")
    )
