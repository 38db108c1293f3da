"""Bodies that describe themselves, so that any answer can be judged alone.

A line of JSON, the digest of what follows, and filler that only this call's body has: what is cut,
mixed or somebody else's shows, whatever the header fields say.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Told:
    """What a body says of the call that made it."""

    serial: int
    worker: str
    method: str
    root_path: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]
    user: str | None = None

    def values(self, name: str) -> list[str]:
        """What the call saw of a request field."""
        return [value for line, value in self.fields if line == name]


def written(told: Told, size: int) -> bytes:
    """A body of exactly *size* bytes (more where its description alone is longer)."""
    line = json.dumps(asdict(told)).encode()
    seed = f"{told.worker} {told.serial}"
    filler = random.Random(seed).randbytes(max(0, size - len(line) - 66) // 2 + 1).hex().encode()
    filler = filler[: max(0, size - len(line) - 66)]
    return b"%b\n%b\n%b" % (line, _digest(line, filler), filler)


def read(body: bytes, size: int | None = None) -> Told:
    """What *body* tells; an AssertionError where it is not whole, or not of *size* bytes."""
    assert size is None or len(body) == size
    line, digest, filler = body.split(b"\n", 2)
    assert digest == _digest(line, filler), "the body is cut or mixed"
    return from_json(json.loads(line))


def from_json(told: dict[str, Any]) -> Told:
    """What a call told, as JSON has it."""
    fields = tuple((name, value) for name, value in told["fields"])
    return Told(**{**told, "fields": fields})


def _digest(line: bytes, filler: bytes) -> bytes:
    return hashlib.sha256(line + filler).hexdigest().encode()
