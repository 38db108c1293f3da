"""RFC 9111 §4.1 and §2: what a stored response is found by: target, key, nominated fields.

A *target* is what purges address: authority, path and query. A *key* adds everything else that
may shape an answer without a ``Vary`` saying so. Both are joined injectively with NUL, which no
part of a request may contain; nothing is normalised, sorted or decoded, so two spellings of a URL
cost a second fill and never a wrong answer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from asgi_cache.fields import split_list
from asgi_cache.policy.folding import (
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    FORWARDED,
    fold_accept_encoding,
    fold_accept_language,
    fold_forwarded,
    fold_query,
    keyed_cookies,
)
from asgi_cache.settings.plan import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_cache.model import RequestHead
    from asgi_cache.settings import Settings
    from asgi_cache.settings.plan import CompiledRule, Shape

MAX_TARGET_BYTES: Final = 8192
MAX_NOMINATED: Final = 8

FOLDED: Final = (ACCEPT_ENCODING, ACCEPT_LANGUAGE)
"""Nominated fields that have a normal form of their own, in which apps see them."""
SEPARATORS_IN_KEY: Final = 5

NAMESPACE: Final = b"n"
EPOCH: Final = b"e"

PATH_SAFE: Final = "/:@!$&'()*+,;=-._~%[]|\\^"
"""What a purged URL's path may contain as it stands; the rest is percent-encoded as UTF-8.

Browsers and HTTP clients do the same with the URLs that they are given: what they leave as it is
must stay so here, or a purge would miss what they fetched."""
QUERY_SAFE: Final = PATH_SAFE + "?`{}"
"""The same for its query."""


class Target(NamedTuple):
    """An absolute URL without its scheme, taken apart."""

    authority: bytes
    path: bytes
    query: bytes

    @property
    def text(self) -> bytes:
        """The one spelling that stamps and stores use."""
        return b"%b\0%b\0%b" % self

    @property
    def url(self) -> str:
        """As a network-path reference (RFC 3986 §4.2), to resolve others against."""
        slash = b"" if self.path.startswith(b"/") else b"/"
        query = b"?" + self.query if self.query else b""
        url = b"//%b%b%b%b" % (self.authority, slash, self.path, query)
        return url.decode("utf-8", "surrogateescape")


def target_of(
    url: str, settings: Settings, base: Target | None = None, root_path: str = ""
) -> Target | None:
    """The target that *url* names, its query folded by the rule of its path.

    A relative reference is resolved against *base*; *root_path* is taken off the path before
    templates match. Bytes that are not UTF-8 come as surrogates. ``None`` where there is no valid
    authority, or another scheme than HTTP's.
    """
    plan = settings.plan
    try:
        if base is not None:
            url = urljoin(base.url, url)
        parts = urlsplit(url)
        authority = plan.authority(parts.netloc.encode())
        path = quote(parts.path or "/", PATH_SAFE, errors="surrogateescape").encode()
        query = quote(parts.query, QUERY_SAFE, errors="surrogateescape").encode()
    except ValueError:
        return None
    if authority is None or parts.scheme not in ("", "http", "https"):
        return None
    decoded = unquote(path.decode("ascii"))
    root = root_path.rstrip("/")
    if decoded == root or decoded.startswith(root + "/"):
        decoded = decoded.removeprefix(root) or "/"
    compiled = plan.compiled(plan.matcher.match(decoded, path))
    return Target(authority, path, query if compiled is None else fold_query(query, compiled))


def target_stamp(target: bytes) -> bytes:
    """Name of the stamp of a target's text."""
    return b"t" + target


def path_stamp(authority: bytes, path: bytes) -> bytes:
    """Name of the stamp of a path with whatever query."""
    return b"p%b\0%b" % (authority, path)


def group_stamps(group: str, authority: bytes) -> tuple[bytes, bytes]:
    """Names of a group's two stamps: what ``purge`` writes, and what a response of the same

    origin writes (RFC 9875: the field reaches no other origin's groups).
    """
    name = group.encode("utf-8", "surrogatepass")
    return b"g" + name, b"o%b\0%b" % (authority, name)


def key_of(
    base: bytes, request: RequestHead, shape: Shape, compiled: CompiledRule | None
) -> bytes | None:
    """*base* and the parts that only some requests have; ``None`` where one contains a NUL.

    Each part carries its kind and its name, so that absent and empty differ and no value can pass
    for another part.
    """
    fields = request.fields
    parts = [base]
    for name in shape.key_fields:
        value: bytes | None = fields[name]
        if name == FORWARDED:
            value = fold_forwarded(fields[name])
        if value is not None:
            parts.append(b"f%b\0%b" % (name, value))
    if compiled is not None and compiled.anonymous:
        for name, text in keyed_cookies(fields.get(COOKIE), compiled.cookies):
            parts.append(b"k%b\0%b" % (name, text))
    key = b"\0".join(parts)
    if key.count(b"\0") != SEPARATORS_IN_KEY + 2 * (len(parts) - 1):
        return None
    return key


def custom_key(key: bytes, part: str | bytes) -> bytes:
    """*key* with what ``Settings.key`` returned: last, so that its bytes need no escape."""
    if isinstance(part, str):
        part = part.encode("utf-8", "surrogatepass")
    return b"%b\0c%b" % (key, part)


def nominated_values(
    names: Iterable[bytes], request: RequestHead, compiled: CompiledRule | None
) -> tuple[tuple[bytes, bytes | None], ...]:
    """The request fields that select a variant, normalised where the field allows it (§4.1)."""
    fields = request.fields
    languages = () if compiled is None else compiled.languages
    values: list[tuple[bytes, bytes | None]] = []
    for name in names:
        value = fields.get(name)
        if name == ACCEPT_ENCODING:
            value = fold_accept_encoding(value)
        elif name == ACCEPT_LANGUAGE:
            value = fold_accept_language(value, languages)
        values.append((name, value))
    return tuple(values)


def plain_values(
    nominated: tuple[tuple[bytes, bytes | None], ...],
) -> tuple[tuple[bytes, bytes | None], ...]:
    """*nominated* with each list spelled without white space and empty members (§4.1).

    A response whose app saw this spelling may answer the others, which mean the same. The
    reverse is not so: an app that reads an odd spelling oddly would answer for everybody.
    """
    return tuple(
        (name, value if value is None or name in FOLDED else b",".join(split_list(value)))
        for name, value in nominated
    )


def variant_slots(nominated: tuple[tuple[bytes, bytes | None], ...], slots: int) -> tuple[int, int]:
    """The two slots, 1 to *slots* and never equal, where a variant of these values may lie."""
    digest = hashlib.blake2b(digest_size=4)
    for name, value in nominated:
        digest.update(b"%d:%b" % (len(name), name))
        digest.update(b"-" if value is None else b"%d:%b" % (len(value), value))
    first, step = divmod(int.from_bytes(digest.digest()), slots - 1)
    first %= slots
    return first + 1, (first + 1 + step) % slots + 1
