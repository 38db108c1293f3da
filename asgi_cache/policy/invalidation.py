"""RFC 9111 §4.4: what a successful unsafe request spoils, as names of stamps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_cache.fields import parse_groups
from asgi_cache.policy.folding import fold_query
from asgi_cache.policy.grouping import MAX_GROUPS
from asgi_cache.policy.keys import (
    EPOCH,
    MAX_TARGET_BYTES,
    Target,
    group_stamps,
    target_of,
    target_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asgi_cache.model import RequestHead, ResponseHead
    from asgi_cache.settings import Settings

MAX_URL_BYTES: Final = MAX_TARGET_BYTES + 512
"""A target, with a scheme and the longest authority in front of it."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT"})
"""RFC 9110 §9.2.1, RFC 10008, and the safe ones of WebDAV; any other method may change things."""


def is_unsafe(method: str) -> bool:
    """Whether *method* is unsafe or unknown (§4.4)."""
    return method not in SAFE_METHODS


def targets_to_invalidate(
    request: RequestHead, head: ResponseHead, settings: Settings
) -> tuple[bytes, ...]:
    """Names of the stamps to replace, in order, when *head* answers the unsafe *request*.

    The request's own target; those of Location and Content-Location of the same authority; the
    groups of Cache-Group-Invalidation, of this authority only (RFC 9875 §3), the epoch before
    them. Empty for an error, and where the request has no valid authority.
    """
    plan = settings.plan
    authority = plan.authority(request.fields.get(b"host", b""))
    if not 200 <= head.status <= 399 or authority is None:
        return ()
    compiled = plan.compiled(plan.matcher.match(request.path, request.raw_path))
    query = request.query if compiled is None else fold_query(request.query, compiled)
    own = Target(authority, request.raw_path, query)
    found = [own]
    for name in (b"location", b"content-location"):
        for value in bounded(head.values(name)):
            url = value.decode("utf-8", "surrogateescape")
            target = target_of(url, settings, own, request.root_path)
            if target is not None and target.authority == authority:
                found.append(target)
    stamps = [target_stamp(target.text) for target in found]
    groups = parse_groups(head.values(b"cache-group-invalidation")) or []
    if groups:
        stamps.append(EPOCH)
        stamps += [group_stamps(group, authority)[1] for group in groups[:MAX_GROUPS]]
    return tuple(dict.fromkeys(stamps))


def bounded(values: Sequence[bytes]) -> Iterator[bytes]:
    """Those of *values* that may name what is stored, and together are no longer than one may be.

    To resolve a reference takes longer than to receive it.
    """
    room = MAX_URL_BYTES
    for value in values:
        if len(value) <= room:
            room -= len(value)
            yield value
