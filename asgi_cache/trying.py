"""A fill that nobody follows, as where the last answers at its key were no one else's.

The app's messages go to the client as they come, and its start is judged as any. A
:class:`~asgi_cache.capture.Capture` is made where there is something to capture: where the answer
may be stored after all, or where anything but a plain start begins it.

What must not be here: followers, requests of which something was hidden, what is stored already.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgi_cache.admission import Admission
from asgi_cache.capture import Capture, judged
from asgi_cache.messages import START, read_response
from asgi_cache.phases import Phase
from asgi_cache.policy.decision import Refusal
from asgi_cache.reply import told

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Send

    from asgi_cache.cache import Cache
    from asgi_cache.collapsing import Turn
    from asgi_cache.policy.decision import Decision
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.base import Store


class Trial:
    """Stands in for ``receive`` and ``send`` of one request."""

    __slots__ = (
        "_admission",
        "_cache",
        "_decision",
        "_fill",
        "_may_judge",
        "_passes",
        "_receive",
        "_screened",
        "_send",
        "capture",
    )

    def __init__(
        self,
        cache: Cache,
        store: Store,
        receive: Receive,
        send: Send,
        screened: Screened,
        turn: Turn,
        folded: Folded,
        decision: Decision | None,
    ) -> None:
        self.capture: Capture | None = None
        """``None`` as long as there is nothing to capture."""
        self._fill = (cache, store, send, screened, turn, folded, decision)
        self._cache = cache
        self._receive = receive
        self._send = send
        self._screened = screened
        self._decision = decision
        self._admission = Admission(cache, screened, turn.selection, folded, hidden=False)
        self._may_judge = cache.settings.rule is None  # else the user's own code: asked once
        self._passes = False
        """The answer is not for the cache: what is still to come is no business of ours."""

    async def run(self, app: ASGIApp, scope: MutableMapping[str, Any]) -> bool:
        """Call *app*; ``True`` where something new is stored then."""
        try:
            await app(scope, self.receive, self.send)
            if self.capture is not None and self.capture.phase is Phase.HELD:
                await self.capture.flush()
        except asyncio.CancelledError:
            if self.capture is not None:
                self.capture.cancelled()
            raise
        finally:
            if not self._passes:
                await self._captured().finish()
        return self.capture is not None and self.capture.has_kept

    async def receive(self) -> Message:
        """What the app gets as ``receive``."""
        message = await self._receive()
        if not self._passes and (message.get("type") != "http.request" or message.get("body")):
            await self._captured().see(message)
        return message

    async def send(self, message: Message) -> None:
        """What the app gets as ``send``."""
        if self._passes:
            await self._send(message)
            return
        if self.capture is None and self._may_judge and message.get("type") == START:
            head, message = read_response(message)
            outcome = judged(self._admission, head, message)
            if isinstance(outcome, Refusal):
                self._passes = True
                self._cache.metrics.refusals[outcome.index] += 1
                if outcome.noted:
                    self._cache.note(self._screened, outcome)
                await self._send(told(self._cache, message, self._decision, outcome))
                return
        await self._captured().send(message)

    def _captured(self) -> Capture:
        """The capture of this fill, made now where there is none."""
        if self.capture is None:
            self.capture = Capture(*self._fill, hidden=False, admission=self._admission)
        return self.capture
