"""Answers from the store: whole, a part of it, or a 304.

Every hit comes through :func:`serve`; what is done here is paid by each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_cache.messages import BODY, START
from asgi_cache.policy.emission import growing_cache_control
from asgi_cache.policy.ranges import range_of
from asgi_cache.policy.validation import is_not_modified, not_modified_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Send

    from asgi_cache.cache import Cache
    from asgi_cache.model import Line, StoredResponse
    from asgi_cache.policy.reuse import Screened

HIT: Final = b"hit"


async def serve(
    cache: Cache,
    screened: Screened,
    stored: StoredResponse,
    told: bytes,
    send: Send,
    extra: Sequence[Line] = (),
) -> None:
    """Answer a request from *stored*, with *told* as the parameters of its Cache-Status.

    *extra*: lines of this exchange alone.
    """
    now = cache.now()
    age = now - stored.generated_at
    if age < 0:
        age = 0
    lines = [*stored.lines, *extra, (b"age", b"%d" % age)]
    if stored.browser_ttl is not None:
        lines.append(growing_cache_control(stored.browser_ttl, age))
    name = cache.status_name
    if name is not None:
        # Negative where it is stale (RFC 9211 §2.4).
        left = (stored.fresh_until - now) // 1
        lines.append((b"cache-status", b"%b; %b; ttl=%d" % (name, told, left)))
    request = screened.request
    if screened.shape.conditional and is_not_modified(request, stored, now):
        kept = not_modified_lines(tuple(lines))
        await send({"type": START, "status": 304, "headers": kept})
        await send({"type": BODY, "body": b""})
        return
    if screened.shape.ranged and request.method == "GET" and stored.status == 200:
        part = range_of(request, stored, lines, now)
        if part is not None:
            await send({"type": START, "status": part.status, "headers": part.lines})
            await send({"type": BODY, "body": part.body})
            return
    await send({"type": START, "status": stored.status, "headers": lines})
    await send({"type": BODY, "body": b"" if request.method == "HEAD" else stored.body})
