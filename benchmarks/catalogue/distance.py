"""A Redis some way off: a process that forwards to a near one and adds a delay.

The delay is artificial; it stands for the network between two machines, which a loopback lacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Final
from urllib.parse import urlsplit

import uvloop

from benchmarks.catalogue.serving import end_with_parent

DELAY: Final = 0.001
"""Seconds added on the way to Redis; what comes back is passed on at once."""


def serve_distance(url: str) -> None:
    """Forward a free loopback port, told on stdout, to the Redis at *url*."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    uvloop.run(_serve(urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 6379))


async def _serve(host: str, port: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(OSError):
            await asyncio.gather(_pump(reader, far_writer, DELAY), _pump(far_reader, writer, 0.0))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    while read := await reader.read(1 << 16):
        if delay:
            loop.call_later(delay, writer.write, read)
        else:
            writer.write(read)
    writer.close()
