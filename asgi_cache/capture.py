"""The responder of one fill: stands in for ``send``, passes on what the app sends, keeps a copy.

Chunks go to the client as they come. The copy is bounded, and dropped as soon as it is clear that
it will not be stored. Where the fill is anonymous and hid something, nothing has reached the
client before the response is known to be one that it may have; else :attr:`refused` is set and
the driver runs the request a second time.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from asgi_cache.admission import Admission, completed, may_tag
from asgi_cache.messages import BODY, START, read_response, with_lines
from asgi_cache.model import ResponseHead
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.emission import forward_status, growing_cache_control
from asgi_cache.policy.storing import ANSWERS, is_malformed_length
from asgi_cache.policy.validation import is_not_modified, not_modified_lines

if TYPE_CHECKING:
    from starlette.types import Message, Send

    from asgi_cache.cache import Cache
    from asgi_cache.model import Line, StoredResponse
    from asgi_cache.policy.decision import Decision
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store

INFORMATIONAL: Final = frozenset({"http.response.early_hint", "http.response.debug"})


class Phase(Enum):
    """How far the app's response has come."""

    AWAITED = "awaited"
    HELD = "held"
    """Its start waits for the body, which decides the entity tag."""
    STARTED = "started"
    ENDED = "ended"


class AbandonedRun(OSError):  # noqa: N818 - no error of anybody's
    """What ``send`` raises in a run whose answer nobody will see: as after a disconnect."""


class Capture:
    """One fill's ``send``, and what becomes of its response."""

    def __init__(
        self,
        cache: Cache,
        store: Store,
        send: Send,
        screened: Screened,
        selection: Selection,
        folded: Folded,
        decision: Decision,
        *,
        hidden: bool,
    ) -> None:
        self.cache = cache
        self.refusal: Refusal | None = None
        """Why nothing is stored; ``None`` as long as it may be."""
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a second run is due; only a fill that hid something comes to that."""
        self.phase = Phase.AWAITED
        self._hidden = hidden
        self._store = store
        self._send = send
        self._screened = screened
        self._selection = selection
        self._decision = decision
        self._admission = Admission(cache, screened, selection, folded, hidden=hidden)
        self._early: list[Message] = []
        self._start: Message = {}
        self._head = ResponseHead(0, ())
        self._stored: StoredResponse | None = None
        self._kept: StoredResponse | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._answered = False
        """The client has its 304; what the app still sends is for the store alone."""

    async def send(self, message: Message) -> None:
        """What the app gets as ``send``."""
        if self.refused.done():
            raise AbandonedRun("the answer of this run is not used")
        kind = message.get("type")
        if kind == START and self.phase is Phase.AWAITED:
            await self._on_start(message)
        elif kind == BODY and self.phase in (Phase.STARTED, Phase.HELD):
            await self._on_body(message)
        elif kind in INFORMATIONAL and self.phase is not Phase.ENDED:
            if self.phase is Phase.AWAITED and self._hidden:
                self._early.append(message)
                return
            if self.phase is Phase.HELD:
                await self._pass_start()
            await self._pass_body(message)
        else:
            await self._on_other(message)

    # ------------------------------------------------------------------ messages

    async def _on_start(self, message: Message) -> None:
        head, message = read_response(message)
        self._start = message
        outcome = self._judge(head, message)
        if isinstance(outcome, Refusal):
            if outcome is Refusal.TOO_LARGE and head is not None and head.status in ANSWERS:
                self._hidden = False  # everybody's answer, only too large to keep
            self.refuse(outcome)
        else:
            self._stored, self._head = outcome, head or self._head
        await self._pass_early()
        if self._stored is not None and may_tag(self._stored, self._head, self.cache.settings):
            self._start = with_lines(message, ())  # the app may change its own meanwhile
            self.phase = Phase.HELD
        else:
            await self._pass_start()

    def _judge(self, head: ResponseHead | None, message: Message) -> StoredResponse | Refusal:
        if self.refusal is not None:
            return self.refusal
        if head is None:
            return Refusal.MALFORMED
        if message.get("trailers"):
            return Refusal.EXTENSION
        return self._admission.judge(head)

    async def _on_body(self, message: Message) -> None:
        last = not message.get("more_body", False)
        if self._stored is not None:
            self._take(message.get("body", b""), last)
        if not last or self._stored is None:
            if self.phase is Phase.HELD:
                await self._pass_start()
            if last:
                self.phase = Phase.ENDED
            await self._pass_body(message)
            return
        cache, screened = self.cache, self._screened
        stored = self._kept = cache.complete(self._stored, screened, self._selection)
        held, self.phase = self.phase is Phase.HELD, Phase.ENDED
        self._chunks = []
        try:
            if held:
                await self._pass_start()
            await self._pass_body(message)
        finally:
            # Also where the client has gone, or the app is cancelled because it has: the response
            # is whole. Servers say "disconnect" when a response ends, and some apps then stop.
            await cache.shielded(self._keep(stored))

    async def _on_other(self, message: Message) -> None:
        """A message that ends any storing: pathsend, trailers, push, or one out of order."""
        self.refuse(Refusal.EXTENSION)
        if self.phase is Phase.HELD:
            await self._pass_start()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await self.cache.discard(self._screened, kept, self._store)
        if not self._answered:
            await self._send(message)

    # ------------------------------------------------------------------ the copy

    def _take(self, body: object, last: bool) -> None:
        """Add a chunk to the copy, or drop the copy; with the last one, make it complete."""
        stored, cache = self._stored, self.cache
        if stored is None:
            return
        if not isinstance(body, bytes | bytearray | memoryview):
            self.drop(Refusal.MALFORMED)
            return
        size = memoryview(body).nbytes
        if self._size + size > cache.settings.max_body_bytes:
            self.drop(Refusal.TOO_LARGE)
        elif cache.filling_bytes + size > cache.settings.fill_bytes:
            self.drop(Refusal.FILL_BYTES)
        else:
            self._size += size
            cache.filling_bytes += size
            if size:
                self._chunks.append(bytes(body))
            if last and is_malformed_length(self._head, self._size):
                self.drop(Refusal.LENGTH)
            elif last:
                whole = b"".join(self._chunks)
                self._stored = completed(stored, whole, tagged=self.phase is Phase.HELD)

    async def _keep(self, stored: StoredResponse) -> None:
        try:
            refusal = await self.cache.keep(stored, self._screened, self._selection, self._store)
        finally:
            self._release()
        if refusal is not None:
            self._kept = None
            self.refuse(refusal)

    def _release(self) -> None:
        """Give back this fill's share of ``fill_bytes``."""
        self.cache.filling_bytes -= self._size
        self._size = 0
        self._chunks = []

    def refuse(self, refusal: Refusal) -> None:
        """Say that nothing will be stored; the first reason counts.

        Before start, where something was hidden, the run ends: this raises
        :class:`AbandonedRun`.
        """
        self.drop(refusal)
        if self.refused.done():
            raise AbandonedRun("the answer of this run is not used")

    def drop(self, refusal: Refusal) -> None:
        """As :meth:`refuse`, said from elsewhere than the run itself: raises nothing."""
        second = self._hidden and self.phase is Phase.AWAITED
        if self.refusal is None:
            self.refusal = refusal
            if not second:  # else the second run counts it
                self.cache.metrics.refusals[refusal.index] += 1
            if refusal.noted:
                self.cache.note(self._screened, refusal)
        if self._stored is not None and self.phase is not Phase.ENDED:
            self._release()
            self._stored = None
        if second:
            self.abandon()

    def abandon(self) -> None:
        """End this run: nothing of it has been sent, and nothing will be."""
        if not self.refused.done():
            self.refused.set_result(None)

    def finish(self) -> None:
        """After the app has returned or raised: what is not complete will never be."""
        if self.phase is not Phase.ENDED:
            self.drop(Refusal.INCOMPLETE)

    async def flush(self) -> None:
        """Send a start that is still held: the app returned without a body."""
        if self.phase is Phase.HELD:
            self.drop(Refusal.INCOMPLETE)
            await self._pass_start()

    # ------------------------------------------------------------------ to the client

    async def _pass_early(self) -> None:
        early, self._early = self._early, []
        for message in early:
            await self._send(message)

    async def _pass_start(self) -> None:
        """The app's start with our lines, or the 304 that the client's condition gets."""
        if self.phase is not Phase.ENDED:
            self.phase = Phase.STARTED
        stored = self._stored
        if stored is None:
            await self._send(self._started(self._start, ()))
            return
        lines: list[Line] = []
        own = (b"cache-control", b"etag", b"vary")
        lines += [line for line in stored.lines if line[0] in own and line not in self._head.lines]
        if stored.browser_ttl is not None:
            age = max(0.0, self.cache.now() - stored.generated_at)
            lines.append(growing_cache_control(stored.browser_ttl, age))
        if self._answers_condition(stored):
            self._answered = True
            start = self._started({"headers": [*self._head.lines, *lines]}, ())
            kept = not_modified_lines(tuple(start["headers"]))
            await self._send({"type": START, "status": 304, "headers": kept})
            await self._send({"type": BODY, "body": b""})
            return
        await self._send(self._started(self._start, lines))

    def _answers_condition(self, stored: StoredResponse) -> bool:
        """Whether a condition that the app did not see is met (decision 3)."""
        request = self._screened.request
        return (
            self._admission.anonymous
            and self._screened.shape.conditional
            and is_not_modified(request, stored, self.cache.now())
        )

    def _started(self, message: Message, lines: list[Line] | tuple[Line, ...]) -> Message:
        """*message* with our lines and the Cache-Status of this fill."""
        self.cache.metrics.decisions[self._decision.index] += 1
        settings = self.cache.settings
        if settings.cache_status:
            name, stored = settings.plan.cache_status_name, self._stored is not None
            line = forward_status(name, self._decision, self.refusal, stored)
            lines = lines if line is None else [*lines, line]
        listed = isinstance(message.get("headers", ()), list | tuple)
        return with_lines(message, lines) if listed else message

    async def _pass_body(self, message: Message) -> None:
        if not self._answered:
            await self._send(message)
