"""What a worker's memory comes to: long and endless responses, slow readers (D03, D05, D07).

``STREAMED_BYTES`` is the length of the long response.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import time
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.figures.telling import tell
from tests.lifecycle.client import HOST, Client
from tests.lifecycle.processes import PATIENT, Worker, running

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Keys

MIB: Final = 2**20
STREAMED_BYTES: Final = int(os.environ.get("STREAMED_BYTES", "1073741824"))
FIRST_BYTES: Final = 60
"""How often the time to the first byte is measured, each time of a URL of its own."""
ROUNDS: Final = 3
"""Of these at most, where the first byte comes late."""
READERS: Final = 500
LISTENERS: Final = 50


def streamed(worker: Worker, folder: str, size: int) -> int:
    """How many bytes came of a long response."""
    request = f"GET /{folder}/stream?bytes={size} HTTP/1.1\r\nHost: {HOST}\r\n"
    buffer, received = bytearray(MIB), 0
    with closing(socket.create_connection(("127.0.0.1", worker.port), 30)) as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        while got := connection.recv_into(buffer):
            received += got
    return received


async def first_byte(client: Client, folder: str, number: int) -> float:
    """Seconds to the head of a response that is too long to be stored, and is then read."""
    began = time.perf_counter()
    await client.send(f"/{folder}/stream?bytes={2 * MIB}&number={number}")
    _, fields = await client.head()
    took = time.perf_counter() - began
    assert len(await client.body(fields)) == 2 * MIB
    return took


async def milliseconds_later(worker: Worker) -> tuple[float, float]:
    """How much later the first byte comes than of a path that is never cached, and than when.

    The medians of pairs: what else runs on the machine comes over both of one.
    """
    later, without = [], []
    async with Client(worker.port) as client:
        for number in range(-10, FIRST_BYTES):
            order = ("off", "page") if number % 2 else ("page", "off")
            took = {folder: await first_byte(client, folder, number) for folder in order}
            if number >= 0:
                later.append((took["page"] - took["off"]) * 1e3)
                without.append(took["off"] * 1e3)
    return statistics.median(later), statistics.median(without)


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_d03_a_long_response_costs_neither_memory_nor_time(
    redis_url: str, namespace: str, keys: Keys, kind: str
) -> None:
    """Beside the same response of the same app on a path that is never cached."""
    options: dict[str, Any] = {"store": redis_url if kind == "redis" else "memory://", **PATIENT}
    worker = Worker(namespace=namespace, paths={"/off/{rest:path}": False}, **options)
    size = STREAMED_BYTES if kind == "redis" else STREAMED_BYTES // 8
    with running(worker):
        peaks = {}
        for folder, bytes_ in (("off", 8 * MIB), ("off", size), ("page", size)):
            worker.forget_peak()
            before = worker.memory("VmRSS")
            assert await asyncio.to_thread(streamed, worker, folder, bytes_) > bytes_
            peaks[folder] = worker.memory("VmHWM") - before
        more = peaks["page"] - peaks["off"]
        # A machine that is too busy adds to every pair, so there are further rounds then.
        rounds = [await milliseconds_later(worker)]
        while len(rounds) < ROUNDS and min(rounds)[0] > 1:
            rounds.append(await milliseconds_later(worker))
        later, without = min(rounds)
        print(
            f"D03 {kind}: {size / MIB:.0f} MiB: {peaks['page'] / MIB:.2f} MiB more held at most, "
            f"{peaks['off'] / MIB:.2f} without; first byte {later:.2f} ms later than after "
            f"{without:.2f} ms, medians of {FIRST_BYTES} pairs"
        )
        tell("streamed", kind, mib=size / MIB, more_mib=max(0.0, more / MIB), ms_later=later)
        assert more <= 2 * MIB
        # Where all that is asked takes long, a round trip to Redis does.
        assert later <= max(1, without)
        await keys.released()
        state = await asyncio.to_thread(worker.state)
        assert state["metrics"].get("stores", 0) == 0


async def test_d05_listeners_hold_no_lease_and_no_copy(
    redis_url: str, namespace: str, keys: Keys
) -> None:
    """Fifty event streams of one URL: fifty calls of the app, each with its own."""
    worker = Worker(store=redis_url, namespace=namespace, collapse_timeout=30, **PATIENT)
    target = "/page/events?wait=body&chunks=2&length=0&more=content-type:text/event-stream"
    with running(worker):
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client(worker.port)) for _ in range(LISTENERS)
            ]
            for client in clients:
                await client.send(target)
            for client in clients:
                status, _ = await client.head()
                assert status == 200
            await asyncio.to_thread(worker.reached, LISTENERS)
            await keys.released()
            state = await asyncio.to_thread(worker.state)
            assert (state["filling"], state["calls"]) == (0, LISTENERS)
        worker.check_log()


async def test_d07_slow_readers_share_one_body(redis_url: str, namespace: str) -> None:
    """What a server holds for a client is its own; of the stored body there is one."""
    worker = Worker(store="memory://", max_body_bytes=2 * MIB, loop="uvloop")
    target = f"/page/large?bytes={MIB}"
    with running(worker):
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(worker.port))
            whole = await client.ask(target)
            assert (await client.ask(target)).is_hit
            before = worker.memory("VmRSS")
            connections = []
            for _ in range(READERS):
                own = stack.enter_context(closing(socket.socket()))
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                own.connect(("127.0.0.1", worker.port))
                own.sendall(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                connections.append(own)
            for own in connections:
                assert (await asyncio.to_thread(own.recv, 1024)).startswith(b"HTTP/1.1 200")
            grown = worker.memory("VmRSS") - before
            print(f"D07 {READERS} slow readers of 1 MiB: {grown / MIB:+.1f} MiB")
            assert (await client.ask(target)).told == whole.told
            assert grown <= 32 * MIB
