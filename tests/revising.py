"""A page with versions: it answers conditions, fails on demand, and tells what it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.driver import BODY, START, as_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.types import Message, Receive, Scope, Send

    from tests.driver import Field


class Revising:
    """One page. ``version`` is its body and, quoted, its ETag; change the attributes at will."""

    def __init__(self, *headers: Field, etag: bool = True) -> None:
        self.version = "one"
        self.headers: list[Field] = list(headers)
        self.etag = etag
        self.modified: str | None = None
        """The page's Last-Modified."""
        self.status = 200
        self.failure: BaseException | None = None
        """Raised before the start."""
        self.not_modified: list[Field] | None = None
        """The lines of its 304s; ``None``: those of its 200s."""
        self.before: Callable[[Scope], Awaitable[None]] | None = None
        """Awaited before the start: a barrier."""
        self.scopes: list[Scope] = []
        self.answers: list[int] = []

    @property
    def calls(self) -> int:
        return len(self.scopes)

    def fields(self, call: int = -1) -> dict[bytes, bytes]:
        """The request fields that the app saw."""
        return dict(self.scopes[call]["headers"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        seen = dict(scope["headers"])
        if self.before is not None:
            await self.before(scope)
        if self.failure is not None:
            raise self.failure
        tag = f'"{self.version}"'.encode()
        validators = [(b"etag", tag)] if self.etag else []
        if self.modified is not None:
            validators.append((b"last-modified", self.modified.encode()))
        asked = seen.get(b"if-none-match")
        since = seen.get(b"if-modified-since")
        holds = self.status == 200 and (
            (self.etag and asked is not None and tag in asked)
            or (asked is None and self.modified is not None and since == self.modified.encode())
        )
        status = 304 if holds else self.status
        self.answers.append(status)
        lines = self.headers
        if holds and self.not_modified is not None:
            lines, validators = self.not_modified, []
        body = b"" if holds or scope["method"] == "HEAD" else self.version.encode()
        await send(start(status, [*validators, *lines], None if holds else len(self.version)))
        await send({"type": BODY, "body": body})


def start(status: int, lines: Iterable[Field], length: int | None) -> Message:
    """A start message."""
    headers: list[Any] = [(as_bytes(name), as_bytes(value)) for name, value in lines]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": START, "status": status, "headers": headers}
