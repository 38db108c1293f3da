"""Where records and stamps lie in a Redis: the names of keys.

    <namespace>:{<target>}:<key>:<slot>   a record: see codec and sealing
    <namespace>:{<target>}:<key>:<slot>:b  its body, where that lies apart: see bodies
    <namespace>:{<target>}:t              the stamp of a target, whose name is "t" target
    <namespace>:<kind>:<name>             any other stamp; kind: the first byte of its name
    <namespace>:ping                      never written: read to see whether reading is possible

<target>, <key> and <name> are digests, 256 bits in 43 characters without colons or braces. No form
can be read as another, nor as the end of another, so neither two names nor two namespaces can meet
in a key. The braces put what a look-up reads of one target into one slot of a cluster.

What must not be here: what lies there.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b

from asgi_cache.errors import ConfigurationError


class Places:
    """The keys of *namespace*; the last ones made are remembered."""

    def __init__(self, namespace: str) -> None:
        if not namespace or not namespace.isprintable() or set(namespace) & set("{} "):
            raise ConfigurationError(
                f"namespace is {namespace!r}; it must be printable, without spaces and braces"
            )
        self.prefix = namespace.encode() + b":"
        self._digest = lru_cache(maxsize=512)(_digest)
        self.record = lru_cache(maxsize=512)(self._record)
        """That of a record: target, key, slot."""
        self.stamp = lru_cache(maxsize=512)(self._stamp)
        """That of a stamp, by its name."""

    def lease(self, target: bytes, place: bytes) -> bytes:
        """The middle of the key of a lease, or of its channel: its kind leads *place*."""
        return b"{%b}:%b%b" % (self._digest(target), place[:2], self._digest(place[2:]))

    def _record(self, target: bytes, key: bytes, slot: int) -> bytes:
        digest = self._digest
        return b"%b{%b}:%b:%d" % (self.prefix, digest(target), digest(key), slot)

    def _stamp(self, name: bytes) -> bytes:
        kind = name[:1]
        if kind == b"t":
            return b"%b{%b}:t" % (self.prefix, self._digest(name[1:]))
        return b"%b%b:%b" % (self.prefix, kind if kind.islower() else b"_", self._digest(name))


def _digest(text: bytes) -> bytes:
    return urlsafe_b64encode(blake2b(text, digest_size=32).digest()).rstrip(b"=")
