"""Requests that go to the app as they came, where something stale is stored that may stand in.

HEAD, ``Range`` and ``no-store`` lead nobody, and nothing of their answers is stored; but a failure
of their app is answered as a GET's is (RFC 5861 §4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_cache.validating import Validation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asgi_cache.model import ResponseHead, StoredResponse
    from asgi_cache.policy.decision import Refusal


class Standing(Validation):
    """Passes on what the app sends, unless that is a failure; *refusal* says why it is not stored.

    *hear* gets the head of the app's response.
    """

    def __init__(
        self,
        before: StoredResponse,
        hear: Callable[[ResponseHead], Awaitable[None]] | None,
        refusal: Refusal,
        *fill: Any,
    ) -> None:
        super().__init__(before, *fill, hidden=False, conditional=False)
        self._hear = hear
        self.drop(refusal)

    async def _is_answered(self, head: ResponseHead) -> bool:
        if self._hear is not None:
            await self._hear(head)
        return await super()._is_answered(head)
