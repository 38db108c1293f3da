"""The checker's relay: each weather does what it says, in order, and fair weather does nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.security.checker.relay import FAIR, Relay, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LINES = [b"%d\n" % number for number in range(20)]


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay to a server that says each line again."""

    writers = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Relay(server.sockets[0].getsockname()[1], "seed") as made:
        yield made
    server.close()
    for writer in writers:
        await ended(writer)


async def ended(writer: asyncio.StreamWriter) -> None:
    """Close, and wait until it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def said_again(relay: Relay, seconds: float = 5.0) -> bytes:
    """What comes of all lines within *seconds*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    came = b""
    try:
        for line in LINES:
            writer.write(line)
        async with asyncio.timeout(seconds):
            while len(came) < len(b"".join(LINES)):
                piece = await reader.read(1000)
                if not piece:
                    break
                came += piece
    except (TimeoutError, OSError):
        pass
    await ended(writer)
    return came


@pytest.mark.parametrize("weather", [FAIR, Weather(delay=0.02), Weather(trickle=True)])
async def test_what_is_only_late_comes_whole_and_in_order(relay: Relay, weather: Weather) -> None:
    relay.set(weather)
    assert await said_again(relay) == b"".join(LINES)


@pytest.mark.parametrize("weather", [Weather(flip=1.0), Weather(junk=1.0), Weather(lose=1.0)])
async def test_garbage_is_not_what_was_said(relay: Relay, weather: Weather) -> None:
    relay.set(weather)
    assert await said_again(relay, 0.2) != b"".join(LINES)


@pytest.mark.parametrize("weather", [Weather(cut=1.0), Weather(refuses=True)])
async def test_an_end_is_seen_at_once(relay: Relay, weather: Weather) -> None:
    relay.set(weather)
    async with asyncio.timeout(5):
        assert await said_again(relay, 10) == b""


async def test_what_is_swallowed_never_comes(relay: Relay) -> None:
    relay.set(Weather(swallow=1.0))
    assert await said_again(relay, 0.2) == b""


async def test_what_was_frozen_comes_when_it_is_over(relay: Relay) -> None:
    relay.set(Weather(frozen=True))
    saying = asyncio.create_task(said_again(relay))
    done, _ = await asyncio.wait({saying}, timeout=0.1)
    assert not done
    relay.set(FAIR)
    assert await saying == b"".join(LINES)


async def test_all_connections_can_be_cut(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"x\n")
    assert await reader.readline() == b"x\n"
    relay.cut_all()
    with contextlib.suppress(OSError):
        assert await reader.read() == b""
    await ended(writer)
    assert relay.connections == 1
