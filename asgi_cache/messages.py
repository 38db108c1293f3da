"""ASGI messages and scopes on one side, the values of ``model`` on the other.

Scopes and messages from elsewhere are read and never written to: what must differ is a copy.
Nothing here raises over a malformed message; it is passed on as it came, and the server judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from asgi_cache.fields import is_field_name, is_field_value
from asgi_cache.fields.remembering import remembered
from asgi_cache.model import RequestHead, ResponseHead
from asgi_cache.policy.keys import PATH_SAFE

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from starlette.types import Message, Scope

    from asgi_cache.model import Line

START: Final = "http.response.start"
BODY: Final = "http.response.body"

HANDLE: Final = "asgi_cache"
"""Where the handle stands in ``scope["extensions"]``."""

DECODED_PATH_SAFE: Final = PATH_SAFE.replace("%", "")
"""What a path is spelled with where a server gives it decoded only: as ``purge`` spells it."""

USUAL_NAMES: Final = frozenset(
    {
        *(b"cache-control", b"content-encoding", b"content-length", b"content-type", b"date"),
        *(b"etag", b"expires", b"last-modified", b"location", b"server", b"set-cookie", b"vary"),
    }
)
"""Names of most lines that apps send, in the spelling that they have here: not looked at again."""

IDENTITY_KEYS: Final = ("session", "user", "auth", "cookies", "aws.event", "aws.context")
"""Where middlewares and servers outside keep what they know of a user."""


def read_request(scope: Scope) -> RequestHead:
    """The request of an HTTP scope; total: what is missing reads as empty."""
    lines = scope.get("headers", ())
    fields = dict(lines)
    if len(fields) != len(lines):
        fields = combined(lines)
    path = scope["path"]
    raw_path = scope.get("raw_path")
    if raw_path is None:
        raw_path = quote(path, safe=DECODED_PATH_SAFE, errors="surrogatepass").encode("ascii")
    root_path = scope.get("root_path", "")
    if root_path:
        path, raw_path, root_path = mounted_path(path, raw_path, root_path)
    # What RequestHead() does, without the Python call that it costs each hit.
    return tuple.__new__(
        RequestHead,
        (
            scope["method"],
            scope.get("scheme", "http"),
            root_path,
            path,
            raw_path,
            scope.get("query_string", b""),
            fields,
        ),
    )


def combined(lines: Iterable[Line]) -> dict[bytes, bytes]:
    """The lines of each repeated field as one value, in order (RFC 9110 §5.3, RFC 9113 §8.2.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        if name in fields:
            separator = b"; " if name == b"cookie" else b", "
            fields[name] += separator + value
        else:
            fields[name] = value
    return fields


def mounted_path(path: str, raw_path: bytes, root_path: str) -> tuple[str, bytes, str]:
    """The path inside ``root_path``, the full path as sent, and the ``root_path`` of the key.

    Servers and routers differ in whether the paths begin with ``root_path``. Where the raw one
    did not and it is put in front, the third ends with a slash: two paths that only look the same
    afterwards stay two.
    """
    root = root_path.rstrip("/")
    keyed = root
    sent = unquote(raw_path.decode("latin-1"), errors="surrogateescape")
    if not (sent == root or sent.startswith(root + "/")):
        raw_path = (
            quote(root, safe=DECODED_PATH_SAFE, errors="surrogatepass").encode("ascii") + raw_path
        )
        keyed += "/"
    if path == root or path.startswith(root + "/"):
        path = path[len(root) :] or "/"
    return path, raw_path, keyed


def read_response(message: Message) -> tuple[ResponseHead | None, Message]:
    """The head in an ``http.response.start``, and the message to pass on.

    ``None`` where it is malformed (a status or lines of the wrong type, CR, LF or NUL). A header
    iterator is read out, so the message comes back with a list in its place.
    """
    message = listed(message)
    raw = message.get("headers", ())
    if not isinstance(raw, list | tuple):
        return None, message
    status = status_of(message)
    if status is None:
        return None, message
    lines: list[Line] = []
    for line in raw:
        if (type(line) is not tuple and not isinstance(line, list | tuple)) or len(line) != 2:
            return None, message
        name, value = line
        if type(name) is not bytes or type(value) is not bytes:
            return None, message
        if name not in USUAL_NAMES:
            name = lower_name(name)
            if name is None:
                return None, message
        lines.append((name, value))
    if not is_field_value(b"".join([value for _, value in lines])):
        return None, message
    return ResponseHead(status, tuple(lines)), message


def listed(message: Message) -> Message:
    """A start message with a list in place of an iterator, which can be read but once."""
    raw = message.get("headers", ())
    if isinstance(raw, list | tuple):
        return message
    try:
        return {**message, "headers": list(raw)}
    except TypeError:
        return message


@remembered
def lower_name(name: bytes) -> bytes | None:
    """*name* in lower case; ``None`` where no field can have it."""
    return name.lower() if is_field_name(name) else None


def status_of(message: Message) -> int | None:
    """The status of a start message, an ``HTTPStatus`` too; ``None`` where it is no number."""
    status = message.get("status")
    return int(status) if isinstance(status, int) and not isinstance(status, bool) else None


def with_lines(message: Message, lines: Sequence[Line]) -> Message:
    """A copy of a start message with *lines* after its own."""
    return {**message, "headers": [*message.get("headers", ()), *lines]}


def with_handle(scope: Scope, handle: object) -> MutableMapping[str, Any]:
    """A copy of *scope* in which the handle stands."""
    copied = dict(scope)
    copied["extensions"] = {**(scope.get("extensions") or {}), HANDLE: handle}
    return copied


def replaced_lines(lines: Sequence[Line], replaced: Mapping[bytes, bytes | None]) -> list[Line]:
    """Request lines with some fields' values changed (once, at their first line) or left out."""
    single = dict(lines)
    if len(single) == len(lines):
        for name, new in replaced.items():
            if new is None:
                single.pop(name, None)
            elif name in single:
                single[name] = new
        return list(single.items())
    left = dict(replaced)
    kept: list[Line] = []
    for name, value in lines:
        if name not in replaced:
            kept.append((name, value))
            continue
        new = left.pop(name, None)
        if new is not None:
            kept.append((name, new))
    return kept


def has_client_certificate(scope: Scope) -> bool:
    """Whether the client has shown who it is by TLS (the extension ``tls`` of ASGI)."""
    tls = (scope.get("extensions") or {}).get("tls")
    return isinstance(tls, Mapping) and bool(
        tls.get("client_cert_name") or tls.get("client_cert_chain")
    )


def anonymous_scope(
    scope: MutableMapping[str, Any], state: Mapping[str, Any] | None
) -> tuple[MutableMapping[str, Any], bool]:
    """*scope* (a copy already) without what tells one user from another, and whether any was there.

    *state*: what lifespan start-up left there, ``None`` where none was seen.
    """
    hidden = False
    for key in IDENTITY_KEYS:
        if key in scope:
            del scope[key]
            hidden = True
    extensions = scope["extensions"]
    if "tls" in extensions:
        del extensions["tls"]
        hidden = True
    if "state" in scope:
        pristine = dict(state or {})
        found = scope["state"]
        hidden = hidden or not (
            isinstance(found, Mapping)
            and len(found) == len(pristine)
            and all(name in found and found[name] is value for name, value in pristine.items())
        )
        scope["state"] = pristine
    return scope, hidden
