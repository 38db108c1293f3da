"""A fill where something is stored already: it may be freshened, stand in, or have to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_cache.capture import Capture
from asgi_cache.phases import Phase
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.emission import STOOD_IN, forwarded
from asgi_cache.policy.validation import (
    ERROR_STATUSES,
    GONE_STATUSES,
    freshened,
    usable_on_error,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line, ResponseHead, StoredResponse


class Validation(Capture):
    """A :class:`Capture` with *before*, what is stored and may answer this client."""

    def __init__(self, before: StoredResponse, *fill: Any, hidden: bool, conditional: bool) -> None:
        super().__init__(*fill, hidden=hidden, conditional=conditional)
        self._before = before

    async def _is_answered(self, head: ResponseHead) -> bool:
        if head.status == 304 and self.conditional:
            await self._on_not_modified(head)
            return True
        if head.status not in ERROR_STATUSES:
            return False
        if self._decision is None:
            # Nobody waits for the error, and it takes no page's place.
            self.phase = Phase.ANSWERED
            return True
        return await self.stand_in(head.status)

    async def _on_not_modified(self, head: ResponseHead) -> None:
        """What is stored still holds: freshen it (RFC 9111 §4.3.4) and answer from it."""
        cache, before = self.cache, self._before
        merged = freshened(before, head, cache.now())
        if merged is None:
            await self.filling.discard(before)  # else it would be asked about for ever
            self.refuse(Refusal.NOT_VALIDATED)
            return
        outcome = self.refusal or self._admission.judge_again(head, merged, before)
        if isinstance(outcome, Refusal):
            await self._on_refusal(outcome, head)
            self.refuse(outcome)
            stored = self._admission.shown(merged, before)
        else:
            # Stored before it is served: something newer may have been stored meanwhile, and
            # those who wait must not wait for this client.
            self.phase = Phase.ANSWERED
            stored = self.filling.stamped(outcome)
            if stored.fresh_until > cache.now() or self._has_changed(stored):
                self.filling.kept = stored
                await cache.shielded(self._keep(before))
        self.phase = Phase.ANSWERED
        decision = self._decision or Decision.STALE
        told = forwarded(
            decision, self.refusal, self.has_kept, status=304, collapsed=self.collapsed
        )
        unstored = cache.settings.plan.unstored_fields
        extra = [line for line in head.lines if line[0] in unstored]
        await self._reply.serve(stored, decision, told, extra)

    async def stand_in(self, status: int | None) -> bool:
        """Answer a failure of the app from what is stored, where that may be (RFC 5861 §4).

        *status*: what the app answered, ``None`` where it raised.
        """
        before = self._before
        if not usable_on_error(before, self.cache.now()):
            return False
        self.phase = Phase.ANSWERED
        decision = self._decision or Decision.STALE
        told = forwarded(decision, None, False, status=status, collapsed=self.collapsed)
        told += STOOD_IN
        if self.filling.flight is not None:
            self.filling.flight.stand_in()
        await self._reply.serve(before, Decision.STALE_ON_ERROR, told)
        return True

    def _has_changed(self, stored: StoredResponse) -> bool:
        """Whether *stored*, which has to be validated each time, is worth writing again."""
        before, settings = self._before, self.cache.settings
        return (
            stored.stamps != before.stamps
            or _undated(stored) != _undated(before)
            or before.discard_at - self.cache.now() < settings.keep / 2
        )

    async def _on_refusal(self, refusal: Refusal, head: ResponseHead | None) -> None:
        """Take out what is stored once it is replaced, gone, or the like is not for everybody."""
        if self.refusal is not None or head is None or self._admission.personal:
            return
        replaced = 200 <= head.status <= 299 or head.status in GONE_STATUSES
        if replaced or refusal.noted:
            await self.filling.discard(self._before)


def _undated(stored: StoredResponse) -> list[Line]:
    """The lines but Date, in an order that a 304 does not change."""
    return sorted((line for line in stored.lines if line[0] != b"date"), key=lambda line: line[0])
