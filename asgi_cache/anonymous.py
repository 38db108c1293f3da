"""The two runs of a fill whose app did not see the request as it came (design: decision 3).

The first run's answer may turn out not to be one for everybody, or a 304 about something else
than what is stored. Nothing of it has been sent then: the run ends as if its client had gone, and
the request runs a second time as it came, with all that ``receive`` had given to the first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asgi_cache.phases import Phase

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive

    from asgi_cache.capture import Capture

GRACE_SECONDS: Final = 1.0
"""How long an abandoned run may take to end before it is cancelled."""


class Replay:
    """``receive`` for two runs, one after the other: the second gets what the first was given."""

    def __init__(self, receive: Receive, capture: Capture) -> None:
        self._receive = receive
        self._capture = capture
        self._seen: list[Message] = []
        self._pending: asyncio.Future[Message] | None = None

    async def first(self) -> Message:
        """For the first run; a disconnect once it is abandoned."""
        refused = self._capture.refused
        while not refused.done():
            pending = self._wait_for_next()
            awaited: set[asyncio.Future[Any]] = {pending, refused}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                break
            if pending is self._pending:
                self._pending = None
                message = pending.result()
                self._seen.append(message)
                await self._capture.see(message)
                if not refused.done():
                    return message
        return {"type": "http.disconnect"}

    async def watched(self) -> Message:
        """For a run that is the only one."""
        message = await self._receive()
        await self._capture.see(message)
        return message

    async def second(self) -> Message:
        """For the second run: first what was seen, then what comes."""
        if self._seen:
            return self._seen.pop(0)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            return await pending
        return await self._receive()

    def close(self) -> None:
        """Leave nothing waiting for a message that nobody wants."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending.add_done_callback(drop_outcome)

    def _wait_for_next(self) -> asyncio.Future[Message]:
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._receive())
        return self._pending


async def run_here(
    app: ASGIApp, scope: MutableMapping[str, Any], replay: Replay, capture: Capture
) -> bool:
    """The first run where nothing was hidden: as without us, in the server's own task.

    ``True`` where its answer went out, or something stale stood in; ``False`` where a second run
    is due, as the app has answered a condition that the client did not send.
    """
    try:
        # Whoever has nothing to replay gets the messages without a detour.
        receive = replay.first if capture.conditional else replay.watched
        await app(scope, receive, capture.send)
    except Exception as error:
        if capture.is_refused or capture.was_cut:
            return not capture.is_refused
        if not await stands_in(capture, error):
            raise
    if capture.is_refused:
        return False
    if capture.phase is Phase.HELD:
        await capture.flush()
    return True


async def run_apart(
    app: ASGIApp, scope: MutableMapping[str, Any], replay: Replay, capture: Capture
) -> bool:
    """The first run in a task of its own, which can be ended; else as :func:`run_here`.

    What the app raises after its response has begun leaves unchanged. Before, something stale may
    stand in; where something was hidden, it is what a request without credentials met, and the
    second run will show what this one meets.
    """
    run = asyncio.ensure_future(app(scope, replay.first, capture.send))
    try:
        await asyncio.wait({run, capture.refused}, return_when=asyncio.FIRST_COMPLETED)
        if capture.is_refused:
            await asyncio.wait({run}, timeout=GRACE_SECONDS)
    except asyncio.CancelledError:
        # As without us: the app has cleaned up before its caller goes on.
        run.cancel()
        await asyncio.wait({run}, timeout=GRACE_SECONDS)
        raise
    finally:
        if not run.done():
            capture.abandon()
            run.cancel()
        run.add_done_callback(drop_outcome)
    if capture.is_refused:
        return False
    if capture.was_cut:
        return True
    error = None if run.cancelled() else run.exception()
    if isinstance(error, Exception) and await stands_in(capture, error):
        return True
    if capture.hidden and capture.phase in (Phase.AWAITED, Phase.HELD):
        capture.abandon()
        return False
    await run
    await capture.flush()
    return True


async def stands_in(capture: Capture, error: Exception) -> bool:
    """Whether something stale has answered in the stead of an app that raised *error*.

    Not where the client is gone: the app may just have stopped.
    """
    if capture.phase is not Phase.AWAITED or capture.disconnected:
        return False
    try:
        if not await capture.stand_in(None):
            return False
    except OSError:  # nobody was there to have it
        raise error from None
    capture.cache.log("the app", error)
    return True


def drop_outcome(run: asyncio.Future[Any]) -> None:
    """See what an abandoned run ended with, so that nothing reports it as never looked at."""
    if not run.cancelled():
        run.exception()
