"""The responder of one fill: stands in for ``send``, passes on what the app sends, keeps a copy.

Chunks go to the client as they come. Where the fill is anonymous and hid something, nothing has
reached the client before the response is known to be one that it may have; else :attr:`refused`
is done and the driver runs the request a second time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asgi_cache.admission import Admission, may_tag
from asgi_cache.filling import Filling
from asgi_cache.messages import BODY, START, read_response, with_lines
from asgi_cache.model import ResponseHead
from asgi_cache.phases import AbandonedRun, Phase
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.storing import ANSWERS
from asgi_cache.reply import Reply

if TYPE_CHECKING:
    from starlette.types import Message, Send

    from asgi_cache.cache import Cache
    from asgi_cache.collapsing import Turn
    from asgi_cache.model import StoredResponse
    from asgi_cache.policy.decision import Decision
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.base import Store

NO_HEAD: Final = ResponseHead(0, ())
INFORMATIONAL: Final = frozenset({"http.response.early_hint", "http.response.debug"})


class Capture:
    """One fill's ``send``, and what becomes of its response; *decision* ``None``: no client waits.

    What is stored already is the business of :class:`asgi_cache.validating.Validation`.
    """

    def __init__(
        self,
        cache: Cache,
        store: Store,
        send: Send,
        screened: Screened,
        turn: Turn,
        folded: Folded,
        decision: Decision | None,
        *,
        hidden: bool,
        conditional: bool = False,
        admission: Admission | None = None,
    ) -> None:
        selection = turn.selection
        self.cache = cache
        self.refusal: Refusal | None = None
        """Why nothing is stored; ``None`` as long as it may be."""
        self.is_refused = False
        """A second run is due; only a fill that hid something comes to that."""
        self._refused: asyncio.Future[None] | None = None
        self.phase = Phase.AWAITED
        self.conditional = conditional
        """The app was asked whether what is stored still holds."""
        self.hidden = hidden
        """Something that may tell one user from another is not shown to the app."""
        self.collapsed = turn.collapsed
        """What Cache-Status says of the waiting that came before (RFC 9211 §2.6)."""
        self.filling = Filling(cache, store, screened, selection, turn.flight)
        self._decision = decision
        self.is_background = decision is None
        """No client waits: what is not to be stored is of no use."""
        self._available = selection.available
        self._admission = admission or Admission(cache, screened, selection, folded, hidden=hidden)
        self._reply = Reply(
            cache,
            send,
            screened,
            decision,
            condition_hidden=self._admission.anonymous or self.conditional,
            collapsed=turn.collapsed,
        )
        self._start: Message = {}
        self._head = NO_HEAD
        self._stored: StoredResponse | None = None
        self.was_cut = False
        """The app was told that nobody waits for what it sends."""
        self.disconnected = False
        """The server has told the app that the client is gone, or has cancelled it."""

    async def send(self, message: Message) -> None:
        """What the app gets as ``send``."""
        if self.is_refused:
            raise AbandonedRun("the answer of this run is not used")
        if self.phase is Phase.ANSWERED:
            if message.get("more_body", False):
                self.was_cut = True
                raise AbandonedRun("the client has its answer")
            return
        kind = message.get("type")
        if kind == START and self.phase is Phase.AWAITED:
            await self._on_start(message)
        elif kind == BODY and self.phase in (Phase.STARTED, Phase.HELD):
            await self._on_body(message)
        elif kind == BODY and self.phase is Phase.WHOLE and not message.get("body"):
            if not message.get("more_body", False):
                self.phase = Phase.ENDED
            await self._reply.send(message)
        elif kind in INFORMATIONAL and self.phase is not Phase.ENDED:
            if self.phase is Phase.AWAITED and self.hidden:
                self._reply.early.append(message)
                return
            if self.phase is Phase.HELD:
                await self._pass_start()
            await self._reply.send(message)
        else:
            await self._on_other(message)

    # ------------------------------------------------------------------ messages

    async def _on_start(self, message: Message) -> None:
        head, message = read_response(message)
        if head is None and self.conditional:
            self.refuse(Refusal.NOT_VALIDATED)  # raises: it might be a 304 that nobody asked for
        if head is not None and await self._is_answered(head):
            return
        self._start = message
        outcome = self.refusal or judged(self._admission, head, message)
        if isinstance(outcome, Refusal):
            await self._on_refusal(outcome, head)
            if outcome is Refusal.TOO_LARGE and head is not None and head.status in ANSWERS:
                self.hidden = False  # everybody's answer, only too large to keep
            self.refuse(outcome)
        else:
            self._stored, self._head = outcome, head or self._head
            self.filling.announce(outcome)
        if self._reply.early:
            await self._reply.pass_early()
        if self._stored is not None and may_tag(self._stored, self._head, self.cache.settings):
            self._start = with_lines(message, ())  # the app may change its own meanwhile
            self.phase = Phase.HELD
        else:
            await self._pass_start()

    async def _on_body(self, message: Message) -> None:
        last, held = not message.get("more_body", False), self.phase is Phase.HELD
        whole: StoredResponse | Refusal | None = None
        if self._stored is not None:
            body = message.get("body", b"")
            whole = self.filling.take(self._stored, self._head, body, last=last, tagged=held)
        if isinstance(whole, Refusal):
            await self._on_refusal(whole, self._head)
            self.drop(whole)
            whole = None
        if whole is None:
            if self.phase is Phase.HELD:
                await self._pass_start()
            if last:
                self.phase = Phase.ENDED
            if self.filling.flight is None or self._stored is None:
                await self._reply.send(message)
            else:
                # A client that is slow, or gone, must not hold up the others.
                await self._reply.later(message)
            return
        self._stored = self.filling.complete(whole)
        self.phase = Phase.ENDED if last else Phase.WHOLE
        try:
            if held:
                await self._pass_start()
            await self._reply.send(message)
        finally:
            # Also where the client has gone, or the app is cancelled because it has: the response
            # is whole. Servers say "disconnect" when a response ends, and some apps then stop.
            await self.cache.shielded(self._keep())

    async def _on_other(self, message: Message) -> None:
        """A message that ends any storing: pathsend, trailers, push, or one out of order."""
        self.refuse(Refusal.EXTENSION)
        if self.phase is Phase.HELD:
            await self._pass_start()
        await self.filling.take_back()
        await self._reply.send(message)

    async def _keep(self, before: StoredResponse | None = None) -> None:
        refusal = await self.filling.keep(before)
        if refusal is not None:
            self.refuse(refusal)

    async def stand_in(self, status: int | None) -> bool:
        """Answer a failure of the app from what is stored; ``False``: there is nothing."""
        return False

    async def _is_answered(self, head: ResponseHead) -> bool:
        """Whether the client has its answer from what is stored instead of *head*."""
        return False

    async def _on_refusal(self, refusal: Refusal, head: ResponseHead | None) -> None:
        """The app's response is not for the cache."""

    @property
    def has_kept(self) -> bool:
        """Whether this fill's response is stored."""
        return self.filling.kept is not None

    async def see(self, message: Message) -> None:
        """What ``receive`` gives the app: content, which is not part of the key, or the end.

        While others wait for this fill, the app need not know that its own client is gone.
        """
        kind = message.get("type")
        if kind == "http.request" and message.get("body"):
            self.drop(Refusal.REQUEST_BODY)
        elif kind == "http.disconnect":
            await self.filling.served()
            self.disconnected = True

    def cancelled(self) -> None:
        """The server has ended the run."""
        self.disconnected = True
        self._reply.abandon()

    def refuse(self, refusal: Refusal) -> None:
        """Say that nothing will be stored; the first reason counts.

        Raises :class:`AbandonedRun` where the request runs a second time.
        """
        self.drop(refusal)
        if self.is_refused:
            raise AbandonedRun("the answer of this run is not used")

    def drop(self, refusal: Refusal) -> None:
        """As :meth:`refuse`, said from elsewhere than the run itself: raises nothing."""
        unseen = self.hidden or refusal is Refusal.NOT_VALIDATED
        second = (unseen and self.phase is Phase.AWAITED) or self.is_background
        if self.refusal is None:
            self.refusal = refusal
            if not second:  # else the second run counts it
                self.cache.metrics.refusals[refusal.index] += 1
            self.filling.refuse(refusal)
        if self._stored is not None and self.phase not in (Phase.WHOLE, Phase.ENDED):
            self.filling.release()
            self._stored = None
        if second:
            self.abandon()

    def abandon(self) -> None:
        """End this run: nothing of it has been sent, and nothing will be."""
        if not self.is_refused:
            self.is_refused = True
            if self._refused is not None:
                self._refused.set_result(None)

    @property
    def refused(self) -> asyncio.Future[None]:
        """Done when :attr:`is_refused`."""
        if self._refused is None:
            self._refused = asyncio.get_running_loop().create_future()
            if self.is_refused:
                self._refused.set_result(None)
        return self._refused

    async def finish(self) -> None:
        """After the app has returned or raised: what is not complete will never be.

        A response of the length promised counts without its final message only where the client
        was said to be gone: some servers say so when that length is reached, and some apps then
        end without another word.
        """
        await self._reply.drained()
        if self.phase in (Phase.ENDED, Phase.ANSWERED):
            return
        if self.phase is Phase.WHOLE and self.disconnected:
            return
        flight = self.filling.flight
        if flight is not None and (self.disconnected or self.phase is Phase.AWAITED):
            flight.leave()  # nothing is known of the response but that it is not this one
        self.drop(Refusal.INCOMPLETE)
        await self.filling.take_back()

    async def flush(self) -> None:
        """Send a start that is still held: the app returned without a body."""
        if self.phase is Phase.HELD:
            self.drop(Refusal.INCOMPLETE)
            await self._pass_start()

    async def _pass_start(self) -> None:
        if self.phase in (Phase.AWAITED, Phase.HELD):
            self.phase = Phase.STARTED
        refusal, stored = self.refusal, self._stored
        if refusal is None and not self._available:
            refusal = Refusal.STORE_UNAVAILABLE
            self.cache.metrics.refusals[refusal.index] += 1
        try:
            await self._reply.pass_start(self._start, self._head, stored, refusal)
        except OSError:
            # The client is gone; those who wait are not.
            if stored is None or not self.filling.has_followers:
                raise


def judged(
    admission: Admission, head: ResponseHead | None, message: Message
) -> StoredResponse | Refusal:
    """What *admission* says of *head*, that of *message*; ``None``: it is malformed."""
    if head is None:
        return Refusal.MALFORMED
    return Refusal.EXTENSION if message.get("trailers") else admission.judge(head)
