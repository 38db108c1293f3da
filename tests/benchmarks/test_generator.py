"""The built-in load generator counts what it sends and what it sees."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from benchmarks.generator import Job, Seen, quantile, run, summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n"


class Answers:
    """A server that gives the same response to everything, and counts."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.asked: list[str] = []
        self.first: list[str] = []
        """Of each connection."""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own: list[str] = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                self.asked.append(path)
                own.append(path)
                if len(own) == 1:
                    self.first.append(path)
                writer.write(self.response)
        writer.close()


@contextlib.asynccontextmanager
async def answering(response: bytes) -> AsyncIterator[Answers]:
    answers = Answers(response)
    server = await asyncio.start_server(answers.serve, "127.0.0.1", 0)
    answers.port = server.sockets[0].getsockname()[1]
    async with server:
        yield answers


def response(*lines: str, status: str = "200 OK", body: str = "hello") -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *lines, "", ""]
    return ("\r\n".join(head) + body).encode()


async def load(answers: Answers, count: int = 4, *, visit: int = 0) -> Seen:
    requests = [REQUEST.format(n) for n in range(count)]
    return await run(Job("127.0.0.1", answers.port, 0.3, 2, requests, visit))


async def test_counts_each_response_once() -> None:
    async with answering(response()) as answers:
        seen = await load(answers)
    assert seen.requests == len(seen.latencies) == len(answers.asked) > 10
    assert (seen.errors, seen.hits, seen.own) == (0, 0, 0)
    assert seen.seconds == pytest.approx(0.3, abs=5)
    assert set(answers.asked) == {"/0", "/1", "/2", "/3"}


async def test_connections_begin_at_different_requests() -> None:
    async with answering(response()) as answers:
        await load(answers)
    assert sorted(answers.first) == ["/0", "/2"]


async def test_counts_hits() -> None:
    async with answering(response("Cache-Status: asgi-cache; hit; ttl=9")) as answers:
        seen = await load(answers)
    assert seen.hits == seen.requests > 0


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops"])
async def test_counts_errors(status: str) -> None:
    async with answering(response(status=status)) as answers:
        seen = await load(answers)
    assert seen.errors == seen.requests > 0


async def test_a_response_without_length_is_an_error() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as answers:
        seen = await load(answers)
    assert (seen.requests, seen.errors) == (0, 2)


async def test_a_caching_client_asks_once_and_its_successor_again() -> None:
    async with answering(response("cache-control: public, max-age=60")) as answers:
        seen = await load(answers, 1, visit=10)
    assert seen.own + len(answers.asked) == seen.requests
    assert len(answers.asked) == pytest.approx(seen.requests / 10, abs=2)


async def test_a_caching_client_without_max_age_asks_each_time() -> None:
    async with answering(response()) as answers:
        seen = await load(answers, 1, visit=10)
    assert (seen.own, seen.requests) == (0, len(answers.asked))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.0, 1)]
)
def test_quantile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert quantile(range(1, 101), share) == expected


def test_summary_of_nothing() -> None:
    assert summary(Seen())["p99_ms"] == 0.0
