"""RFC 9111 §3: which responses are stored, and as what.

:func:`admit` reads a response's head once and for all: it either refuses, naming the reason, or
returns the response as numbers and lines that a hit sends without another look at a directive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.fields import is_any, is_field_name, parse_entity_tag, split_list
from asgi_cache.fields.dates import parse_date
from asgi_cache.fields.syntax import MAX_PARSED_BYTES
from asgi_cache.model import ResponseHead, StoredResponse
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.emission import emitted_cache_control
from asgi_cache.policy.folding import ACCEPT_ENCODING, ACCEPT_LANGUAGE
from asgi_cache.policy.freshness import (
    caching_of,
    corrected_initial_age,
    lifetime_of,
    may_be_stale,
    requires_validation,
    stale_windows,
)
from asgi_cache.policy.grouping import groups_of
from asgi_cache.policy.keys import MAX_NOMINATED, nominated_values
from asgi_cache.settings.plan import lower_names
from asgi_cache.sharing import grouped, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asgi_cache.model import Line, RequestHead
    from asgi_cache.policy.freshness import Caching, Lifetime
    from asgi_cache.settings import Rule, Settings
    from asgi_cache.settings.plan import CompiledRule

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""§3.1, with RFC 9110 §7.6.1; what ``Connection`` names comes on top."""
NEVER_STORED: Final = HOP_BY_HOP | {b"age"}

ENDLESS_MEDIA_TYPES: Final = (b"text/event-stream", b"multipart/x-mixed-replace")

UNDERSTOOD_STATUSES: Final = frozenset(
    {200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 421}
    | {451, 500, 501, 502, 503, 504}
)
"""For ``must-understand`` (§5.2.2.3): statuses whose caching behaviour is implemented here."""

ANSWERS: Final = frozenset({200, 203})
"""What an anonymous fill may answer to a request with credentials, unless a rule names more."""


class Exchange(NamedTuple):
    """What :func:`admit` must know of a fill besides the response's head."""

    request: RequestHead
    """As the app saw it: folded."""
    compiled: CompiledRule | None
    params: Mapping[str, str]
    """Parameters of the matched path template."""
    anonymous: bool
    """Every credential was hidden from the app, under a rule with a TTL."""
    personal: bool
    """The app saw credentials beyond Authorization: only what it calls shared may be stored."""
    authorization: bool
    """The app saw Authorization."""
    known_names: tuple[bytes, ...]
    """Nominated fields found at the key: they only grow."""
    request_time: float
    response_time: float
    draw: float
    """From [0, 1): the chance in ``ttl_jitter``."""


def admit(
    exchange: Exchange, head: ResponseHead, settings: Settings, rule: Rule | None
) -> StoredResponse | Refusal:
    """The response as it will be stored, its body and stamps still to come, or why it is not.

    *rule* is that of the path, or what ``Settings.rule`` made of this response.
    """
    caching = caching_of(head, settings)
    refusal = forbidden(exchange, head, caching, settings)
    if refusal is not None:
        return refusal
    names = nominated_names(exchange, head, settings, rule)
    if isinstance(names, Refusal):
        return names
    groups = groups_of(head, rule, exchange.params)
    if groups is None:
        return Refusal.GROUPS
    now = exchange.response_time
    lifetime = lifetime_of(head, caching, rule, settings, now, exchange.draw)
    if lifetime is None:
        return status_refusal(head.status)
    generated_at = now - corrected_initial_age(head, exchange.request_time, now)
    fresh_until = generated_at if requires_validation(caching) else generated_at + lifetime.seconds
    stored = as_stored(
        exchange, head, settings, rule, caching, lifetime, generated_at, fresh_until, names, groups
    )
    if stored.discard_at <= now:
        # Neither fresh, nor of use when stale, nor anything that could be validated.
        return Refusal.NO_LIFETIME
    if is_too_large(head, settings):
        # Judged last: an anonymous answer with nothing else against it is given to everybody.
        return Refusal.TOO_LARGE
    return stored


def forbidden(
    exchange: Exchange, head: ResponseHead, caching: Caching, settings: Settings
) -> Refusal | None:
    """The conditions of §3 that a response fails whatever its lifetime; ``None``: none."""
    directives = caching.directives
    status = head.status
    understood = "must-understand" in directives and status in UNDERSTOOD_STATUSES
    if head.values(b"set-cookie"):
        return Refusal.SET_COOKIE
    if directives.field_names("private") == frozenset():
        return Refusal.PRIVATE
    if "no-store" in directives and not understood:
        return Refusal.NO_STORE
    if "must-understand" in directives and not understood:
        return Refusal.STATUS
    if not 200 <= status <= 599 or status in (206, 304):
        return Refusal.STATUS
    for value in head.values(b"content-type"):
        if value.partition(b";")[0].strip().lower() in ENDLESS_MEDIA_TYPES:
            return Refusal.MEDIA_TYPE
    if exchange.authorization and not authorized(caching, settings):
        return Refusal.NOT_SHARED
    if exchange.personal and not said_shared(caching):
        return Refusal.NOT_SHARED
    if head.values(b"content-length") and declared_length(head) is None:
        return Refusal.LENGTH
    return None


def is_too_large(head: ResponseHead, settings: Settings) -> bool:
    """Whether Content-Length says more than ``max_body_bytes``."""
    return (declared_length(head) or 0) > settings.max_body_bytes


def declared_length(head: ResponseHead) -> int | None:
    """Content-Length in bytes; ``None`` where it is absent, repeated or malformed."""
    lengths = head.values(b"content-length")
    if len(lengths) != 1 or len(lengths[0]) > 18:
        return None
    return int(lengths[0]) if lengths[0].isdigit() else None


def said_shared(caching: Caching) -> bool:
    """The app itself said that a shared cache may give this to anybody (decision 4)."""
    return caching.targeted or "public" in caching.directives or "s-maxage" in caching.directives


def authorized(caching: Caching, settings: Settings) -> bool:
    """§3.5: what lets a response answer, or come of, a request with Authorization."""
    directives = caching.directives
    return (
        "public" in directives
        or "s-maxage" in directives
        or (settings.authorization_must_revalidate and "must-revalidate" in directives)
    )


def status_refusal(status: int) -> Refusal:
    """Why a response without any lifetime is not stored, by its status."""
    if status in (401, 403):
        return Refusal.DENIED
    if 300 <= status < 400:
        return Refusal.REDIRECT
    return Refusal.NO_LIFETIME if status in ANSWERS else Refusal.STATUS


def nominated_names(
    exchange: Exchange, head: ResponseHead, settings: Settings, rule: Rule | None
) -> tuple[bytes, ...] | Refusal:
    """The request fields this response varies by (§4.1): those of Vary, and those implied.

    A member that names no field may mean anything: it reads as ``*``. Too long a Vary is not read.
    """
    varies = head.values(b"vary")
    if varies and sum(map(len, varies)) > MAX_PARSED_BYTES:
        return Refusal.VARY_TOO_MANY
    names = set(exchange.known_names)
    for value in varies:
        for member in split_list(value):
            if is_any(member) or not is_field_name(member):
                return Refusal.VARY_ANY
            names.add(member.lower())
    if exchange.compiled is not None:
        names.update(exchange.compiled.vary)
    if rule is not None:
        names.update(lower_names(rule.vary), (ACCEPT_LANGUAGE,) if rule.languages else ())
    if any(map(settings.plan.is_credential, names)):
        return Refusal.VARY_CREDENTIALS
    origins = head.values(b"access-control-allow-origin")
    if origins and any(value.strip() != b"*" for value in origins):
        names.add(b"origin")
    if head.values(b"content-encoding"):
        names.add(ACCEPT_ENCODING)
    return tuple(sorted(names)) if len(names) <= MAX_NOMINATED else Refusal.VARY_TOO_MANY


def as_stored(
    exchange: Exchange,
    head: ResponseHead,
    settings: Settings,
    rule: Rule | None,
    caching: Caching,
    lifetime: Lifetime,
    generated_at: float,
    fresh_until: float,
    names: Iterable[bytes],
    groups: tuple[str, ...],
) -> StoredResponse:
    """Put together what :func:`admit` found."""
    revalidate_seconds, error_seconds = stale_windows(caching, rule, settings)
    revalidate_until = fresh_until + revalidate_seconds if revalidate_seconds else fresh_until
    error_until = fresh_until + error_seconds if error_seconds else fresh_until
    lines = stored_lines(head, caching, settings)
    kept = head if len(lines) == len(head.lines) else ResponseHead(head.status, lines)
    etags = kept.values(b"etag")
    tag = parse_entity_tag(etags[0]) if len(etags) == 1 else None
    etag = None if tag is None else line(b"etag", etags[0].strip(b" \t"))[1]
    modified = kept.values(b"last-modified")
    last_modified = parse_date(modified[0], exchange.response_time) if len(modified) == 1 else None
    keep = settings.keep if etag is not None or last_modified is not None else 0.0
    discard_at = max(fresh_until, revalidate_until, error_until)
    shared = said_shared(caching)
    impersonal = exchange.anonymous and (
        head.status in ANSWERS or (rule is not None and head.status in rule.statuses)
    )
    emitted, browser_ttl = emitted_cache_control(caching, lifetime, rule)
    return StoredResponse(
        status=head.status,
        lines=tuple([line(*each) for each in emitted + lines]),
        body=b"",
        generated_at=generated_at,
        fresh_until=fresh_until,
        revalidate_until=revalidate_until,
        error_until=error_until,
        may_be_stale=may_be_stale(caching),
        discard_at=discard_at + keep if keep else discard_at,
        etag=etag,
        last_modified=last_modified,
        explicitly_shared=shared or impersonal,
        authorized_reuse=impersonal or authorized(caching, settings),
        browser_ttl=browser_ttl,
        emitted=len(emitted),
        nominated=nominated_values(names, exchange.request, exchange.compiled),
        groups=grouped(groups),
        stamps=(),
    )


def stored_lines(head: ResponseHead, caching: Caching, settings: Settings) -> tuple[Line, ...]:
    """§3.1: the lines without what belongs to one connection, one exchange or one user."""
    named: set[bytes] = set()
    for value in head.values(b"connection"):
        named.update(split_list(value.lower()))
    for directive in ("no-cache", "private"):
        named.update(caching.directives.field_names(directive) or ())
    left_out = NEVER_STORED.union(named) if named else NEVER_STORED
    unstored = settings.plan.unstored_fields
    return tuple(
        [line for line in head.lines if line[0] not in left_out and line[0] not in unstored]
    )


def is_malformed_length(head: ResponseHead, size: int) -> bool:
    """Whether the body's *size* in bytes disagrees with what Content-Length declared."""
    declared = declared_length(head)
    return declared is not None and declared != size
