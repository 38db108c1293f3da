"""A streaming reverse proxy to one origin, as an ASGI app: it adds nothing and keeps every byte.

It is what the cache under test has behind it, so whatever it tidied up would be hidden from the
cache. Hence a connection of its own per request instead of a client library: no default fields, no
decompression, order and repeats as they came, bodies in the pieces in which they arrive. An origin
that breaks off raises, so that the server in front breaks off as well.

What cannot pass is what frames a message on one hop (RFC 9112 section 6): the server in front
frames by itself. `Connection` of a response does pass, without the options that concern the hop to
the origin alone, because the cache has to see which fields it names (RFC 9111 section 3.1).
Trailers and interim responses are read and dropped. HTTP/1.1 on both sides.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Self
from urllib.parse import quote, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
FieldLines = list[tuple[bytes, bytes]]

PIECE_BYTES = 65_536

# A request's fields that end at this hop; what Connection names goes with them.
REQUEST_HOP_FIELDS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
# A response's: Connection is looked at on its own, and the others are the cache's to judge.
RESPONSE_HOP_FIELDS = frozenset({b"keep-alive", b"transfer-encoding"})
# Options about the connection itself; any other option is the name of a field.
CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive"})


class OriginError(Exception):
    """The origin broke off, or what it sent is not an HTTP/1.1 response."""


class ReverseProxy:
    """Passes every request on to one origin, each on a connection of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @classmethod
    def at(cls, url: str) -> Self:
        """The proxy to `url`, which gives a host and a port; its path is ignored."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"not the URL of an http origin: {url!r}")
        return cls(parts.hostname, parts.port or 80)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"a reverse proxy for http, not for {scope['type']}")
        reader, writer = await asyncio.open_connection(self.host, self.port)
        download = asyncio.create_task(_download(scope["method"], reader, send))
        upload = asyncio.create_task(_upload(scope, receive, writer))
        try:
            # The upload ends only with a client that went away: then nobody wants the rest.
            await asyncio.wait({download, upload}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            download.cancel()
            upload.cancel()
            await asyncio.gather(download, upload, return_exceptions=True)
            writer.transport.abort()
        for task in (download, upload):
            if not task.cancelled():
                task.result()


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _upload(scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
    """Send the request, then wait for the client to go away."""
    # An origin may answer and close before it has read everything: the response decides.
    with contextlib.suppress(ConnectionError):
        writer.write(_request_head(scope))
        chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            if chunked and piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            elif piece:
                writer.write(piece)
            if chunked and not more:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
    while (await receive())["type"] != "http.disconnect":
        pass


def _request_head(scope: Scope) -> bytes:
    target = scope.get("raw_path") or quote(scope["path"]).encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    lines: FieldLines = scope["headers"]
    dropped = REQUEST_HOP_FIELDS | set(_connection_options(lines))
    head = [b"%b %b HTTP/1.1\r\n" % (scope["method"].encode(), target)]
    head += [b"%b: %b\r\n" % (name, value) for name, value in lines if name not in dropped]
    if any(name == b"transfer-encoding" for name, _ in lines):
        head.append(b"transfer-encoding: chunked\r\n")
    # One request per connection. Said aloud, because a body that neither a length nor chunks frame
    # ends with the connection, which an origin would otherwise keep open.
    head.append(b"connection: close\r\n\r\n")
    return b"".join(head)


async def _download(method: str, reader: asyncio.StreamReader, send: Send) -> None:
    """Read the final response and pass it on as it comes."""
    try:
        status, lines = await _read_head(reader)
        while status < 200:
            if status == 101:
                raise OriginError("the origin switched protocols unasked")
            status, lines = await _read_head(reader)
        start = {"type": "http.response.start", "status": status, "headers": _passed_on(lines)}
        await send(start)
        bodiless = method == "HEAD" or status in (204, 304)
        async for piece, more in _nothing() if bodiless else _framed(reader, lines):
            await send({"type": "http.response.body", "body": piece, "more_body": more})
    except asyncio.IncompleteReadError as error:
        raise OriginError("the origin broke off") from error
    except asyncio.LimitOverrunError as error:
        raise OriginError("the origin sent a head or a chunk size that is too long") from error


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, FieldLines]:
    """Status and field lines; names in lower case as ASGI asks, values without outer space."""
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *field_lines = head[:-4].split(b"\r\n")
    version, _, rest = status_line.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit() or rest[3:4] not in (b"", b" "):
        raise OriginError(f"not a status line: {status_line!r}")
    lines: FieldLines = []
    for line in field_lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise OriginError(f"not a field line: {line!r}")
        lines.append((name.lower(), value.strip(b" \t")))
    return int(status), lines


def _passed_on(lines: FieldLines) -> FieldLines:
    passed: FieldLines = []
    for name, value in lines:
        if name == b"connection":
            options = [option.strip(b" \t") for option in value.split(b",")]
            named = [option for option in options if option.lower() not in CONNECTION_OPTIONS]
            if len(named) == len(options):
                passed.append((name, value))
            elif named:
                passed.append((name, b", ".join(named)))
        elif name not in RESPONSE_HOP_FIELDS:
            passed.append((name, value))
    if b"chunked" in _codings(lines):
        # RFC 9112 section 6.3: the chunks are what counts, and the length must not go on.
        passed = [(name, value) for name, value in passed if name != b"content-length"]
    return passed


def _connection_options(lines: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return _members(value for name, value in lines if name == b"connection")


def _codings(lines: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return _members(value for name, value in lines if name == b"transfer-encoding")


def _members(values: Iterable[bytes]) -> list[bytes]:
    members = [member.strip(b" \t").lower() for value in values for member in value.split(b",")]
    return [member for member in members if member]


# The body in pieces, each with whether more follow. RFC 9112 section 6.3 gives the order of rules.


def _framed(reader: asyncio.StreamReader, lines: FieldLines) -> AsyncIterator[tuple[bytes, bool]]:
    codings = _codings(lines)
    if codings:
        # A coding that is not chunked, real or nonsense, leaves the end to the connection.
        return _chunked(reader) if codings[-1] == b"chunked" else _until_closed(reader)
    lengths = {value for name, value in lines if name == b"content-length"}
    if not lengths:
        return _until_closed(reader)
    length = lengths.pop()
    if lengths or not length.isdigit():
        raise OriginError("the origin sent a Content-Length that is not one number")
    return _counted(reader, int(length))


async def _nothing() -> AsyncIterator[tuple[bytes, bool]]:
    yield b"", False


async def _counted(reader: asyncio.StreamReader, length: int) -> AsyncIterator[tuple[bytes, bool]]:
    if length == 0:
        yield b"", False
    while length:
        piece = await _some(reader, length)
        length -= len(piece)
        yield piece, length > 0


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bool]]:
    while size := await _chunk_size(reader):
        while size:
            piece = await _some(reader, size)
            size -= len(piece)
            yield piece, True
        if await reader.readexactly(2) != b"\r\n":
            raise OriginError("the origin sent more than the chunk's size")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    yield b"", False


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\r\n")
    try:
        return int(line.partition(b";")[0].strip(), 16)
    except ValueError:
        raise OriginError(f"not a chunk size: {line!r}") from None


async def _until_closed(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bool]]:
    while piece := await reader.read(PIECE_BYTES):
        yield piece, True
    yield b"", False


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    """At least one and at most `most` bytes."""
    piece = await reader.read(min(most, PIECE_BYTES))
    if not piece:
        raise OriginError("the origin broke off")
    return piece
