"""RFC 9111 §4.2: how long a response is fresh, as instants; directives are not seen again.

``admit`` calls this once per stored response. What is left for a hit are comparisons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.fields import parse_age, parse_directives, parse_targeted
from asgi_cache.fields.dates import parse_date

if TYPE_CHECKING:
    from asgi_cache.fields import Directives
    from asgi_cache.model import ResponseHead
    from asgi_cache.settings import Rule, Settings

HEURISTIC_LIMIT: Final = 86_400.0
"""A heuristic lifetime is at most a day: beyond, §4.2.2 would want a warning."""

HEURISTIC_STATUSES: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""RFC 9110 §15.1, without 206, which is never stored."""

RULE_STATUSES: Final = frozenset({200, 203, 300, 301, 308})
"""What a rule's or the default TTL applies to; a rule may name more."""

NO_STALE_DIRECTIVES: Final = ("must-revalidate", "proxy-revalidate", "s-maxage")
"""Each forbids every use of a stale response in a shared cache (§4.2.4); so does ``no-cache``."""


class Caching(NamedTuple):
    """What a response says of its caching: the one field that counts, parsed."""

    directives: Directives
    targeted: bool
    """It came from a field of ``targeted_fields`` (RFC 9213)."""
    silent: bool
    """Neither Cache-Control nor Expires nor a targeted field was sent."""


class Lifetime(NamedTuple):
    """A freshness lifetime in seconds, and whether a setting of ours granted it."""

    seconds: float
    granted: bool


def caching_of(head: ResponseHead, settings: Settings) -> Caching:
    """Find and parse the field that governs: the first valid targeted one, else Cache-Control."""
    for name in settings.plan.targeted_fields:
        lines = head.values(name)
        if lines:
            directives = parse_targeted(lines)
            if directives is not None:
                return Caching(directives, True, False)
    lines = head.values(b"cache-control")
    silent = not lines and not head.values(b"expires")
    return Caching(parse_directives(lines), False, silent)


def corrected_initial_age(head: ResponseHead, request_time: float, response_time: float) -> float:
    """§4.2.3, in seconds; 0 where the app sent neither Age nor Date.

    Such an app is the origin itself, its response generated when its start arrives: there is no
    delay on the way to make up for. (Counting it would leave the slowest pages, the ones with a
    TTL shorter than their own run time, never fresh.)
    """
    dates = head.values(b"date")
    ages = head.values(b"age")
    if not dates and not ages:
        return 0.0
    date = parse_date(dates[0], response_time) if len(dates) == 1 else None
    apparent_age = max(0.0, response_time - date) if date is not None else 0.0
    corrected_age = parse_age(ages) + max(0.0, response_time - request_time)
    return max(apparent_age, corrected_age)


def explicit_lifetime(head: ResponseHead, caching: Caching, response_time: float) -> float | None:
    """§4.2.1: s-maxage, max-age or Expires minus Date, in seconds; ``None`` where none is sent."""
    for name in ("s-maxage", "max-age"):
        seconds = caching.directives.seconds(name)
        if seconds is not None:
            return float(seconds)
    expires = [] if caching.targeted else head.values(b"expires")
    if not expires:
        return None
    end = parse_date(expires[0], response_time) if len(expires) == 1 else None
    if end is None:
        return 0.0
    dates = head.values(b"date")
    date = parse_date(dates[0], response_time) if len(dates) == 1 else None
    return max(0.0, end - (response_time if date is None else date))


def heuristic_lifetime(
    head: ResponseHead, caching: Caching, response_time: float, settings: Settings
) -> float | None:
    """§4.2.2: a share of the time since Last-Modified, where the status or ``public`` allows it."""
    if head.status not in HEURISTIC_STATUSES and "public" not in caching.directives:
        return None
    modified = head.values(b"last-modified")
    instant = parse_date(modified[0], response_time) if len(modified) == 1 else None
    if instant is None or not settings.heuristic_fraction:
        return None
    elapsed = max(0.0, response_time - instant)
    return min(elapsed * settings.heuristic_fraction, HEURISTIC_LIMIT)


def lifetime_of(
    head: ResponseHead,
    caching: Caching,
    rule: Rule | None,
    settings: Settings,
    response_time: float,
    draw: float,
) -> Lifetime | None:
    """The lifetime by the precedence of decision 6; *draw*, from [0, 1), is the jitter's chance.

    ``None``: nothing grants one.
    """
    explicit = explicit_lifetime(head, caching, response_time)
    overridden = rule is not None and rule.override and rule.ttl is not None
    if explicit is not None and not overridden:
        return Lifetime(min(explicit, settings.max_ttl), False)
    ttl = settings.default_ttl if rule is None or rule.ttl is None else rule.ttl
    if ttl is not None and head.status in rule_statuses(rule):
        return Lifetime(min(ttl, settings.max_ttl) * (1.0 - settings.ttl_jitter * draw), True)
    if explicit is not None:
        return Lifetime(min(explicit, settings.max_ttl), False)
    if requires_validation(caching):
        # Of use after a validation, as a heuristic lifetime would be of use without (§5.2.2.4).
        return Lifetime(0.0, False) if head.status in HEURISTIC_STATUSES else None
    heuristic = heuristic_lifetime(head, caching, response_time, settings)
    return None if heuristic is None else Lifetime(min(heuristic, settings.max_ttl), False)


def requires_validation(caching: Caching) -> bool:
    """Whether ``no-cache`` stands there without field names (§5.2.2.4)."""
    return caching.directives.field_names("no-cache") == frozenset()


def rule_statuses(rule: Rule | None) -> frozenset[int]:
    """The statuses that a rule's or the default TTL applies to."""
    return RULE_STATUSES if rule is None else RULE_STATUSES.union(rule.statuses)


def may_be_stale(caching: Caching) -> bool:
    """Whether no directive forbids every stale use (§4.2.4)."""
    directives = caching.directives
    for name in NO_STALE_DIRECTIVES:
        if name in directives:
            return False
    return not requires_validation(caching)


def stale_windows(caching: Caching, rule: Rule | None, settings: Settings) -> tuple[float, float]:
    """Seconds of stale-while-revalidate and of stale-if-error (RFC 5861); 0 where it is forbidden.

    The app's, else the rule's, else the setting's.
    """
    if not may_be_stale(caching):
        return 0.0, 0.0
    revalidate: float | None = caching.directives.seconds("stale-while-revalidate")
    error: float | None = caching.directives.seconds("stale-if-error")
    if rule is not None:
        revalidate = rule.stale_while_revalidate if revalidate is None else revalidate
        error = rule.stale_if_error if error is None else error
    return (
        min(
            settings.max_ttl, settings.stale_while_revalidate if revalidate is None else revalidate
        ),
        min(settings.max_ttl, settings.stale_if_error if error is None else error),
    )
