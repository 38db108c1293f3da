"""The cache as a handler sees it: the same purges, with URLs relative to the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_cache.errors import CacheError, ConfigurationError
from asgi_cache.messages import HANDLE
from asgi_cache.policy.keys import Target, target_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_cache.cache import Cache, OnError
    from asgi_cache.model import RequestHead


class Handle:
    """What :func:`from_scope` returns; ``cache`` is the :class:`~asgi_cache.Cache` itself."""

    __slots__ = ("_request", "cache")

    def __init__(self, cache: Cache, request: RequestHead) -> None:
        self.cache = cache
        self._request = request

    async def purge(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        all_queries: bool = False,
        soft: bool = False,
        on_error: OnError = "raise",
    ) -> None:
        """As :meth:`asgi_cache.Cache.purge`; *url* may be relative to the request's."""
        if url is None or group is not None:
            await self.cache.purge(
                url, group=group, all_queries=all_queries, soft=soft, on_error=on_error
            )
            return
        request = self._request
        settings = self.cache.settings
        authority = settings.plan.authority(request.fields.get(b"host", b""))
        base = None if authority is None else Target(authority, request.raw_path, request.query)
        target = target_of(url, settings, base, request.root_path)
        if target is None:
            raise ConfigurationError(
                f"purge: {url!r} names no host, and the request has no valid Host to take it from"
            )
        await self.cache.purge_targets(
            [target], all_queries=all_queries, soft=soft, on_error=on_error
        )

    async def purge_all(self, *, soft: bool = False, on_error: OnError = "raise") -> None:
        """As :meth:`asgi_cache.Cache.purge_all`."""
        await self.cache.purge_all(soft=soft, on_error=on_error)


def from_scope(scope: Mapping[str, Any]) -> Handle:
    """The handle of the cache around the app that was called with *scope*.

    Raises :class:`CacheError` where there is no cache.
    """
    handle = (scope.get("extensions") or {}).get(HANDLE)
    if not isinstance(handle, Handle):
        raise CacheError(
            "this scope has no cache: wrap the app with asgi_cache.wrap(app), and pass the scope "
            "that the app was called with"
        )
    return handle
