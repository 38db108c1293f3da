"""The built-in load generator: ``python -m benchmarks.generator``, a process of its own.

Closed loop, as wrk's: each connection sends a request, waits for the response, sends the next.
A plain asyncio protocol, since an HTTP client would cost more than the servers it measures. It
reads a :class:`Job` as JSON from stdin and writes what it saw as JSON to stdout.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_AGE: Final = re.compile(rb"\r\ncache-control:[^\r]*\bmax-age=(\d+)", re.IGNORECASE)
_HIT: Final = re.compile(rb"\r\ncache-status:[^\r]*; hit", re.IGNORECASE)

SECONDS_TO_ANSWER: Final = 30.0
"""For how long after its end a load waits for the last responses; those missing are errors."""


@dataclass(frozen=True)
class Job:
    """What to do."""

    host: str
    port: int
    seconds: float
    connections: int
    requests: Sequence[str]
    """Whole requests as text, sent in turn: connection *n* begins at the *n*-th share."""
    visit: int = 0
    """Where not 0, each connection is a client with a cache of its own that obeys ``max-age``;
    after so many requests the next client, whose cache is empty, takes its place."""


@dataclass
class Seen:
    """What happened."""

    requests: int = 0
    """Responses, and answers from a caching client's own cache."""
    own: int = 0
    """Of these, answers from the clients' own caches."""
    hits: int = 0
    """Responses whose Cache-Status says ``hit``."""
    errors: int = 0
    """Statuses other than 2xx and 3xx, and broken connections."""
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Milliseconds."""


class Client(asyncio.Protocol):
    """One connection, from its first request to the end of the job."""

    def __init__(
        self, job: Job, requests: Sequence[bytes], number: int, seen: Seen, until: float
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._job = job
        self._seen = seen
        self._until = until
        self._requests = requests
        self._position = self._first = number * len(self._requests) // job.connections
        self._kept: dict[bytes, float] = {}
        self._received = bytearray()
        self._request = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        """Send the next request that this client cannot answer itself, or end."""
        assert self._transport is not None
        seen, job = self._seen, self._job
        while (now := time.perf_counter()) < self._until:
            request = self._requests[self._position % len(self._requests)]
            self._position += 1
            if job.visit and (self._position - self._first) % job.visit == 0:
                self._kept.clear()
            if self._kept.get(request, 0.0) <= now:
                self._request, self._sent_at = request, now
                self._transport.write(request)
                return
            seen.own += 1
            seen.requests += 1
            seen.latencies.append((time.perf_counter() - now) * 1000)
        self._end()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = bytes(received[:end])
        length = _LENGTH.search(head)
        if length is None:
            self._seen.errors += 1
            self._end()
        elif len(received) >= end + int(length[1]):
            received.clear()
            self._count(head)
            self._send()

    def _count(self, head: bytes) -> None:
        seen = self._seen
        seen.requests += 1
        seen.latencies.append((time.perf_counter() - self._sent_at) * 1000)
        seen.hits += _HIT.search(head) is not None
        seen.errors += head[9:10] not in (b"2", b"3")
        if self._job.visit and (age := _MAX_AGE.search(head)):
            self._kept[self._request] = self._sent_at + int(age[1])

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self._seen.errors += 1
            self._end()

    def _end(self) -> None:
        assert self._transport is not None
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.close()


def _same(client: Client) -> Client:
    return client


async def run(job: Job) -> Seen:
    """Do *job*."""
    seen = Seen()
    # Before the clock starts: where each URL is new there are tens of thousands.
    requests = [text.encode() for text in job.requests]
    started = time.perf_counter()
    until = started + job.seconds
    loop = asyncio.get_running_loop()
    clients = [Client(job, requests, number, seen, until) for number in range(job.connections)]
    for client in clients:
        await loop.create_connection(functools.partial(_same, client), job.host, job.port)
    _, unanswered = await asyncio.wait(
        [client.ended for client in clients], timeout=job.seconds + SECONDS_TO_ANSWER
    )
    seen.errors += len(unanswered)
    seen.seconds = time.perf_counter() - started
    return seen


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which *share* of the sorted values lie (nearest rank); 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def summary(seen: Seen) -> dict[str, Any]:
    """What goes to stdout."""
    ordered = sorted(seen.latencies)
    return {
        "requests": seen.requests,
        "own": seen.own,
        "hits": seen.hits,
        "errors": seen.errors,
        "seconds": seen.seconds,
        "p50_ms": quantile(ordered, 0.50),
        "p99_ms": quantile(ordered, 0.99),
    }


def main() -> None:
    import uvloop

    job = Job(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(summary(runner.run(run(job)))))


if __name__ == "__main__":
    main()
