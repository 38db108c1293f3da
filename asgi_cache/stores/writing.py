"""What puts records where they belong in a Redis, each with its end; the body first where it lies
apart, because a head without its body would be a miss.

What must not be here: sockets, and where things lie.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from asgi_cache.model import StoredResponse
from asgi_cache.stores.bodies import body_place, lies_apart, packed
from asgi_cache.stores.codec import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_cache.model import Record
    from asgi_cache.stores.resp import Command
    from asgi_cache.stores.sealing import Seals

BODY_OUTLIVES: Final = 1000
"""Milliseconds that a body lives longer than its head."""


async def written(
    placed: Mapping[bytes, Record],
    key: bytes,
    seals: Seals | None,
    now: float,
    most: int,
    compress_bytes: int,
) -> tuple[list[Command], int]:
    """What puts the records of *key* into their places, and the longest life in milliseconds.

    What has ended *now*, or takes more than *most* bytes, leaves its place empty. A body that lies
    apart and is over *compress_bytes* is deflated; 0: none is.
    """
    commands: list[Command] = []
    longest = 0
    for place, record in placed.items():
        body, apart, binding = b"", b"", None
        if isinstance(record, StoredResponse) and lies_apart(record):
            body = record.body
            apart, binding = await packed(body, compress_bytes)
        data = encode(record, key, seals, place, binding)
        life = ceil((record.discard_at - now) * 1000)
        if life <= 0 or len(data) + len(body) > most:
            commands.append((b"UNLINK", place, body_place(place)))
            continue
        longest = max(longest, life)
        if apart:
            longer = b"%d" % (life + BODY_OUTLIVES)
            commands.append((b"SET", body_place(place), apart, b"PX", longer))
        else:
            commands.append((b"UNLINK", body_place(place)))
        commands.append((b"SET", place, data, b"PX", b"%d" % life))
    return commands, longest
