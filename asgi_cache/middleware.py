"""The driver: one request, one direction, one verb.

``read_request -> screen -> select -> decide -> serve | fetch | pass``. What each step means stands
in ``policy``, how each verb is done in its own module (``serving``, ``fetching``, ``passing``);
what is here is the order. It keeps nothing of a request in itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asgi_cache.cache import Cache
from asgi_cache.debugging import Debugging
from asgi_cache.errors import ConfigurationError
from asgi_cache.fetching import Fetcher
from asgi_cache.messages import BODY, START, has_client_certificate, read_request
from asgi_cache.passing import pass_on
from asgi_cache.policy.decision import Action, Decision, Refusal
from asgi_cache.policy.reuse import Screening, as_asked, decide, screen
from asgi_cache.revalidating import Revalidations
from asgi_cache.serving import HIT, serve

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.model import RequestHead
    from asgi_cache.settings import Settings

SHUTDOWN: Final = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class CacheMiddleware:
    """A shared cache in front of *app*: GET and HEAD are answered from stored responses.

    *settings*, keyword *overrides* or a ready *cache*, as for :func:`asgi_cache.wrap`. Raises
    :class:`ConfigurationError`.
    """

    def __init__(
        self,
        app: ASGIApp,
        /,  # else mypy refuses the class as Starlette's Middleware(cls, **options)
        settings: Settings | None = None,
        *,
        cache: Cache | None = None,
        **overrides: Any,
    ) -> None:
        if not callable(app):
            raise ConfigurationError(
                f"app is of type {type(app).__name__}; it must be an ASGI app, which is called "
                "with (scope, receive, send)"
            )
        if cache is not None and (settings is not None or overrides):
            given = ", ".join(["settings"] * (settings is not None) + sorted(overrides))
            raise ConfigurationError(
                f"cache= already has its settings; {given} cannot be given as well "
                "(allowed: cache= alone, or settings and keywords without it)"
            )
        self.app = app
        self.cache = Cache(settings, **overrides) if cache is None else cache
        self.settings = self.cache.settings
        self._owns_cache = cache is None
        self._hits = self.cache.metrics.decisions
        self._debugging = Debugging.of(self.cache)
        self._fetcher = Fetcher(app, self.cache)
        self._revalidations = Revalidations(self._fetcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        request = read_request(scope)
        screened = screen(request, self.settings)
        if isinstance(screened, Screening):
            await self._pass(scope, receive, send, request, *screened)
            return
        if self._debugging is not None:
            scope, screened, send = self._debugging.taken(scope, screened, send)
        if "tls" in (scope.get("extensions") or ()) and has_client_certificate(scope):
            compiled = screened.compiled
            if compiled is None or not compiled.anonymous:
                decision, refusal = Decision.BYPASS, Refusal.CREDENTIALS
                await self._pass(scope, receive, send, request, decision, refusal)
                return
            shape = screened.shape._replace(personal=True)
            screened = screened._replace(personal=True, shape=shape)
        cache = self.cache
        store = cache.local_store or cache.store_for_request()
        selection = await cache.select(screened, store)
        stored = selection.stored
        decision = selection.miss if stored is None else decide(screened, stored, cache.now())
        serves = decision.action is Action.SERVE
        if decision.action is Action.SERVE_AND_REVALIDATE and stored is not None:
            serves = self._revalidations.start(scope, screened, selection, stored)
            if not serves:
                decision = Decision.STALE
        if screened.asked is not None:
            decision = as_asked(screened, decision)
        action = decision.action
        if serves and stored is not None:
            self._hits[decision.index] += 1
            await serve(cache, screened, stored, HIT, send)
        elif action is Action.PASS:
            await self._pass(scope, receive, send, request, decision, Refusal.CREDENTIALS)
        elif action is Action.REFUSE:
            self._hits[decision.index] += 1
            await send({"type": START, "status": 504, "headers": [(b"content-length", b"0")]})
            await send({"type": BODY, "body": b""})
        else:
            await self._fetcher.fetch(scope, receive, send, screened, selection, decision, store)

    async def _pass(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: RequestHead,
        decision: Decision,
        refusal: Refusal | None,
    ) -> None:
        await pass_on(self.app, self.cache, scope, receive, send, request, decision, refusal)

    # ------------------------------------------------------------------ not HTTP

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass; from a lifespan, learn its state, and when to close what this opened."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def lifespan_send(message: Message) -> None:
            kind = message.get("type")
            if kind == "lifespan.startup.complete":
                state = scope.get("state")
                self._fetcher.state = dict(state) if isinstance(state, Mapping) else {}
            elif kind in SHUTDOWN:
                await self._close()
            await send(message)

        await self.app(scope, receive, lifespan_send)

    async def _close(self) -> None:
        try:
            await self._revalidations.aclose()
            if self._owns_cache:
                await self.cache.aclose()
        except Exception as error:  # the app's shutdown goes on
            self.cache.failed("close", error)
