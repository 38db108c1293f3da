"""Cases C06, X06 and their neighbours: what is cut off leaves nothing short, mixed or late."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import RedisStore
from tests.driver import BODY, START, Connection, http_scope
from tests.security.harness import SHARED, Origin, Reply

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tests.security.harness import Lines, Place, Site

ANN: Lines = [("cookie", "user=ann")]
RULED: dict[str, Any] = {"paths": {"/{rest:path}": 60}}
PIECES = 4


class Broken(Exception):  # noqa: N818 - what the app raises
    """What the app raises."""


class Halting:
    """An app of four pieces that stops after some of them, in one way or another."""

    def __init__(self, how: str, pieces: int, *, length: bool, lines: Lines) -> None:
        self.how = how
        self.pieces = pieces
        self.length = length
        self.lines = [(str(name).encode(), str(value).encode()) for name, value in lines]
        self.calls = 0
        self.stopped = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        call = self.calls
        size = [(b"content-length", b"%d" % (PIECES * 8))] if self.length else []
        await send({"type": START, "status": 200, "headers": [*self.lines, *size]})
        for piece in range(PIECES):
            if call == 1 and piece == self.pieces:
                if self.how == "raises":
                    raise Broken
                if self.how == "returns":
                    return
                if self.how == "cancelled":
                    self.stopped.set()
                    await asyncio.Event().wait()
            body = b"call %03d" % call
            await send({"type": BODY, "body": body, "more_body": piece < PIECES - 1})


@pytest.mark.parametrize("user", [(), ANN], ids=["", "user"])
@pytest.mark.parametrize("ruled", [False, True], ids=["", "ruled"])
@pytest.mark.parametrize("length", [False, True], ids=["", "length"])
@pytest.mark.parametrize("pieces", range(PIECES))
@pytest.mark.parametrize("how", ["raises", "returns", "cancelled"])
async def test_c06_a_fill_that_breaks_off_is_not_stored(
    place: Place, how: str, pieces: int, length: bool, ruled: bool, user: Lines
) -> None:
    app = Halting(how, pieces, length=length, lines=[] if ruled else SHARED)
    site = place.site(app, **(RULED if ruled else {}))
    connection = Connection(http_scope(headers=user))
    if how != "cancelled" and not pieces and length and ruled and user:
        # Nothing of the anonymous run had been sent yet: so the request runs as it came.
        assert (await connection.run(site.app)).body == b"call 002" * PIECES
        assert (await site.ask(headers=user)).body == b"call 003" * PIECES
        return
    if how == "raises":
        with pytest.raises(Broken):
            await connection.run(site.app)
    elif how == "returns":
        await connection.run(site.app)
        assert not connection.exchange.complete
    else:
        running = asyncio.create_task(connection.run(site.app))
        await app.stopped.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert connection.exchange.body == b"call 001" * pieces
    for _ in range(2):
        exchange = await site.ask(headers=user)
        assert exchange.body == b"call 002" * PIECES
        assert exchange.field("content-length") in (None, str(PIECES * 8))
    assert app.calls == 2
    assert site.cache.filling_bytes == 0


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("ruled", [False, True], ids=["", "ruled"])
@pytest.mark.parametrize("after", range(PIECES + 2))
async def test_c06_a_client_that_goes_leaves_nothing_short(
    place: Place, after: int, ruled: bool, spec_version: str
) -> None:
    app = Halting("goes on", 0, length=False, lines=[] if ruled else SHARED)
    site = place.site(app, **(RULED if ruled else {}))
    connection = Connection(http_scope(spec_version=spec_version))

    def count(_: Message) -> None:
        if len(connection.exchange.messages) == after:
            connection.disconnect()

    connection.on_send = count
    if after == 0:
        connection.disconnect()
    try:
        await connection.run(site.app)
    except OSError:
        assert spec_version == "2.4"
    exchange = await site.ask()
    assert exchange.body == b"call %03d" % app.calls * PIECES
    assert (await site.ask()).body == exchange.body
    assert app.calls <= 2


@pytest.mark.parametrize("declared", [b"0", b"31", b"33", b"-1", b"32, 32", b"x", b""])
@pytest.mark.parametrize("ruled", [False, True], ids=["", "ruled"])
async def test_c06_a_length_that_does_not_fit_is_not_stored(
    place: Place, declared: bytes, ruled: bool
) -> None:
    lines: Lines = [*([] if ruled else SHARED), ("content-length", declared)]
    site = place.site(
        Origin(Reply(lines, body=b"x" * 32, length=False)), **(RULED if ruled else {})
    )
    assert not await site.stores()


async def cancelled_at(site: Site, turns: int, target: str) -> None:
    """One request, cancelled after some turns of the event loop."""
    running = asyncio.create_task(site.ask(target))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


async def test_x06_a_cancelled_request_leaves_no_reply_behind(place: Place) -> None:
    """A reply that comes late is nobody's: the next request reads its own."""
    site = place.site(Origin(Reply([*SHARED, ("cache-groups", '"g"')])))
    draw = random.Random(6)
    for turns in range(60):
        await asyncio.gather(
            *(cancelled_at(site, draw.randrange(turns + 1), f"/{n}") for n in range(4)),
            *(cancelled_at(site, turns, f"/{turns}-{n}") for n in range(4)),
        )
        for target in ("/1", "/2", f"/{turns}-1", f"/{turns}-3"):
            assert (await site.told(target)).path == target
            assert (await site.told(target)).path == target
        if turns % 10 == 0:
            await site.cache.purge(group="g")
    assert site.cache.filling_bytes == 0
    # Nor was a reply taken for another command's, found out and thrown away.
    assert site.cache.metrics.store_failures == 0
    for store in place.stores:
        assert isinstance(store, RedisStore)
        assert store.corrupt_records == 0
