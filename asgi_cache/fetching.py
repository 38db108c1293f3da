"""One fill: what of the request its app sees, in one run or two, and who answers when it fails.

Where something stale is stored, the app is asked whether it still holds (RFC 9111 §4.3): the
same fill, with a condition of ours in place of the client's.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from asgi_cache.admission import Admission
from asgi_cache.anonymous import Replay, run_apart, run_here
from asgi_cache.capture import Capture
from asgi_cache.collapsing import Outcome, Turn, Verdict
from asgi_cache.following import Turns, may_lead, standing
from asgi_cache.handle import Handle
from asgi_cache.heads import freshen_by_head
from asgi_cache.messages import anonymous_scope, replaced_lines, with_handle
from asgi_cache.passing import pass_on
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.emission import STOOD_IN, forwarded
from asgi_cache.policy.folding import fold
from asgi_cache.policy.reuse import decide_again, is_hiding
from asgi_cache.policy.validation import conditional_fields, usable_on_error
from asgi_cache.serving import serve
from asgi_cache.settings.plan import CACHE_PRECONDITIONS
from asgi_cache.standing import Standing
from asgi_cache.trying import Trial
from asgi_cache.validating import Validation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from asgi_cache.cache import Cache
    from asgi_cache.model import Line, ResponseHead, StoredResponse
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store


class Child(NamedTuple):
    """The request as the app of a fill gets it."""

    scope: MutableMapping[str, Any]
    folded: Folded
    before: StoredResponse | None
    """What is stored and may answer this client once it holds again."""
    condition: tuple[Line, ...]
    """Whether it does: asked of the app in place of what the client asks."""
    anonymous: bool
    """Neither credentials nor the client's own condition are shown."""
    hidden: bool
    """Something that may tell one user from another was there, and is not shown."""


class Fetcher:
    """The fills of one app."""

    def __init__(self, app: ASGIApp, cache: Cache) -> None:
        self.app = app
        self.cache = cache
        self._turns = Turns(cache)
        self.state: Mapping[str, Any] | None = None
        """What lifespan start-up left in its state; ``None``: none was seen."""

    async def fetch(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        screened: Screened,
        selection: Selection,
        decision: Decision | None,
        store: Store,
    ) -> bool:
        """Call the app, give its response to the client, and store it where it may be stored.

        *decision* ``None``: no client waits. ``True`` where something new is stored then.
        """
        cache = self.cache
        before = standing(screened, selection)
        if screened.obstacle is not None:
            why = screened.obstacle
            if before is None or decision is None:
                await self._pass(scope, receive, send, screened, decision, why)
            else:
                turn = Turn(selection)
                await self._stand_by(
                    scope, receive, send, screened, turn, decision, store, before, why
                )
            return False
        noted = cache.noted(screened) if before is None else None
        if noted is not None and is_hiding(screened):
            await self._pass(scope, receive, send, screened, Decision.BYPASS, noted)
            return False
        child = self._child(scope, screened, before)
        if noted is not None and child.hidden:
            await self._pass(scope, receive, send, screened, Decision.BYPASS, noted)
            return False
        if selection.available:
            await cache.settle(selection, store)
        turn = Turn(selection)
        if not cache.goes_alone(screened):
            leads = partial(may_lead, screened, child.anonymous)
            turn = await self._turns.take(screened, selection, child.folded, store, leads)
            if decision is None and turn.outcome is not None:
                return False  # somebody has asked the app meanwhile
            if turn.selection is not selection:
                # The app call carries what was read last: it is about what was found there.
                child = self._child(scope, screened, standing(screened, turn.selection))
                if decision is not None:
                    stored, miss = turn.selection.stored, turn.selection.miss
                    decision = decide_again(screened, stored, decision, miss, cache.now())
            if turn.outcome is not None and decision is not None:
                told = (scope, receive, send, screened, decision, child)
                if await self._followed(turn, turn.outcome, *told):
                    return False
        return await self._fill(scope, child, receive, send, screened, turn, decision, store)

    async def _fill(
        self,
        scope: Scope,
        child: Child,
        receive: Receive,
        send: Send,
        screened: Screened,
        turn: Turn,
        decision: Decision | None,
        store: Store,
    ) -> bool:
        """Call the app; ``True`` where something new is stored then."""
        cache, before, hidden, flight = self.cache, child.before, child.hidden, turn.flight
        if not turn.selection.available and flight is None:
            why = Refusal.STORE_UNAVAILABLE
            await self._pass(scope, receive, send, screened, decision, why, turn=turn)
            return False
        told = (screened, turn, child.folded, decision)
        if not (before or hidden or flight or turn.waited) and decision is not None:
            return await Trial(cache, store, receive, send, *told).run(self.app, child.scope)
        capture = Capture if before is None else partial(Validation, before)
        fill = capture(cache, store, send, *told, hidden=hidden, conditional=bool(child.condition))
        await self._run(scope, child, receive, send, screened, turn, fill)
        return fill.has_kept

    async def _stand_by(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        screened: Screened,
        turn: Turn,
        decision: Decision,
        store: Store,
        before: StoredResponse,
        refusal: Refusal,
    ) -> None:
        """Call the app as the request came; *before* may answer a failure of it."""
        cache, selection, hear = self.cache, turn.selection, None
        child = self._child(scope, screened, None)
        if refusal is Refusal.HEAD:
            hear = await self._hearing(child, screened, selection, before, store)
            scope = scope if hear is None else child.scope
        if not usable_on_error(before, cache.now()):
            await self._pass(scope, receive, send, screened, decision, refusal, hear)
            return
        fill = (cache, store, send, screened, turn, child.folded, decision)
        seen = with_handle(scope, Handle(cache, screened.request))
        child = child._replace(scope=seen, hidden=False)
        capture = Standing(before, hear, refusal, *fill)
        await self._run(scope, child, receive, send, screened, turn, capture)

    async def _followed(
        self,
        turn: Turn,
        outcome: Outcome,
        scope: Scope,
        receive: Receive,
        send: Send,
        screened: Screened,
        decision: Decision,
        child: Child,
    ) -> bool:
        """Answer a request that has waited; ``False``: it has to run by itself."""
        cache, before = self.cache, child.before
        if outcome.verdict is Verdict.COMPLETE and outcome.stored is not None:
            cache.metrics.decisions[decision.index] += 1
            cache.metrics.collapsed += 1
            told = forwarded(decision, None, False, collapsed=True)
            await serve(cache, screened, outcome.stored, told, send)
            return True
        if outcome.verdict is Verdict.STOOD_IN and before is not None:
            if not usable_on_error(before, cache.now()):
                return False
            cache.metrics.decisions[Decision.STALE_ON_ERROR.index] += 1
            told = forwarded(decision, None, False, collapsed=True) + STOOD_IN
            await serve(cache, screened, before, told, send)
            return True
        refusal = outcome.refusal
        if outcome.verdict is Verdict.LATE:
            refusal = Refusal.LEADER_LATE
        elif child.hidden and refusal is not None and refusal.noted:
            decision = Decision.BYPASS
        else:
            return False
        await self._pass(scope, receive, send, screened, decision, refusal, turn=turn)
        return True

    async def _run(
        self,
        scope: Scope,
        child: Child,
        receive: Receive,
        send: Send,
        screened: Screened,
        turn: Turn,
        capture: Capture,
    ) -> None:
        """The app's one run, or two: the second as the request came."""
        flight, replay = turn.flight, Replay(receive, capture)
        try:
            if child.hidden or capture.is_background:
                done = await run_apart(self.app, child.scope, replay, capture)
            else:
                done = await run_here(self.app, child.scope, replay, capture)
            if done or capture.is_background:
                return
            decision, refusal = Decision.BYPASS, capture.refusal or Refusal.FAILED
            await self._pass(scope, replay.second, send, screened, decision, refusal, turn=turn)
        except asyncio.CancelledError:
            capture.cancelled()
            raise
        finally:
            replay.close()
            await capture.finish()
            if flight is not None:
                flight.release(None)
                if flight.lease is not None:
                    flight.lease.give_back(left=True)

    def _child(self, scope: Scope, screened: Screened, before: StoredResponse | None) -> Child:
        """The request as the app of a fill sees it, with a condition about *before*."""
        condition = () if before is None else conditional_fields(before)
        request = screened.request
        folded = fold(request, screened.shape, screened.compiled)
        child = with_handle(scope, Handle(self.cache, request))
        replaced = folded.replaced
        if len(request.fields) < len(scope.get("headers", ())):
            # Of a key field's several lines the app must see what the key has: all in one.
            keyed = {name: request.fields[name] for name in screened.shape.key_fields}
            replaced = {**keyed, **replaced}
        if condition:
            replaced = {**replaced, **dict.fromkeys(CACHE_PRECONDITIONS)}
        child["headers"] = [*replaced_lines(scope.get("headers", ()), replaced), *condition]
        child["query_string"] = folded.head.query
        hidden = folded.hidden
        anonymous = screened.compiled is not None and screened.compiled.anonymous
        if anonymous:
            child, identified = anonymous_scope(child, self.state)
            hidden = hidden or identified
        return Child(child, folded, before, condition, anonymous, hidden)

    async def _hearing(
        self,
        child: Child,
        screened: Screened,
        selection: Selection,
        before: StoredResponse,
        store: Store,
    ) -> Callable[[ResponseHead], Awaitable[None]] | None:
        """What a HEAD's answer says of *before* (§4.3.5), if its app sees what a fill's would.

        ``None``: it says nothing for others, because it is one user's.
        """
        cache = self.cache
        if child.hidden or screened.personal:
            return None
        if not selection.available or not await cache.settle(selection, store):
            return None
        admission = Admission(cache, screened, selection, child.folded, hidden=False)

        async def hear(head: ResponseHead) -> None:
            await freshen_by_head(cache, store, screened, selection, admission, before, head)

        return hear

    async def _pass(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        screened: Screened,
        decision: Decision | None,
        refusal: Refusal,
        hear: Callable[[ResponseHead], Awaitable[None]] | None = None,
        *,
        turn: Turn | None = None,
    ) -> None:
        if decision is None:
            return  # what is not to be stored is of no use to nobody
        app, cache, request = self.app, self.cache, screened.request
        collapsed = None if turn is None else turn.collapsed
        await pass_on(
            app, cache, scope, receive, send, request, decision, refusal, hear, collapsed=collapsed
        )
