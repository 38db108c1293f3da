"""The driver: one request, one direction, one verb.

``read_request -> screen -> select -> decide -> serve | fetch | pass``. What each step means stands
in ``policy``; what is here is the order of I/O. It keeps nothing of a request in itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asgi_cache.anonymous import Replay, run_hidden
from asgi_cache.cache import Cache
from asgi_cache.capture import Capture
from asgi_cache.errors import ConfigurationError
from asgi_cache.handle import Handle
from asgi_cache.messages import (
    BODY,
    START,
    anonymous_scope,
    has_client_certificate,
    read_request,
    read_response,
    replaced_lines,
    status_of,
    with_handle,
    with_lines,
)
from asgi_cache.model import ResponseHead
from asgi_cache.policy.decision import Action, Decision, Refusal
from asgi_cache.policy.emission import forward_status, growing_cache_control
from asgi_cache.policy.folding import fold
from asgi_cache.policy.invalidation import is_unsafe, targets_to_invalidate
from asgi_cache.policy.reuse import Screening, decide, screen
from asgi_cache.policy.validation import is_not_modified, not_modified_lines

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.model import Line, RequestHead, StoredResponse
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.settings import Settings
    from asgi_cache.stores.base import Store

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
        self._name = self.settings.plan.cache_status_name if self.settings.cache_status else None
        self._state: dict[str, Any] | None = None

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
        if "tls" in (scope.get("extensions") or ()) and has_client_certificate(scope):
            compiled = screened.compiled
            if compiled is None or not compiled.anonymous:
                decision, refusal = Decision.BYPASS, Refusal.CREDENTIALS
                await self._pass(scope, receive, send, request, decision, refusal)
                return
            screened = screened._replace(personal=True)
        cache = self.cache
        store = cache.local_store or cache.store_for_request()
        selection = await cache.select(screened, store)
        stored = selection.stored
        decision = selection.miss if stored is None else decide(screened, stored, cache.now())
        if decision.action is Action.SERVE and stored is not None:
            await self._serve(screened, stored, decision, send)
        elif decision.action is Action.FETCH:
            await self._fetch(scope, receive, send, screened, selection, decision, store)
        else:
            await self._pass(scope, receive, send, request, decision, Refusal.CREDENTIALS)

    # ------------------------------------------------------------------ the verbs

    async def _serve(
        self, screened: Screened, stored: StoredResponse, decision: Decision, send: Send
    ) -> None:
        """Answer from *stored*."""
        self._hits[decision.index] += 1
        now = self.cache.now()
        age = now - stored.generated_at
        if age < 0:
            age = 0
        lines = [*stored.lines, (b"age", b"%d" % age)]
        if stored.browser_ttl is not None:
            lines.append(growing_cache_control(stored.browser_ttl, age))
        if self._name is not None:
            left = stored.fresh_until - now
            lines.append((b"cache-status", b"%b; hit; ttl=%d" % (self._name, left)))
        request = screened.request
        if screened.shape.conditional and is_not_modified(request, stored, now):
            kept = not_modified_lines(tuple(lines))
            await send({"type": START, "status": 304, "headers": kept})
            await send({"type": BODY, "body": b""})
            return
        await send({"type": START, "status": stored.status, "headers": lines})
        await send({"type": BODY, "body": b"" if request.method == "HEAD" else stored.body})

    async def _fetch(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        screened: Screened,
        selection: Selection,
        decision: Decision,
        store: Store,
    ) -> None:
        """Call the app, give its response to the client, and store it where it may be stored."""
        request, cache = screened.request, self.cache
        if screened.obstacle is not None:
            await self._pass(scope, receive, send, request, decision, screened.obstacle)
            return
        folded = fold(request, screened.shape, screened.compiled)
        child = with_handle(scope, Handle(cache, request))
        replaced = folded.replaced
        if len(request.fields) < len(scope.get("headers", ())):
            # Of a key field's several lines the app must see what the key has: all in one.
            keyed = {name: request.fields[name] for name in screened.shape.key_fields}
            replaced = {**keyed, **replaced}
        child["headers"] = replaced_lines(scope.get("headers", ()), replaced)
        child["query_string"] = folded.head.query
        hidden = folded.hidden
        if screened.compiled is not None and screened.compiled.anonymous:
            child, identified = anonymous_scope(child, self._state)
            hidden = hidden or identified
        noted = cache.noted(screened) if hidden and selection.stored is None else None
        if noted is not None:
            await self._pass(scope, receive, send, request, Decision.BYPASS, noted)
            return
        if not selection.available or not await cache.settle(selection, store):
            refusal = Refusal.STORE_UNAVAILABLE
            await self._pass(scope, receive, send, request, decision, refusal)
            return
        capture = Capture(cache, store, send, screened, selection, folded, decision, hidden=hidden)
        try:
            if not hidden:
                await self.app(child, watched(receive, capture), capture.send)
                await capture.flush()
                return
            replay = Replay(receive, capture)
            try:
                if await run_hidden(self.app, child, replay, capture):
                    return
                refusal = capture.refusal or Refusal.FAILED
                await self._pass(scope, replay.second, send, request, Decision.BYPASS, refusal)
            finally:
                replay.close()
        except asyncio.CancelledError:
            capture.disconnected = True
            raise
        finally:
            await capture.finish()

    async def _pass(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: RequestHead,
        decision: Decision,
        refusal: Refusal | None,
    ) -> None:
        """Call the app with what came and pass on what it sends; store nothing."""
        self._hits[decision.index] += 1
        if refusal is not None:
            self.cache.metrics.refusals[refusal.index] += 1
        child = with_handle(scope, Handle(self.cache, request))
        if decision is Decision.METHOD and is_unsafe(request.method):
            await self._invalidate(child, receive, send, request)
            return
        line = None
        if self._name is not None:
            line = forward_status(self._name, decision, refusal, False)
        await self.app(child, receive, send if line is None else telling(send, line))

    async def _invalidate(
        self, scope: Scope, receive: Receive, send: Send, request: RequestHead
    ) -> None:
        """Pass, and spoil what a non-error response to an unsafe method spoils (RFC 9111 §4.4).

        Before the start is passed on, so that whoever has the response sees its effect; and again
        when the app returns, for work that it does after its response.
        """
        names: tuple[bytes, ...] = ()
        cache = self.cache
        store = cache.store_for_request()

        async def invalidating_send(message: Message) -> None:
            nonlocal names
            if message.get("type") == START and not names:
                head, message = read_response(message)
                if head is None:
                    head = ResponseHead(status_of(message) or 0, ())
                names = targets_to_invalidate(request, head, self.settings)
                if names:
                    # Whoever is cancelled meanwhile has changed something all the same.
                    await cache.shielded(cache.invalidate(names, store))
            await send(message)

        try:
            await self.app(scope, receive, invalidating_send)
        finally:
            if names:
                await cache.shielded(cache.invalidate(names, store))

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
                self._state = dict(state) if isinstance(state, Mapping) else {}
            elif kind in SHUTDOWN and self._owns_cache:
                await self._close()
            await send(message)

        await self.app(scope, receive, lifespan_send)

    async def _close(self) -> None:
        try:
            await self.cache.aclose()
        except Exception as error:  # the app's shutdown goes on
            self.cache.failed("close", error)


def watched(receive: Receive, capture: Capture) -> Receive:
    """*receive*, for a fill that a GET's content would spoil: a body is not part of the key."""

    async def watched_receive() -> Message:
        message = await receive()
        capture.see(message)
        return message

    return watched_receive


def telling(send: Send, line: Line) -> Send:
    """*send* with *line* added to the response's start."""

    async def telling_send(message: Message) -> None:
        if message.get("type") == START:
            _, message = read_response(message)
            if isinstance(message.get("headers", ()), list | tuple):
                message = with_lines(message, (line,))
        await send(message)

    return telling_send
