"""Folding: different requests that get one answer, and that one answer's app sees folded too.

Whatever the key folds (ignored query parameters, ``Forwarded``, languages, codings, the cookies
of an anonymous fill), the app of a fill must see folded; else what the key leaves out could still
shape the answer, and one client would choose what the others get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from asgi_cache.fields import parse_cookies, parse_forwarded, parse_weights, split_list
from asgi_cache.fields.remembering import remembered
from asgi_cache.model import RequestHead
from asgi_cache.settings.plan import CONDITIONAL_FIELDS, COOKIE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_cache.settings.plan import CompiledRule, Shape

ACCEPT_ENCODING = b"accept-encoding"
ACCEPT_LANGUAGE = b"accept-language"
FORWARDED = b"forwarded"

CODINGS = ((b"gzip", b"gzip"), (b"br", b"gzip, br"), (b"zstd", b"gzip, br, zstd"))
"""Each step of support, and what the field is folded to; a step needs those before it."""


class Folded(NamedTuple):
    """A request as the app of its fill sees it."""

    head: RequestHead
    replaced: Mapping[bytes, bytes | None]
    """Fields whose value differs from the client's; ``None``: not shown."""
    hidden: bool
    """Something that may tell one user from another is not shown."""


def fold_query(query: bytes, compiled: CompiledRule) -> bytes:
    """*query* without the parameters that do not count; order and spelling kept.

    A piece is what stands between ampersands: a parameter cloaked behind a semicolon goes where
    the piece goes, in the key and in what the app sees alike.
    """
    if compiled.query is None and compiled.ignored_query is None:
        return query
    kept = []
    for piece in query.split(b"&"):
        name = unquote_to_bytes(piece.partition(b"=")[0].replace(b"+", b" "))
        if compiled.query is not None:
            counts = name in compiled.query
        else:
            counts = compiled.ignored_query is None or not compiled.ignored_query.match(name)
        if counts:
            kept.append(piece)
    return b"&".join(kept)


def fold_accept_encoding(value: bytes | None) -> bytes | None:
    """One of four: ``None``, ``gzip``, ``gzip, br`` and ``gzip, br, zstd`` (RFC 9110 §12.5.3)."""
    return None if value is None else _folded_codings(value)


@remembered
def _folded_codings(value: bytes) -> bytes | None:
    weights = dict(reversed(parse_weights(value)))
    if b"x-gzip" in weights:
        weights.setdefault(b"gzip", weights[b"x-gzip"])
    others = weights.get(b"*", 0.0)
    folded = None
    for coding, step in CODINGS:
        if weights.get(coding, others) <= 0:
            break
        folded = step
    return folded


def fold_accept_language(value: bytes | None, languages: tuple[bytes, ...]) -> bytes | None:
    """The one of *languages* that the client likes best; without any, the list in a normal form:

    lower case, no white space, by falling weight, the equally weighted by name (their order has
    no meaning, RFC 9110 §12.5.4).

    A range matches the language it is, else the first it begins with or that begins with it
    (RFC 4647 §3.4); ``None`` where nothing matches. What this returned it returns again.
    """
    if value is None:
        return None
    if not languages:
        return _normal_languages(value)
    for wanted, weight in sorted(parse_weights(value), key=lambda member: -member[1]):
        if weight <= 0:
            break
        if wanted in languages:
            return wanted
        if wanted == b"*":
            return languages[0]
        for language in languages:
            if _begins(wanted, language) or _begins(language, wanted):
                return language
    return None


@remembered
def _normal_languages(value: bytes) -> bytes:
    compact = b"".join(value.split()).lower()
    if b'"' in compact:
        return compact  # no list of languages, and in another order its quotes begin elsewhere
    members = zip(parse_weights(compact), split_list(compact), strict=False)
    ranked = sorted(members, key=lambda member: (-member[0][1], member[1]))
    return b",".join(text for _, text in ranked) or compact


def _begins(longer: bytes, shorter: bytes) -> bool:
    return longer == shorter or longer.startswith(shorter + b"-")


def fold_forwarded(value: bytes) -> bytes | None:
    """Only host and proto of each element (RFC 7239 §4); the whole where it does not parse."""
    elements = parse_forwarded(value)
    if elements is None:
        return value
    kept = [
        b";".join(
            b'%b="%b"' % (name, text.replace(b"\\", b"\\\\").replace(b'"', b'\\"'))
            for name, text in element
            if name in (b"host", b"proto")
        )
        for element in elements
    ]
    return b", ".join(filter(None, kept)) or None


def keyed_cookies(value: bytes | None, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The cookies of ``Rule.cookies`` in the order sent: keyed, and all that the app sees."""
    if value is None or not names:
        return []
    return [(name, text) for name, text in parse_cookies(value) if name in names]


def fold(request: RequestHead, shape: Shape, compiled: CompiledRule | None) -> Folded:
    """*request* as the app of a fill sees it, and what that changes."""
    fields = request.fields
    replaced: dict[bytes, bytes | None] = {}
    hidden = False
    languages = () if compiled is None else compiled.languages
    if ACCEPT_ENCODING in fields:
        replaced[ACCEPT_ENCODING] = fold_accept_encoding(fields[ACCEPT_ENCODING])
    if ACCEPT_LANGUAGE in fields:
        replaced[ACCEPT_LANGUAGE] = fold_accept_language(fields[ACCEPT_LANGUAGE], languages)
    if FORWARDED in shape.key_fields:
        replaced[FORWARDED] = fold_forwarded(fields[FORWARDED])
    query = request.query
    if compiled is not None:
        query = fold_query(query, compiled)
        if compiled.anonymous:
            hidden = hides_credentials(request, shape, compiled)
            for name in (*shape.credentials, *CONDITIONAL_FIELDS):
                if name in fields:
                    replaced[name] = None
            if compiled.cookies and COOKIE in fields:
                cookies = keyed_cookies(fields[COOKIE], compiled.cookies)
                replaced[COOKIE] = b"; ".join(b"%b=%b" % pair for pair in cookies) or None
    seen = dict(fields)
    for name, value in list(replaced.items()):
        if value == fields[name]:
            del replaced[name]
        elif value is None:
            del seen[name]
        else:
            seen[name] = value
    # What RequestHead() and Folded() do, without the Python calls: each fill comes by here.
    head = tuple.__new__(RequestHead, (*request[:5], query, seen))
    return tuple.__new__(Folded, (head, replaced, hidden))


def hides_credentials(request: RequestHead, shape: Shape, compiled: CompiledRule) -> bool:
    """Whether an anonymous fill hides a credential: one beyond the cookies that are keyed."""
    for name in shape.credentials:
        if name != COOKIE or not compiled.cookies:
            return True
        pairs = parse_cookies(request.fields.get(COOKIE, b""))
        if any(cookie not in compiled.cookies for cookie, _ in pairs):
            return True
    return False
