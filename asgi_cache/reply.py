"""What the client gets of a fill: the app's messages, with our lines in the start.

What must not be here: what is stored (``capture``), and why not (``admission``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from asgi_cache.messages import BODY, START, with_lines
from asgi_cache.policy.emission import forward_status, growing_cache_control
from asgi_cache.policy.validation import is_not_modified, not_modified_lines
from asgi_cache.serving import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Send

    from asgi_cache.cache import Cache
    from asgi_cache.model import Line, ResponseHead, StoredResponse
    from asgi_cache.policy.decision import Decision, Refusal
    from asgi_cache.policy.reuse import Screened

OWN_FIELDS = (b"cache-control", b"etag", b"vary")
"""What ``policy.emission`` may add to a response of the app."""


class Pump:
    """Messages on their way to a client that may be slow: the app need not wait for it."""

    __slots__ = ("_queue", "_send", "_task", "error")

    def __init__(self, send: Send) -> None:
        self.error: Exception | None = None
        """What ``send`` raised; nothing was sent after it."""
        self._send = send
        self._queue: deque[Message] = deque()
        self._task: asyncio.Task[None] | None = None

    async def put(self, message: Message) -> None:
        """Send *message* after those before it, without waiting until it is out."""
        self._queue.append(message)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)  # an app that never waits must not keep it from its client

    async def drained(self) -> None:
        """Wait until all is out; whoever is cancelled here ends the sending."""
        if self._task is not None and not self._task.done():
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                self._task.cancel()
                raise

    def abandon(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._queue and self.error is None:
                await self._send(self._queue.popleft())
        except Exception as error:
            self.error = error
            self._queue.clear()


class Reply:
    """One fill's way to its client; *decision* ``None``: there is no client."""

    __slots__ = (
        "_answered",
        "_cache",
        "_collapsed",
        "_condition_hidden",
        "_decision",
        "_pump",
        "_screened",
        "_send",
        "early",
    )

    def __init__(
        self,
        cache: Cache,
        send: Send,
        screened: Screened,
        decision: Decision | None,
        *,
        condition_hidden: bool,
        collapsed: bool | None,
    ) -> None:
        self.early: list[Message] = []
        """Informational messages that wait for the start."""
        self._cache = cache
        self._collapsed = collapsed
        self._send = send
        self._screened = screened
        self._decision = decision
        self._condition_hidden = condition_hidden and screened.shape.conditional
        self._pump: Pump | None = None
        self._answered = False
        """The client has its 304; what the app still sends is for the store alone."""

    async def send(self, message: Message) -> None:
        """Pass on a message of the app other than its start."""
        if self._pump is not None:
            await self._pump.drained()
            if self._pump.error is not None:
                raise self._pump.error
        if not self._answered:
            await self._send(message)

    async def later(self, message: Message) -> None:
        """As :meth:`send`, without waiting for the client, and whether or not it is still there."""
        if self._answered:
            return
        if self._pump is None:
            self._pump = Pump(self._send)
        await self._pump.put(message)

    def abandon(self) -> None:
        """Send nothing more."""
        if self._pump is not None:
            self._pump.abandon()

    async def drained(self) -> None:
        """Wait until what was to be sent later is out, or its client is gone."""
        if self._pump is not None:
            await self._pump.drained()

    async def pass_early(self) -> None:
        """Pass on what waited for the start."""
        early, self.early = self.early, []
        for message in early:
            await self._send(message)

    async def pass_start(
        self,
        message: Message,
        head: ResponseHead,
        stored: StoredResponse | None,
        refusal: Refusal | None,
    ) -> None:
        """The app's start with our lines, or the 304 that a condition it did not see gets."""
        if stored is None:
            await self._send(self._told(message, (), refusal))
            return
        now = self._cache.now()
        lines = [line for line in stored.lines if line[0] in OWN_FIELDS and line not in head.lines]
        if stored.browser_ttl is not None:
            age = max(0.0, now - stored.generated_at)
            lines.append(growing_cache_control(stored.browser_ttl, age))
        if self._condition_hidden and is_not_modified(self._screened.request, stored, now):
            self._answered = True
            start = self._told({"headers": [*head.lines, *lines]}, (), refusal)
            kept = not_modified_lines(tuple(start["headers"]))
            await self._send({"type": START, "status": 304, "headers": kept})
            await self._send({"type": BODY, "body": b""})
            return
        await self._send(self._told(message, lines, refusal))

    async def serve(
        self,
        stored: StoredResponse,
        decision: Decision,
        told: bytes,
        extra: Sequence[Line] = (),
    ) -> None:
        """Answer from *stored* in the app's stead, or after its 304; *told* as for ``serve``."""
        self._answered = True
        if self._decision is None:
            return
        self._cache.metrics.decisions[decision.index] += 1
        await serve(self._cache, self._screened, stored, told, self._send, extra)

    def _told(
        self,
        message: Message,
        lines: Sequence[Line],
        refusal: Refusal | None,
    ) -> Message:
        """*message* with our lines and the Cache-Status of this fill."""
        return told(self._cache, message, self._decision, refusal, lines, self._collapsed)


def told(
    cache: Cache,
    message: Message,
    decision: Decision | None,
    refusal: Refusal | None,
    lines: Sequence[Line] = (),
    collapsed: bool | None = None,
) -> Message:
    """The start *message* of a fill with *lines* and its Cache-Status; it is counted."""
    if decision is not None:
        cache.metrics.decisions[decision.index] += 1
        if cache.status_name is not None:
            stored = refusal is None
            line = forward_status(cache.status_name, decision, refusal, stored, collapsed=collapsed)
            lines = lines if line is None else [*lines, line]
    listed = isinstance(message.get("headers", ()), list | tuple)
    return with_lines(message, lines) if listed else message
