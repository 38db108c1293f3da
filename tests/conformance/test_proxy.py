"""The proxy adds nothing, keeps every byte and its order, streams both ways, and breaks off."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal, cast

import pytest
import uvicorn

from .proxy import FieldLines, Message, OriginError, ReverseProxy, Scope, _upload

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def origin(conversation: Conversation) -> AsyncIterator[ReverseProxy]:
    """A proxy to an origin that holds this conversation on each connection, then closes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        yield ReverseProxy("127.0.0.1", server.sockets[0].getsockname()[1])


def answering(response: bytes, heads: list[bytes] | None = None) -> Conversation:
    """Read a request's head, answer with these bytes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        writer.write(response)
        await writer.drain()

    return converse


def scope_of(method: str = "GET", headers: FieldLines | None = None, **extra: Any) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": headers or [],
        **extra,
    }


class Client:
    """The server's side of one ASGI exchange; without `ends` its request body never does."""

    def __init__(self, body: Sequence[bytes] = (b"",), *, ends: bool = True) -> None:
        last = len(body) - 1 if ends else len(body)
        self._pieces: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": n < last}
            for n, piece in enumerate(body)
        ]
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self.arrived: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        if self._pieces:
            return self._pieces.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.arrived.put_nowait(message)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def exchange(response: bytes, method: str = "GET") -> Client:
    client = Client()
    async with origin(answering(response)) as proxy:
        await proxy(scope_of(method), client.receive, client.send)
    return client


# Requests


async def test_a_request_keeps_order_repeats_and_bytes_and_gains_nothing() -> None:
    heads: list[bytes] = []
    headers = [
        (b"x-b", b"1"),
        (b"host", b"shop.example"),
        (b"x-a", b"\xff\xfe , "),
        (b"x-b", b"2"),
        (b"accept-encoding", b""),
    ]
    scope = scope_of("PURGE", headers, raw_path=b"/a%2Fb//c;d", query_string=b"q=%20&q")
    client = Client()
    async with origin(answering(b"HTTP/1.1 204 No Content\r\n\r\n", heads)) as proxy:
        await proxy(scope, client.receive, client.send)
    assert heads == [
        b"PURGE /a%2Fb//c;d?q=%20&q HTTP/1.1\r\n"
        b"x-b: 1\r\nhost: shop.example\r\nx-a: \xff\xfe , \r\nx-b: 2\r\naccept-encoding: \r\n"
        b"connection: close\r\n\r\n"
    ]


async def test_fields_of_the_clients_connection_end_here() -> None:
    heads: list[bytes] = []
    headers = [
        (b"connection", b"keep-alive, X-Hop"),
        (b"keep-alive", b"timeout=5"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"upgrade", b"h2c"),
        (b"x-end", b"2"),
    ]
    client = Client()
    async with origin(answering(b"HTTP/1.1 204 No Content\r\n\r\n", heads)) as proxy:
        await proxy(scope_of(headers=headers), client.receive, client.send)
    assert heads == [b"GET / HTTP/1.1\r\nx-end: 2\r\nconnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    ("framing", "on_the_wire"),
    [
        ((b"content-length", b"5"), b"abcde"),
        ((b"transfer-encoding", b"chunked"), b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    ],
)
async def test_a_request_body_streams(framing: tuple[bytes, bytes], on_the_wire: bytes) -> None:
    first_arrived = asyncio.Event()
    received = b""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"%b: %b\r\n" % framing in head
        while len(received) < len(on_the_wire):
            received += await reader.read(100)
            first_arrived.set()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    client = Client([b"abc", b"", b"de"])

    async def receive() -> Message:
        message = await client.receive()
        if message.get("body") == b"de":
            await first_arrived.wait()  # for ever, where the proxy collects the body first
        return message

    async with origin(converse) as proxy:
        await proxy(scope_of("POST", [framing]), receive, client.send)
    assert received == on_the_wire


async def test_an_answer_does_not_wait_for_the_rest_of_the_request() -> None:
    client = Client([b"abc"], ends=False)
    async with origin(answering(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        scope = scope_of("POST", [(b"content-length", b"5")])
        await proxy(scope, client.receive, client.send)
    assert client.sent[0]["status"] == 413


class SlowWriter:
    """An origin that takes the first piece and no more until it is let."""

    def __init__(self) -> None:
        self.written = b""
        self.full = asyncio.Event()
        self.let = asyncio.Event()
        self.fault: ConnectionError | None = None

    def write(self, piece: bytes) -> None:
        self.written += piece

    async def drain(self) -> None:
        self.full.set()
        await self.let.wait()
        if self.fault is not None:
            raise self.fault


async def test_a_request_body_waits_for_an_origin_that_is_slow() -> None:
    client, writer = Client([b"abc", b"def"]), SlowWriter()
    client.gone.set()
    async with asyncio.TaskGroup() as tasks:
        scope = scope_of("POST", [(b"content-length", b"6")])
        tasks.create_task(_upload(scope, client.receive, cast("asyncio.StreamWriter", writer)))
        await writer.full.wait()
        assert writer.written.endswith(b"\r\n\r\nabc")
        writer.let.set()
    assert writer.written.endswith(b"\r\n\r\nabcdef")


async def test_an_origin_that_stops_reading_leaves_the_verdict_to_its_response() -> None:
    client, writer = Client([b"abc", b"def"]), SlowWriter()
    client.gone.set()
    writer.let.set()
    writer.fault = ConnectionResetError()
    scope = scope_of("POST", [(b"content-length", b"6")])
    await _upload(scope, client.receive, cast("asyncio.StreamWriter", writer))
    assert writer.written.endswith(b"\r\n\r\nabc")


async def test_a_path_that_the_server_gives_decoded_only() -> None:
    heads: list[bytes] = []
    client = Client()
    scope = scope_of(path="/caf\u00e9 1")
    del scope["raw_path"]
    async with origin(answering(b"HTTP/1.1 204 No Content\r\n\r\n", heads)) as proxy:
        await proxy(scope, client.receive, client.send)
    assert heads == [b"GET /caf%C3%A9%201 HTTP/1.1\r\nconnection: close\r\n\r\n"]


# Responses


async def test_a_response_keeps_order_repeats_and_bytes_and_gains_nothing() -> None:
    body = gzip.compress(b"bytes that stay compressed")
    client = await exchange(
        b"HTTP/1.1 203 Whatever\r\nX-B: 1\r\nSet-Cookie: a=b\r\nx-a:\t\xff ,, \r\nX-B:2\r\n"
        b"Content-Encoding: gzip\r\nSet-Cookie: c=d\r\nEmpty:\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    assert client.sent[0] == {
        "type": "http.response.start",
        "status": 203,
        "headers": [
            (b"x-b", b"1"),
            (b"set-cookie", b"a=b"),
            (b"x-a", b"\xff ,,"),
            (b"x-b", b"2"),
            (b"content-encoding", b"gzip"),
            (b"set-cookie", b"c=d"),
            (b"empty", b""),
            (b"content-length", b"%d" % len(body)),
        ],
    }
    assert client.body == body


LENGTH_3 = (b"content-length", b"3")


@pytest.mark.parametrize(
    ("method", "response", "headers", "body"),
    [
        ("GET", b"200 OK\r\nContent-Length: 3\r\n\r\nabc", [LENGTH_3], b"abc"),
        ("GET", b"200 OK\r\nContent-Length: 3\r\n\r\nabc and more", [LENGTH_3], b"abc"),
        ("GET", b"200 OK\r\nContent-Length: 0\r\n\r\n", [(b"content-length", b"0")], b""),
        ("GET", b"200\r\n\r\nabc", [], b"abc"),
        ("GET", b"200 OK\r\n\r\n", [], b""),
        (
            "GET",
            b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"A;x=y\r\n0123456789\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
            [],
            b"0123456789abc",
        ),
        (
            "GET",
            b"200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            [],
            b"a",
        ),
        ("GET", b"200 OK\r\nTransfer-Encoding: nonsense\r\n\r\nabc", [], b"abc"),
        ("HEAD", b"200 OK\r\nContent-Length: 3\r\n\r\n", [LENGTH_3], b""),
        ("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [], b""),
        ("GET", b"204 No Content\r\n\r\n", [], b""),
        ("GET", b"304 Not Modified\r\nContent-Length: 3\r\n\r\n", [LENGTH_3], b""),
        (
            "GET",
            b"103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            [LENGTH_3],
            b"abc",
        ),
    ],
)
async def test_framing(method: str, response: bytes, headers: FieldLines, body: bytes) -> None:
    client = await exchange(b"HTTP/1.1 " + response, method)
    assert client.sent[0]["headers"] == headers
    assert client.body == body
    more = [message["more_body"] for message in client.sent[1:]]
    assert more == [True] * (len(more) - 1) + [False]


async def test_a_body_in_one_piece_is_one_message() -> None:
    client = await exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    assert client.sent[1:] == [{"type": "http.response.body", "body": b"abc", "more_body": False}]


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        (b"Connection: a,  B\r\n", [(b"connection", b"a,  B")]),
        (b"Connection: close\r\n", []),
        (b"Connection: Keep-Alive, a, close, b\r\n", [(b"connection", b"a, b")]),
        (b"Connection: a\r\nConnection: close\r\n", [(b"connection", b"a")]),
        (b"Keep-Alive: timeout=5\r\nUpgrade: x\r\n", [(b"upgrade", b"x")]),
        (b"Proxy-Connection: x\r\nTE: y\r\n", [(b"proxy-connection", b"x"), (b"te", b"y")]),
    ],
)
async def test_what_connection_names_is_left_for_the_cache_to_see(
    lines: bytes, passed: FieldLines
) -> None:
    client = await exchange(b"HTTP/1.1 204 No Content\r\n%bA: 1\r\n\r\n" % lines)
    assert client.sent[0]["headers"] == [*passed, (b"a", b"1")]


async def test_a_response_streams() -> None:
    seen = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await seen.wait()
        writer.write(b"def")

    client = Client()
    async with origin(converse) as proxy, asyncio.TaskGroup() as tasks:
        tasks.create_task(proxy(scope_of(), client.receive, client.send))
        assert (await client.arrived.get())["status"] == 200
        first = await client.arrived.get()
        assert (first["body"], first["more_body"]) == (b"abc", True)
        seen.set()
    assert client.body == b"abcdef"


# Endings before the end

CUTS = [
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
]


@pytest.mark.parametrize("response", CUTS)
async def test_an_origin_that_breaks_off_raises(response: bytes) -> None:
    client = Client()
    async with origin(answering(response)) as proxy:
        with pytest.raises(OriginError, match="broke off"):
            await proxy(scope_of(), client.receive, client.send)
    assert all(message["more_body"] for message in client.sent[1:])


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"nonsense\r\n\r\n", "status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "field line"),
        (b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n", "field line"),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n folded: 2\r\n\r\n", "field line"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "Content-Length",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabcd", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk size"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
            "more than the chunk",
        ),
        (b"HTTP/1.1 200 OK\r\nA: %b\r\n\r\n" % (b"a" * 100_000), "too long"),
    ],
)
async def test_what_is_not_http_raises(response: bytes, message: str) -> None:
    client = Client()
    async with origin(answering(response)) as proxy:
        with pytest.raises(OriginError, match=message):
            await proxy(scope_of(), client.receive, client.send)


async def test_a_client_that_goes_away_ends_the_exchange_with_the_origin() -> None:
    ended = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    client = Client()
    async with origin(converse) as proxy, asyncio.TaskGroup() as tasks:
        tasks.create_task(proxy(scope_of(), client.receive, client.send))
        await client.arrived.get()
        await client.arrived.get()
        client.gone.set()
        await ended.wait()
    assert client.body == b"abc"


# Behind a server


@contextlib.asynccontextmanager
async def served(proxy: ReverseProxy, http: Literal["h11", "httptools"]) -> AsyncIterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # a client may connect from now on, before the server accepts
        config = uvicorn.Config(
            proxy,
            http=http,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            date_header=False,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await running


async def fetched(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            b"HTTP/1.1 200 OK\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nx-b: 1\r\nx-a: 2\r\nx-b: 3\r\ncontent-length: 3\r\n"
            b"connection: close\r\n\r\nabc",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nabc",
        ),
    ],
)
async def test_through_a_server(
    http: Literal["h11", "httptools"], response: bytes, expected: bytes
) -> None:
    """To the byte, the second with a length of 6 and 3 bytes of body: cut, not completed."""
    async with origin(answering(response)) as proxy, served(proxy, http) as port:
        answer = await fetched(port)
    assert answer.replace(b"Connection:", b"connection:") == expected


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_cut_body_in_chunks_has_no_last_chunk(http: Literal["h11", "httptools"]) -> None:
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"
    async with origin(answering(response)) as proxy, served(proxy, http) as port:
        answer = await fetched(port)
    assert answer.endswith(b"\r\n\r\n6\r\nabcdef\r\n")


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://:80"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http origin"):
        ReverseProxy.at(url)


def test_urls() -> None:
    proxy = ReverseProxy.at("http://127.0.0.1:8001/path")
    assert (proxy.host, proxy.port) == ("127.0.0.1", 8001)
    assert ReverseProxy.at("http://origin.example").port == 80


async def test_other_scopes_are_refused() -> None:
    client = Client()
    with pytest.raises(ValueError, match="websocket"):
        await ReverseProxy("127.0.0.1", 1)({"type": "websocket"}, client.receive, client.send)
