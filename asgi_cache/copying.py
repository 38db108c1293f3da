"""The bounded copy of one response's body, taken while the chunks go to the client.

What must not be here: messages, and anything that is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.policy.decision import Refusal

if TYPE_CHECKING:
    from asgi_cache.cache import Cache


class BodyCopy:
    """What a fill has seen of its body: at most ``max_body_bytes``, and its share of

    ``fill_bytes``, which :meth:`release` gives back.
    """

    __slots__ = ("_chunks", "_filling", "_settings", "size")

    def __init__(self, cache: Cache) -> None:
        self.size = 0
        """Bytes so far."""
        self._settings = cache.settings
        # Given back where it was taken: a forked child counts anew.
        self._filling = cache.filling
        self._chunks: list[bytes] = []

    def add(self, body: object) -> Refusal | None:
        """Add the ``body`` of a message; the reason where it cannot be kept."""
        settings, filling = self._settings, self._filling
        if not isinstance(body, bytes | bytearray | memoryview):
            return Refusal.MALFORMED
        size = memoryview(body).nbytes
        if self.size + size > settings.max_body_bytes:
            return Refusal.TOO_LARGE
        if filling.held + size > settings.fill_bytes:
            return Refusal.FILL_BYTES
        if size:
            self.size += size
            filling.held += size
            self._chunks.append(bytes(body))
        return None

    def joined(self) -> bytes:
        """The whole body, which is then the caller's; its share stays taken."""
        whole = b"".join(self._chunks)
        self._chunks = []
        return whole

    def release(self) -> None:
        """Forget the copy and give back its share."""
        self._filling.held -= self.size
        self.size = 0
        self._chunks = []
