"""``X-Response-Time``: how long the application took to begin its answer.

Works alone around any ASGI app and knows nothing of the cache.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

from asgi_cache.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELD: Final = b"x-response-time"
LENGTH: Final = len(FIELD)


class TimingMiddleware:
    """Adds ``X-Response-Time`` to every response, in place of one that is there.

    *style*: ``"ms"`` for ``1.234ms``, ``"s"`` for ``0.0012s``, ``False`` for none. The time is
    from the call to ``http.response.start``.
    """

    __slots__ = ("_format", "app")

    def __init__(self, app: ASGIApp, *, style: Literal["ms", "s", False] = "ms") -> None:
        if not callable(app):
            raise ConfigurationError(
                f"app is of type {type(app).__name__}; it must be an ASGI app, which is called "
                "with (scope, receive, send)"
            )
        if style not in ("ms", "s", False):
            raise ConfigurationError(f"style is {style!r}; it must be 'ms', 's' or False")
        self.app = app
        self._format = {"ms": (b"%.3fms", 1000.0), "s": (b"%.4fs", 1.0)}.get(str(style))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if self._format is None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        layout, factor = self._format
        started = perf_counter()

        # No coroutine of its own: each would be one more for every message.
        def timed_send(message: Message) -> Awaitable[None]:
            if message.get("type") == "http.response.start":
                line = (FIELD, layout % ((perf_counter() - started) * factor))
                headers = message.get("headers", ())
                if hasattr(headers, "__iter__"):
                    kept = headers if type(headers) is list else list(headers)
                    try:
                        for other in kept:
                            if len(other[0]) == LENGTH:
                                kept = without(kept)
                                break
                    except (LookupError, TypeError):
                        kept = without(kept)
                    message = {**message, "headers": [*kept, line]}
            return send(message)

        await self.app(scope, receive, timed_send)


def without(lines: Iterable[Any]) -> list[Any]:
    """*lines* but those of this field; a malformed one is the server's business, as without us."""
    kept = []
    for line in lines:
        try:
            name = line[0].lower()
        except (AttributeError, LookupError, TypeError):
            name = None
        if name != FIELD:
            kept.append(line)
    return kept
