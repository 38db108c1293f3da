"""No field of a request or a response takes long: 64 KiB of it cost less than 10 ms of CPU.

Each is sent through the whole middleware, in one line and in many, on a miss, on a hit and on
something stale, beside the same exchange with a short value.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from asgi_cache import CacheMiddleware, MemoryStore, Rule
from tests.driver import BODY, START, Connection, http_scope

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tests.conftest import Clock

SIZE: Final = 64 * 1024
LIMIT: Final = 0.010
"""Seconds of this process's own time."""
ATTEMPTS: Final = 5
"""The least of these counts, and no more are made than are needed."""

REQUEST_FIELDS: Final = (
    *("accept", "accept-encoding", "accept-language", "authorization", "cache-control"),
    *("cache-groups", "connection", "content-length", "cookie", "expect", "forwarded", "host"),
    *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
    *("origin", "pragma", "range", "te", "transfer-encoding", "user-agent", "x-api-key"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-original-url", "x-own"),
    "asgi-cache-debug",
)
RESPONSE_FIELDS: Final = (
    *("age", "asgi-cache-control", "cache-control", "cache-group-invalidation", "cache-groups"),
    *("cache-status", "connection", "content-encoding", "content-length", "content-location"),
    *("content-range", "content-type", "date", "etag", "expires", "last-modified", "link"),
    *("location", "set-cookie", "surrogate-control", "trailer", "transfer-encoding", "vary"),
    *("access-control-allow-origin", "x-own", "x-response-time"),
)
UNITS: Final = (
    *(b",", b";", b'"', b"\\", b" ", b"\t", b"9", b"%", b"=", b"(", b":", b"-", b"\xff", b"../"),
    *(b"a,", b"a=1,", b"a;q=1,", b" ,", b'"\\', b'"",', b'a"', b'="', b'W/"a",', b'" ",'),
    *(b"a b,", b"a=b;", b"a;b", b"0-,", b"bytes=0-1,", b'private="a",', b"max-age=1,", b"for=a,"),
    *(b"gzip;q=0.5,", b"en-US,", b"Mon, 01 Jan 2024 00:00:00 GMT,", b"x-a,"),
)
LINES: Final = 64
"""What is not sent in one line is sent in so many."""


def values_of(unit: bytes) -> list[list[bytes]]:
    """64 KiB of *unit* in one line, after a beginning that makes it count, and in many lines."""
    whole = unit * (SIZE // len(unit))
    lines = [unit * (SIZE // LINES // len(unit))] * LINES
    return [[whole], [b'"' + whole], [b"bytes=" + whole], [b"private=" + whole + b'"'], lines]


class Page:
    """Answers at once, with the lines it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = [(b"cache-control", b"max-age=60"), (b"etag", b'"a"')]
        names = {name for name, _ in self.lines}
        lines = [*(line for line in plain if line[0] not in names), *self.lines]
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": b"page"})


async def dropped(message: Message) -> None:
    """A client that keeps nothing."""


def site(page: Page, clock: Clock) -> CacheMiddleware:
    """One that looks at everything that can be looked at."""
    rule = Rule(ttl=60, cookies=["lang"], languages=["en", "de"], query=["q"], groups=["g"])
    return CacheMiddleware(
        page,
        store=MemoryStore(64 * 2**20, clock),
        paths={"/ruled": rule},
        honor_request_directives=True,
        targeted_fields=["ASGI-Cache-Control"],
        heuristic_fraction=0.1,
        debug_token="a-token-of-sixteen-letters",
    )


async def spent(app: CacheMiddleware, target: str, **options: object) -> float:
    """Seconds that one exchange takes of this process."""
    scope = http_scope(target, **options)  # type: ignore[arg-type]
    receive = Connection(scope).receive
    began = time.process_time()
    await app(scope, receive, dropped)
    return time.process_time() - began


@pytest.mark.parametrize("name", REQUEST_FIELDS)
async def test_no_request_field_takes_long(name: str, clock: Clock) -> None:
    page = Page()
    app = site(page, clock)
    most, shown = 0.0, b""
    for unit in UNITS:
        for lines in values_of(unit):
            fields = [(name, line) for line in lines]
            host = None if name == "host" else "shop.example"
            for target, method in (("/page", "GET"), ("/ruled", "GET"), ("/page", "HEAD")):
                took = LIMIT
                for _ in range(ATTEMPTS):
                    took = min(
                        took,
                        await spent(app, target, headers=fields, host=host, method=method),
                    )
                    if took < LIMIT:
                        break
                most, shown = max((most, shown), (took, lines[0][:20]))
        clock.advance(61)  # the next finds something stale
    print(f"{name}: {most * 1e3:.2f} ms at most, of {shown!r}")
    assert most < LIMIT


@pytest.mark.parametrize("name", RESPONSE_FIELDS)
async def test_no_response_field_takes_long(name: str, clock: Clock) -> None:
    page = Page()
    app = site(page, clock)
    most, shown, number = 0.0, b"", 0
    for unit in UNITS:
        for lines in values_of(unit):
            page.lines = [(name.encode(), line) for line in lines]
            for folder, method in (("page", "GET"), ("ruled", "GET"), ("page", "POST")):
                took = LIMIT
                for _ in range(ATTEMPTS):
                    number += 1
                    target = f"/{folder}" if folder == "ruled" else f"/{folder}/{number % 7}"
                    # A miss or what is stale, then what a hit makes of it.
                    miss = await spent(app, target, method=method)
                    took = min(took, miss + await spent(app, target, method=method))
                    if took < LIMIT:
                        break
                    clock.advance(61)
                most, shown = max((most, shown), (took, lines[0][:20]))
        clock.advance(61)
    print(f"{name}: {most * 1e3:.2f} ms at most, of {shown!r}")
    assert most < LIMIT
