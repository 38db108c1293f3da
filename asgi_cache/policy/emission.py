"""What this cache says by itself in the messages that it sends: never more than these lines.

``Cache-Control`` where a TTL of ours applied and the app was silent (design: decision 6),
``Content-Length``, a generated ``ETag`` (decision 9) and ``Cache-Status`` (RFC 9211).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from asgi_cache.policy.decision import Decision, Refusal
    from asgi_cache.policy.freshness import Caching, Lifetime
    from asgi_cache.settings import Rule

STOOD_IN: Final = b"; detail=stale-if-error"


def emitted_cache_control(
    caching: Caching, lifetime: Lifetime, rule: Rule | None
) -> tuple[tuple[Line, ...], float | None]:
    """Decision 6: what we say to browsers where a TTL of ours applied and the app said nothing.

    A line that stays the same, and the seconds of one that grows with the age (``None``: none).
    """
    if not (lifetime.granted and caching.silent):
        return (), None
    public = [b"public"] if rule is not None and rule.public else []
    browser_ttl = None
    if rule is not None:
        # No purge reaches a browser: what belongs to a group must ask again each time.
        browser_ttl = 0.0 if rule.browser_ttl is None and rule.groups else rule.browser_ttl
    # A cache behind us must know what the rule says the answers differ by.
    vary = differing(rule)
    if browser_ttl == 0:
        return ((b"cache-control", b", ".join([*public, b"no-cache"])), *vary), None
    directives = public
    if browser_ttl is None:
        directives.append(b"max-age=%d" % lifetime.seconds)
    if rule is not None:
        for name, seconds in (
            (b"stale-while-revalidate", rule.stale_while_revalidate),
            (b"stale-if-error", rule.stale_if_error),
        ):
            if seconds:
                directives.append(b"%b=%d" % (name, seconds))
    if not directives:
        return vary, browser_ttl
    return ((b"cache-control", b", ".join(directives)), *vary), browser_ttl


def differing(rule: Rule | None) -> tuple[Line, ...]:
    """The Vary of what a rule keys or folds beyond what the app says; empty for most."""
    if rule is None:
        return ()
    names = [
        *(["Cookie"] if rule.cookies else []),
        *(["Accept-Language"] if rule.languages else []),
        *rule.vary,
    ]
    return ((b"vary", ", ".join(names).encode("latin-1")),) if names else ()


def with_length(lines: tuple[Line, ...], status: int, length: int) -> tuple[Line, ...]:
    """*lines* with a Content-Length where a complete response has none (never a repaired one)."""
    if status in (204, 205):
        return lines
    for name, _ in lines:
        if name == b"content-length":
            return lines
    return (*lines, (b"content-length", b"%d" % length))


def growing_cache_control(browser_ttl: float, age: float) -> Line:
    """The Cache-Control of ``browser_ttl``: counted from now, though Age says otherwise."""
    return b"cache-control", b"max-age=%d" % (browser_ttl + age)


def generated_etag(body: bytes) -> Line:
    """A weak entity tag, the same on every worker (decision 9)."""
    return b"etag", b'W/"%b"' % hashlib.blake2b(body, digest_size=16).hexdigest().encode()


def forward_status(
    name: bytes,
    decision: Decision,
    refusal: Refusal | None,
    stored: bool,
    *,
    collapsed: bool | None = None,
) -> Line | None:
    """The Cache-Status of a request that went to the app (RFC 9211 §2.2); ``None``: none."""
    if decision.cache_status is None:
        return None
    told = forwarded(decision, refusal, stored, collapsed=collapsed)
    return b"cache-status", b"%b; %b" % (name, told)


def forwarded(
    decision: Decision,
    refusal: Refusal | None,
    stored: bool,
    *,
    status: int | None = None,
    collapsed: bool | None = None,
) -> bytes:
    """The parameters of :func:`forward_status`.

    *status*: what the app answered, where the client gets another one (RFC 9211 §2.3).
    *collapsed*: whether another request's fill answered this one, ``False`` where it has waited
    for one and the app had to be asked all the same (§2.6); ``None``: it has not waited.
    """
    value = decision.cache_status or b""
    if status is not None:
        value += b"; fwd-status=%d" % status
    if stored:
        value += b"; stored"
    if collapsed is not None:
        value += b"; collapsed" if collapsed else b"; collapsed=?0"
    if refusal is not None:
        value += b"; detail=" + refusal.label.encode("ascii")
    return value
