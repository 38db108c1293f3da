"""``debug_token``: who presents it is told the key of a request, too (RFC 9211 §2.8, §6).

The parameter ``key`` stands in our own member of Cache-Status. To others it would tell how a page
may be poisoned, so a request has to carry the token. What must not be here: what a key is
(``policy.keys``).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from asgi_cache.fields import structured
from asgi_cache.messages import START

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from asgi_cache.cache import Cache
    from asgi_cache.policy.reuse import Screened

DEBUG_FIELD: Final = b"asgi-cache-debug"
CACHE_STATUS: Final = b"cache-status"

MOST_CHARACTERS: Final = 1024
"""Of a key that is shown: what each recipient of a String can read (RFC 9651 §3.3.3)."""
CUT: Final = "..."

PLAIN: Final = "".join(chr(code) for code in range(ord("!"), ord("~") + 1) if chr(code) != "%")
"""What a part of a key is shown with as it stands; the rest is percent-encoded."""


class Debugging:
    """The token of one cache."""

    __slots__ = ("_token",)

    def __init__(self, token: bytes) -> None:
        self._token = token

    @classmethod
    def of(cls, cache: Cache) -> Debugging | None:
        """``None`` where nobody can be told anything."""
        token = cache.settings.debug_token
        if token is None or cache.status_name is None:
            return None
        return cls(token.encode("ascii"))

    def taken(self, scope: Scope, screened: Screened, send: Send) -> tuple[Scope, Screened, Send]:
        """All three as they are; or where the token is presented, without it, and *send* tells.

        An app that echoes its request would else show the token to whoever gets the page.
        """
        fields = screened.request.fields
        presented = fields.get(DEBUG_FIELD)
        if presented is None or not hmac.compare_digest(presented, self._token):
            return scope, screened, send
        fields = {name: value for name, value in fields.items() if name != DEBUG_FIELD}
        headers = [line for line in scope["headers"] if line[0] != DEBUG_FIELD]
        screened = screened._replace(request=screened.request._replace(fields=fields))
        return {**scope, "headers": headers}, screened, telling(screened.key, send)


def telling(key: bytes, send: Send) -> Send:
    """*send*, adding *key* to our member of Cache-Status."""
    told = False

    async def telling_send(message: Message) -> None:
        nonlocal told
        if message.get("type") == START and not told:  # a second one would be the app's alone
            told = True
            message = with_key(message, key)
        await send(message)

    return telling_send


def with_key(message: Message, key: bytes) -> Message:
    """A copy of a start message whose last Cache-Status line, which is ours, tells *key*."""
    lines = message.get("headers", ())
    if not isinstance(lines, list | tuple):
        return message  # malformed, so that we have added nothing to it
    lines = list(lines)
    for index in reversed(range(len(lines))):
        name, value = lines[index]
        if name == CACHE_STATUS:
            lines[index] = (name, b"%b; key=%b" % (value, structured.serialize(shown(key))))
            break
    return {**message, "headers": lines}


def shown(key: bytes) -> str:
    """*key* in printable ASCII: a space for each NUL, its parts percent-encoded.

    Two keys look different unless they differ behind ``MOST_CHARACTERS``: a percent sign is
    encoded as well, so whoever splits at spaces and decodes has the parts.
    """
    text = " ".join(quote(part, safe=PLAIN) for part in key.split(b"\0"))
    if len(text) <= MOST_CHARACTERS:
        return text
    return text[: MOST_CHARACTERS - len(CUT)] + CUT
