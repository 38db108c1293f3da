"""How far a fill has come, and how its app learns that nobody waits."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """How far the app's response has come."""

    AWAITED = "awaited"
    HELD = "held"
    """Its start waits for the body, which decides the entity tag."""
    STARTED = "started"
    WHOLE = "whole"
    """All that Content-Length promised has come; the final message has not."""
    ENDED = "ended"
    ANSWERED = "answered"
    """The client has what was stored; nobody waits for what the app still sends."""


class AbandonedRun(OSError):  # noqa: N818 - no error of anybody's
    """What ``send`` raises in a run whose answer nobody will see: as after a disconnect."""
