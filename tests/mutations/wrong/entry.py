"""What an entry of the list is, and the versions that have to have one."""

from __future__ import annotations

from typing import Final, NamedTuple

NAMED: Final = (
    "Vary: * stored",
    "Vary: * stored where it is padded",
    "Private missed for its capital",
    "an absent header and an empty one sharing a key",
    "key parts joined without a delimiter",
    "a key that was Unicode-normalised",
    "a key that was case-folded",
    "the host left out of the key",
    "Set-Cookie replayed from the store",
    "Set-Cookie handed to a follower",
    "a response to an authorised request shared",
    "a leader's exception given to all followers",
    "an aborted fill stored short",
    "two bodies glued together after a cancel",
    "a 304 sent to an unconditional client",
    "a 304 stored as the page",
    "a HEAD's empty body served to GET",
    "a 206 stored as a 200",
    "repeated response fields collapsed into one",
    "an ETag that differs between workers",
    "a stored response's own header list handed out and mutated",
    "a decoder that loads objects (pickle)",
    "a version key evicted and read as 0",
    "stale-while-revalidate that never revalidates",
    "a purge that leaves the stale copy behind",
    "a purge that leaves a variant behind",
    "a purge that leaves the near tier behind",
    "a cancelled Redis command whose late reply is read by the next one",
    "an unbounded memory store",
    "a lock whose owner died and that never expires",
)
"""The wrong versions seen in the field, at the head of the list of cases.
"""


class Change(NamedTuple):
    """One replacement: *old* stands exactly once in *file*, a path below ``asgi_cache``."""

    file: str
    old: str
    new: str


class Wrong(NamedTuple):
    """One wrong version, and the tests that are to catch it, the quickest first."""

    name: str
    cases: str
    """Identifiers of cases, by spaces."""
    changes: tuple[Change, ...]
    tests: tuple[str, ...]
    """Node identifiers, below ``tests``."""
    named: str = ""
    """Which one of :data:`NAMED` it is, where it is one of these."""


def one(
    name: str, cases: str, file: str, old: str, new: str, *tests: str, named: str = ""
) -> Wrong:
    """An entry with a single change."""
    return Wrong(name, cases, (Change(file, old, new),), tests, named)
