"""A question and what came of it: all that the judge needs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.security.checker.bodies import Told


@dataclass
class Asked:
    """One question."""

    ask: str
    site: str
    host: str
    path: str
    query: str
    """As it counts; :attr:`sent` is what was sent."""
    sent: str = ""
    method: str = "GET"
    user: str | None = None
    taste: str | None = None
    flavour: str | None = None
    language: str | None = None
    proxy: str | None = None
    range: tuple[int, int] | None = None
    tag: str | None = None
    """What If-None-Match said."""
    tagged: Told | None = None
    """What had that tag."""
    if_range: str | None = None
    purged: int = 0
    """When that was purged, last, which had been when this was asked."""
    softened: int = 0
    began: int = 0

    @property
    def kind(self) -> str:
        """The kind of page."""
        return self.path.split("/")[1]


@dataclass
class Got:
    """What came of it."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = True
    """``False``: no last message came, though the client waited for it."""
    left: bool = False
    """The client went away before the end."""
    raised: str | None = None
    """The exception that the server saw; of the app's own its ``x-ask``, with ``app:`` before."""
    started: int = 0
    """When the first message came."""
    ended: int = 0
    app_time: int = 0
    """Nanoseconds in the app, on behalf of this request."""
    stalled: int = 0
    """Nanoseconds that the event loop was late meanwhile."""
    hung_at: str = ""
    """Where it was when the client lost patience."""

    def value(self, name: str) -> str | None:
        """The lines of a field joined, or ``None``."""
        values = [value for line, value in self.headers if line == name]
        return ", ".join(values) if values else None

    @property
    def hit(self) -> bool:
        """Whether Cache-Status says so."""
        return "; hit" in (self.value("cache-status") or "")

    @property
    def collapsed(self) -> bool:
        """Whether it says that another request's fill has answered this one."""
        return "collapsed" in (self.value("cache-status") or "").split("; ")
