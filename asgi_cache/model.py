"""The values that travel between the layers: frozen, without behaviour that has an effect.

What must not be here: rules of RFC 9111 (``policy``), field syntax (``fields``), bytes on a wire
(``stores.codec``). Instants are seconds since the epoch in the store's clock; ``..._at`` and
``..._until`` name them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Line: TypeAlias = tuple[bytes, bytes]
"""One field line: name in lower case, value as sent."""

NONCE_BYTES: Final = 16


class RequestHead(NamedTuple):
    """A request without its content, as read from an ASGI scope (or made to look like one)."""

    method: str
    scheme: str
    root_path: str
    path: str
    """Decoded, ``root_path`` taken off: what path templates match."""
    raw_path: bytes
    """As sent, ``root_path`` put in front where the server left it out."""
    query: bytes
    """As sent, without the question mark."""
    fields: Mapping[bytes, bytes]
    """Names in lower case; the lines of a repeated field combined (RFC 9110 §5.3)."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What ``http.response.start`` says, once it has been found well-formed."""

    status: int
    lines: tuple[Line, ...]
    _values: dict[bytes, tuple[bytes, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """By names; the rules of RFC 9111 ask for some twenty."""

    def __post_init__(self) -> None:
        values = self._values
        several: dict[bytes, list[bytes]] = {}
        for name, value in self.lines:
            if name not in values:
                values[name] = (value,)
            elif name in several:
                several[name].append(value)
            else:
                several[name] = [*values[name], value]
        values.update((name, tuple(all_of_it)) for name, all_of_it in several.items())

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """The value of every line of the field *name* (lower case), in order."""
        return self._values.get(name, ())


class Stamp(NamedTuple):
    """The state of one scope of invalidation; nonces are random and never used twice.

    A response is valid only while the stamps it carries are present with the same nonce; where
    the soft nonce differs it is stale from ``soft_at`` on.
    """

    nonce: bytes
    soft_nonce: bytes
    soft_at: float


class CarriedStamp(NamedTuple):
    """A stamp as a stored response carries it: the name of its scope and both nonces."""

    name: bytes
    nonce: bytes
    soft_nonce: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A complete response with everything that its directives said turned into numbers."""

    status: int
    lines: tuple[Line, ...]
    """Ready to send: without hop-by-hop fields and ``Age``, order and repeats kept."""
    body: bytes
    generated_at: float
    """Response time minus corrected initial age (RFC 9111 §4.2.3)."""
    fresh_until: float
    revalidate_until: float
    """End of stale-while-revalidate (RFC 5861 §3); ``fresh_until`` where there is none."""
    error_until: float
    """End of stale-if-error (RFC 5861 §4); ``fresh_until`` where there is none."""
    may_be_stale: bool
    discard_at: float
    """When a store may drop it."""
    etag: bytes | None
    """Well formed (RFC 9110 §8.8.3), and where it can be the object that its line has."""
    last_modified: float | None
    explicitly_shared: bool
    """A request that carries credentials may be answered from it."""
    authorized_reuse: bool
    """A request with ``Authorization`` may be answered from it (RFC 9111 §3.5)."""
    browser_ttl: float | None
    """Emitted as ``Cache-Control: max-age`` plus the age at each hit; ``None``: emit nothing."""
    emitted: int
    """How many of the first lines are not the app's but ours."""
    nominated: tuple[tuple[bytes, bytes | None], ...]
    """The request fields that ``Vary`` names, normalised, absent ones ``None`` (§4.1)."""
    groups: tuple[str, ...]
    stamps: tuple[CarriedStamp, ...]


def with_body(
    response: StoredResponse,
    lines: tuple[Line, ...],
    body: bytes,
    etag: bytes | None,
    stamps: tuple[CarriedStamp, ...],
) -> StoredResponse:
    """*response* once it is complete: ``dataclasses.replace`` in a third of its time."""
    return StoredResponse(
        response.status,
        lines,
        body,
        response.generated_at,
        response.fresh_until,
        response.revalidate_until,
        response.error_until,
        response.may_be_stale,
        response.discard_at,
        etag,
        response.last_modified,
        response.explicitly_shared,
        response.authorized_reuse,
        response.browser_ttl,
        response.emitted,
        response.nominated,
        response.groups,
        stamps,
    )


@dataclass(frozen=True, slots=True)
class NominatedFields:
    """Stands at a key whose responses vary: which request fields select among them (§4.1)."""

    names: tuple[bytes, ...]
    """Lower case, sorted, without repeats."""
    groups: tuple[str, ...]
    """Groups that variants named, so that the next look-up reads their stamps at once."""
    discard_at: float


Record: TypeAlias = StoredResponse | NominatedFields
"""What a store holds in a slot of a key."""
