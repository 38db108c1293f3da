"""RFC 9111 §4.3.2: a client's condition answered from a stored response, with a 304.

Conditions that only an origin may evaluate never get here: ``screen`` lets them pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_cache.fields import is_any, parse_entity_tags
from asgi_cache.fields.dates import parse_date

if TYPE_CHECKING:
    from asgi_cache.model import Line, RequestHead, StoredResponse

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
        etag = stored.etag
        return etag is not None and any(
            opaque == etag.opaque for _, opaque in parse_entity_tags(tags)
        )
    since = request.fields.get(b"if-modified-since")
    if since is None or stored.last_modified is None:
        return False
    instant = parse_date(since, now)
    return instant is not None and stored.last_modified <= instant


def not_modified_lines(lines: tuple[Line, ...]) -> list[Line]:
    """Those of *lines* that a 304 carries."""
    return [line for line in lines if line[0] in NOT_MODIFIED_FIELDS]
