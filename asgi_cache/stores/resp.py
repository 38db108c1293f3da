"""Commands as bytes, and whether a reply can be one to its command.

What must not be here: sockets, and what commands mean.
"""

from __future__ import annotations

from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hiredis import pack_command
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from asgi_cache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Command: TypeAlias = tuple[bytes, ...]

_pack: Final[Callable[[Command], bytes]] = pack_command  # type: ignore[assignment]  # stub: one word
_remembered: Final = lru_cache(maxsize=512)(_pack)
"""For look-ups, which are the same again and again."""


def packed(commands: Sequence[Command]) -> bytes:
    """*commands* as RESP arrays; redis-py's ``pack_commands`` takes five times as long."""
    return b"".join(
        [_remembered(each) if each[0] == b"GETRANGE" else _pack(each) for each in commands]
    )


def checked(command: Command, reply: Any) -> Any:
    """*reply* as that to *command*, a ResponseError included.

    A GETRANGE of what is no string gives ``None``, an EXEC that failed in part its first error. A
    StoreError where it cannot be the reply to this command.
    """
    name = command[0]
    if isinstance(reply, Exception):
        if not isinstance(reply, ResponseError):
            raise reply  # the server gives up: LOADING, say, or max number of clients
        is_no_string = name == b"GETRANGE" and str(reply).startswith("WRONGTYPE")
        return None if is_no_string else reply
    match name:
        case b"GETRANGE":
            # All of them begin at 0.
            fits = type(reply) is bytes and len(reply) <= int(command[3]) + 1
        case b"MGET":
            fits = type(reply) is list and len(reply) == len(command) - 1
            fits = fits and set(map(type, reply)) <= {bytes, NoneType}
        case b"TIME":
            fits = type(reply) is list
        case b"EXEC":  # nil: what was watched has changed
            fits = reply is None or type(reply) is list
        case b"SET":
            fits = True
        case b"EVAL":  # the only script says how it went
            fits = type(reply) is int
        case b"PTTL" | b"PEXPIRE" | b"UNLINK":
            fits = type(reply) is int or reply == b"QUEUED"
        case _:
            fits = True
    if not fits:
        raise StoreError(f"an impossible reply to {name.decode()}")
    if name == b"EXEC" and reply is not None:
        return next((each for each in reply if isinstance(each, ResponseError)), reply)
    return reply


def is_refusal(reply: ResponseError) -> bool:
    """Whether *reply* says that the server does not write, and nothing about reading."""
    kinds = (OutOfMemoryError, ReadOnlyError, NoPermissionError)
    return isinstance(reply, kinds) or str(reply).startswith(("MISCONF ", "NOREPLICAS "))
