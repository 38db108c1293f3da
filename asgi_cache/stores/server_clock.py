"""The clock of a server, as far as its replies to TIME tell it.

All workers of one store go by its clock, so that one whose own is wrong does no harm.

What must not be here: connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from asgi_cache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_cache.stores.resp import Command

MOST_BETWEEN: Final = 0.5
"""Seconds of the server's clock between two commands of one piece: it may be suspended for long,

but then the connection is made anew."""


class ServerClock:
    """By how much a server's clock is ahead of *here*, which gives seconds since the epoch."""

    def __init__(self, here: Callable[[], float]) -> None:
        self.here = here
        self.offset = 0.0
        """Seconds that the server's clock is ahead, where :attr:`is_known`."""
        self.is_known = False

    def asking(self) -> Asking:
        """What asks for the time; to be said first on each new connection."""
        return Asking(self)

    def observe(self, sent_at: float, replies: Sequence[Any]) -> None:
        """Learn from the *replies* to two TIMEs sent at *sent_at*, just come.

        A StoreError where they contradict each other: nothing else shows a time that was garbled
        on its way, and one that is too early by a little would keep alive what has ended.
        """
        if any(isinstance(reply, ResponseError) for reply in replies):
            return  # not permitted: then clocks have to agree
        server, again = [int(seconds) + int(micros) / 1e6 for seconds, micros in replies]
        if not server <= again <= server + MOST_BETWEEN:
            raise StoreError(f"the server says that it is {server:f} and then {again:f}")
        least, most = server - self.here(), server - sent_at
        # One that may still be right stays, so that a slow exchange does not blur it.
        if not (self.is_known and least <= self.offset <= most):
            self.offset = (least + most) / 2
        self.is_known = True


class Asking:
    """Asks for the server's time, as a part of a batch (see ``joining``)."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock
        self._sent_at = 0.0

    def commands(self) -> Sequence[Command]:
        """The same twice."""
        self._sent_at = self._clock.here()
        return [(b"TIME",), (b"TIME",)]

    def done(self, replies: list[Any]) -> None:
        """Learn from its replies."""
        self._clock.observe(self._sent_at, replies)

    def failed(self, error: Exception) -> None:
        """The next connection asks again."""
